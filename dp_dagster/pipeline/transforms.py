"""Running a transform: checking that a view binds, or computing what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.engines import duckdb as duckdb_engine
from dp_dagster.errors import InputError, TransformError
from dp_dagster.folder import code_version
from dp_dagster.pipeline.inputs import inputs_still_the_same
from dp_dagster.pipeline.partitions import available_partitions, upstream_of
from dp_dagster.pipeline.publication import Publisher
from dp_dagster.pipeline.relations import provide
from dp_dagster.pipeline.selection import Parts, Selection, select
from dp_dagster.pipeline.session import pinned_version

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import duckdb

    from dp_dagster.pipeline.session import Session
    from dp_dagster.resolve import ResolvedTransform


@dataclass(frozen=True)
class TransformOutcome:
    """What running a transform came to.

    Attributes:
        name: The transform.
        columns: Names and DuckDB types of what it provides.
        rows: Number of rows, for a result that is kept; a view has none until it is read.
        version: Version of the kept result.
        partitions: Keys of the partitions that were made, where it has any.
        there: Keys of all that there are; of a view those that it can show.
        unchanged: There was none to make.
    """

    name: str
    columns: tuple[tuple[str, str], ...]
    rows: int | None = None
    version: int | None = None
    partitions: tuple[str, ...] = ()
    there: tuple[str, ...] = ()
    unchanged: bool = False


def run_transform(session: Session, name: str) -> TransformOutcome:
    """Run a transform of kind ``session``: bind a view, or compute and keep the result.

    Raises:
        TransformError: its code is at fault, with file and, where known, line.
        InputError: an input that it reads has no version.
    """
    transform = session.product.transform(name)
    if transform.transform.runs_in != "session":
        raise TransformError(
            f"{session.product.id}/transform/{name} is run by {transform.transform.runs_in}, through Dagster"
        )
    if transform.transform.kept(transform.config):
        return _keep(session, transform)
    with session.connection() as connection:
        provide(session, connection, name)
        there: Iterable[str] = ()
        if name in session.product.partitioned:
            there = available_partitions(session, [name], "")
        return TransformOutcome(name, _columns(connection.table(name)), there=tuple(there))


def transform_code_version(session: Session, transform: ResolvedTransform) -> str:
    """Hash of the files that decide a transform's result."""
    return code_version(transform.transform.sources(transform.config, session.place(transform)))


def _keep(session: Session, transform: ResolvedTransform) -> TransformOutcome:
    table = session.transform_table(transform.name)
    what = f"{session.product.id}/transform/{transform.name}"
    columns: tuple[tuple[str, str], ...] = ()

    def write(path: Path) -> None:
        nonlocal columns
        with session.connection() as connection:
            for dependency in transform.depends_on:
                provide(session, connection, dependency)
            relation = transform.transform.run(transform.config, session.place(transform), connection)
            columns = _columns(relation)
            duckdb_engine.write_parquet(relation, path, what)

    def write_partition(key: str, path: Path) -> None:
        with session.partition(key):
            write(path)

    def selected() -> Selection:
        code = ",".join(
            transform_code_version(session, one) for one in session.product.transforms_of(transform.name)
        )
        available = available_partitions(session, transform.depends_on, code)
        return select(session, table, available, what)

    is_cut = transform.name in session.product.partitioned
    publication = Publisher(
        session,
        table,
        f"transform/{transform.name}",
        write=write,
        upstream=lambda: upstream_of(session, table, transform.depends_on),
        contract=None,
        code_version=transform_code_version(session, transform),
        before_commit=lambda: inputs_still_the_same(session, transform.name),
        parts=Parts(selected, write_partition) if is_cut else None,
    ).publish()
    snapshot = publication.snapshot
    if snapshot is None:
        raise InputError(f"{what}: none of the partitions that are due can be made yet; its inputs have none")
    session.pin(f"transform/{transform.name}", pinned_version(transform.name, snapshot), replace=True)
    columns = columns or tuple((column.name, column.type) for column in snapshot.columns)
    return TransformOutcome(
        transform.name,
        columns,
        snapshot.rows,
        snapshot.version,
        publication.partitions,
        tuple(snapshot.partitions),
        unchanged=publication.unchanged,
    )


def _columns(relation: duckdb.DuckDBPyRelation) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(dtype)) for name, dtype in zip(relation.columns, relation.dtypes, strict=True))
