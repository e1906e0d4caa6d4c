"""The relations that a run's steps read by name: input ports and transforms, as views in its work database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.engines import duckdb as duckdb_engine
from dp_dagster.errors import TransformError
from dp_dagster.pipeline import dbt
from dp_dagster.pipeline.inputs import read_input
from dp_dagster.resolve import ResolvedInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

    from dp_dagster.pipeline.session import Session
    from dp_dagster.ports.base import Pinned
    from dp_dagster.resolve import ResolvedTransform


def provide(session: Session, connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Make an input port or transform readable by its name, with all that it reads itself.

    A view that this process has made in the run's work database is kept, until a pin changes.

    Raises:
        InputError: an input has no version yet.
        ContractViolationError: an input breaks its contract.
        TransformError: a query does not bind.
        StoreError: files of a version cannot be read.
    """
    # Pins first: each new one lets go of the views.
    for leaf in _leaves(session, [name]):
        if isinstance(leaf, ResolvedInput):
            read_input(session, leaf)
        elif leaf.transform.runs_in != "dbt":
            _kept(session, leaf)
    _provide(session, connection, name)


def _leaves(session: Session, relations: Iterable[str]) -> list[ResolvedInput | ResolvedTransform]:
    """What relations are computed from when they are read: inputs, and transforms whose results are stored."""
    inputs = {declared.name: declared for declared in session.product.inputs}
    found: dict[str, ResolvedInput | ResolvedTransform] = {}
    seen: set[str] = set()
    waiting = list(relations)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in inputs:
            found[name] = inputs[name]
            continue
        transform = session.product.transform_providing(name)
        if transform.transform.runs_in == "dbt" or transform.transform.kept(transform.config):
            found[transform.name] = transform
        else:
            waiting.extend(transform.depends_on)
    return list(found.values())


def _provide(session: Session, connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Make the view behind a name; returns whether it, and all that it reads, stays in the work database."""
    if name in session.provided:
        return True
    stays = True
    if any(name == port.name for port in session.product.inputs):
        files = read_input(session, session.product.input(name)).files
        query = f"select * from {duckdb_engine.scan(files)}"
    else:
        transform = session.product.transform_providing(name)
        if transform.transform.runs_in == "dbt":
            # A temporary view, since what it reads is attached to this connection only.
            dbt.attach(connection, dbt.current_database(session, transform))
            connection.execute(
                f"create or replace temporary view {duckdb_engine.quote(name)} as "
                f"select * from {dbt.CATALOG}.main.{duckdb_engine.quote(name)}"
            )
            return False
        if transform.transform.kept(transform.config):
            query = f"select * from {duckdb_engine.scan(_kept(session, transform).files)}"
        else:
            for dependency in transform.depends_on:
                stays = _provide(session, connection, dependency) and stays
            query = _definition(session, transform)
    _create(session, connection, name, query)
    if stays:
        session.provided.add(name)
    return stays


def _kept(session: Session, transform: ResolvedTransform) -> Pinned:
    area = f"transform/{transform.name}"
    kept = session.pinned(area)
    if kept is not None:
        return kept
    return session.pin(area, session.newest(session.transform_table(transform.name), transform.name))


def _definition(session: Session, transform: ResolvedTransform) -> str:
    definition = transform.transform.definition(transform.config, session.place(transform))
    if definition is None:
        raise TransformError(f"{session.product.id}/transform/{transform.name}: its kind gives no definition")
    return definition


def _create(session: Session, connection: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    import duckdb

    try:
        duckdb_engine.create_view(connection, name, query)
    except duckdb.Error as error:
        is_input = any(name == port.name for port in session.product.inputs)
        what = f"{session.product.id}/{'input' if is_input else 'transform'}/{name}"
        raise duckdb_engine.blame(error, what) from error


def upstream(session: Session, relations: Iterable[str]) -> dict[str, Any]:
    """What relations were made from, as far as this run has read it: input port to provenance.

    A kept transform may have been made in another run, from other versions than those that this run has pinned.
    Where two versions of an input met, the older one is given, with the other beside it as ``also``.
    """
    found: dict[str, Any] = {}
    for leaf in _leaves(session, relations):
        for name, provenance in _made_from(session, leaf).items():
            known = found.get(name)
            if known is None or known == provenance:
                found[name] = provenance
            else:
                older, newer = sorted((known, provenance), key=_version)
                found[name] = {**older, "also": newer}
    return found


def _made_from(session: Session, leaf: ResolvedInput | ResolvedTransform) -> dict[str, Any]:
    if isinstance(leaf, ResolvedInput):
        pinned = session.pinned(leaf.name)
        return {leaf.name: {**pinned.provenance, "rows": pinned.rows}} if pinned is not None else {}
    if leaf.transform.runs_in == "dbt":
        return dbt.current_database(session, leaf).upstream
    kept = session.pinned(f"transform/{leaf.name}")
    return dict(kept.provenance.get("upstream", {})) if kept is not None else {}


def _version(provenance: dict[str, Any]) -> int:
    version = provenance.get("version")
    return version if isinstance(version, int) else -1
