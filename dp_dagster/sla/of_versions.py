"""What follows from the committed versions of a dataset alone: history, rows, verdict, newest values."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import TYPE_CHECKING

from dp_dagster.errors import DataProductError, UsageError
from dp_dagster.sla.facts import PartitionsOnShow, Publication, Readable, Unknown
from dp_dagster.storage.partitions import read_set_aside

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_dagster.resolve import ResolvedDataset, ResolvedProduct
    from dp_dagster.storage import PublicationEntry, Snapshot, Table


def table_of(product: ResolvedProduct, dataset: ResolvedDataset) -> Table:
    """The table of a dataset."""
    from dp_dagster.storage import Table, dataset_table

    return Table(dataset_table(product.settings.storage, product.id, dataset.major, dataset.name))


def history_of(
    table: Table, version: int, since: datetime, versions: int
) -> tuple[Publication, ...] | Unknown:
    """Publications up to a version: those since a time and the one before, and at least so many before the last."""
    try:
        entries = _history_until(
            table, version, versions + 2, lambda found: len(found) > versions and found[-1].at < since
        )
    except DataProductError as error:
        return Unknown(str(error))
    return tuple(Publication(one.version, one.at, one.rows, one.operation) for one in entries)


def _history_until(
    table: Table, version: int, limit: int, is_enough: Callable[[list[PublicationEntry]], bool]
) -> list[PublicationEntry]:
    """Publications up to a version, newest first, read in growing pieces: a table may have a long history."""
    while True:
        entries = table.history(limit)
        found = [one for one in entries if one.version <= version]
        if len(entries) < limit or (found and is_enough(found)):
            return found
        limit *= 4


def partitions_of(table: Table, version: int) -> PartitionsOnShow | Unknown:
    """The partitions of a version."""
    snapshot = _snapshot(table, version)
    if isinstance(snapshot, Unknown):
        return snapshot
    found = snapshot.partitions
    return PartitionsOnShow(
        {key: one.rows for key, one in found.items()},
        {key: one.published_at for key, one in found.items()},
        read_set_aside(snapshot.metadata),
    )


def rows_in_of(table: Table, version: int) -> tuple[int, int] | Unknown:
    """Rows that came in with a version, and those of them that were accepted."""
    from dp_dagster.pipeline.session import verdict_on

    snapshot = _snapshot(table, version)
    if isinstance(snapshot, Unknown):
        return snapshot
    verdict = verdict_on(table, snapshot)
    if verdict is None:
        return Unknown(f"the verdict of version {version} is no longer kept")
    return verdict.rows_in, verdict.rows_accepted


def newest_value(table: Table, version: int, column: str, key: str | None = None) -> datetime | Unknown:
    """The newest value of a column, which DuckDB finds in the files' statistics where they have any.

    Args:
        table: The dataset's table.
        version: Which of its versions.
        column: A date or a timestamp.
        key: Look at this partition alone.
    """
    import duckdb

    from dp_dagster.engines.duckdb import first_line, in_memory, quote, scan

    snapshot = _snapshot(table, version)
    if isinstance(snapshot, Unknown):
        return snapshot
    files, what = snapshot.files, f"version {version}"
    if key is not None:
        names = set(snapshot.partitions[key].files) if key in snapshot.partitions else set()
        files, what = tuple(one for one in files if one.rpartition("/")[2] in names), f"partition {key}"
    if not files:
        return Unknown(f"{what} has no rows")
    try:
        with in_memory() as connection:
            row = connection.execute(f"select max({quote(column)}) from {scan(files)}").fetchone()
    except duckdb.Error as error:
        return Unknown(f"{column} cannot be read: {first_line(error)}")
    value = row[0] if row else None
    if value is None:
        return Unknown(f"{what} has no value in {column}")
    if not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def readable_of(table: Table, version: int, back: datetime) -> Readable | Unknown:
    """Whether the version that was on show at a time can still be read; the first, where that is younger."""
    try:
        history = _history_until(table, version, 20, lambda found: found[-1].at <= back)
        if not history:
            return Readable(None)
        oldest = next((one for one in history if one.at <= back), history[-1])
        try:
            table.snapshot(oldest.version)
        except UsageError as error:
            return Readable(oldest.at, str(error))
        return Readable(oldest.at)
    except DataProductError as error:
        return Unknown(str(error))


def _snapshot(table: Table, version: int) -> Snapshot | Unknown:
    try:
        return table.snapshot(version)
    except DataProductError as error:
        return Unknown(str(error))
