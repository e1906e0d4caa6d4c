"""The relations that a run's steps read by name: input ports and transforms, as views in its work database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.engines import duckdb as duckdb_engine
from dp_dagster.engines.partitions import UnfitColumnError, rows_of, type_of
from dp_dagster.errors import InputError, TransformError
from dp_dagster.pipeline import dbt
from dp_dagster.pipeline.inputs import read_input
from dp_dagster.resolve import ResolvedInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

    from dp_dagster.pipeline.session import Session
    from dp_dagster.ports.base import Pinned, PinnedPartition
    from dp_dagster.resolve import ResolvedProduct, ResolvedTransform


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
    pinned_leaves(session, [name])
    _provide(session, connection, name)


def pinned_leaves(
    session: Session, relations: Iterable[str]
) -> list[tuple[ResolvedInput | ResolvedTransform, Pinned | None]]:
    """What relations are computed from when they are read, each at the version that the run reads.

    A dbt transform has none: its models are in a database of the run's own.
    """
    found: list[tuple[ResolvedInput | ResolvedTransform, Pinned | None]] = []
    for leaf in _leaves(session, relations):
        if isinstance(leaf, ResolvedInput):
            found.append((leaf, read_input(session, leaf)))
        else:
            found.append((leaf, _kept(session, leaf) if leaf.transform.runs_in != "dbt" else None))
    return found


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
        query = _input_query(session, connection, session.product.input(name))
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
            pinned = _kept(session, transform)
            key = session.computing if name in session.product.partitioned else None
            files = pinned.files if key is None else _partition(session, pinned, key).files
            query = f"select * from {duckdb_engine.scan(files)}"
        else:
            for dependency in transform.depends_on:
                stays = _provide(session, connection, dependency) and stays
            query = _definition(session, transform)
    _create(session, connection, name, query)
    if stays:
        session.provided.add(name)
    return stays


def _input_query(session: Session, connection: duckdb.DuckDBPyConnection, declared: ResolvedInput) -> str:
    """What an input port shows: its rows, or those of the partition that is being computed."""
    pinned = read_input(session, declared)
    whole = f"select * from {duckdb_engine.scan(pinned.files)}"
    key, calendar = session.computing, session.product.calendar
    if key is None or calendar is None or not declared.is_partitioned:
        return whole
    if stored_by_partition(session.product, declared, pinned):
        return f"select * from {duckdb_engine.scan(_partition(session, pinned, key).files)}"
    # Read where it lies, and stored in some other way: the rows of the partition are picked out.
    column = declared.partitioned_by or ""
    rows = connection.sql(whole)
    try:
        inside = rows_of(calendar, key, column, type_of(rows, column))
    except UnfitColumnError as error:
        raise InputError(f"{session.product.id}/input/{declared.name}: {error}") from error
    return f"{whole} where {inside}"


def stored_by_partition(product: ResolvedProduct, declared: ResolvedInput, pinned: Pinned) -> bool:
    """Whether the files of what an input pinned are those of the product's own partitions."""
    calendar = product.calendar
    if declared.port.lands(declared.config, audited=declared.contract is not None):
        return True
    return (
        calendar is not None
        and bool(pinned.partitions)
        and all(calendar.knows(key) for key in pinned.partitions)
    )


def _partition(session: Session, pinned: Pinned, key: str) -> PinnedPartition:
    found = pinned.partitions.get(key)
    if found is None:
        raise InputError(
            f"{session.product.id}: {pinned.name} has no partition {key}; run dp run {session.product.id} "
            f"--partition {key}"
        )
    return found


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
