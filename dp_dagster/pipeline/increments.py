"""Rows that were read, brought together with the version that was landed before: added, or merged by key.

The version before is only read, and what comes out is one file or one more file. DuckDB does it in one pass over both,
and spills to disk what does not fit into memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.engines import duckdb as duckdb_engine
from dp_dagster.engines.duckdb import quote
from dp_dagster.errors import InputError
from dp_dagster.pipeline.schema_changes import Fit, fit_columns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb
    import pyarrow as pa

    from dp_dagster.contracts.model import Contract
    from dp_dagster.ports.base import Landing, Written
    from dp_dagster.storage import Snapshot

#: An input that grows by small files is written anew when it has so many: readers open each of them.
MOST_FILES = 50
_INCOMING, _NUMBER = "__dp_incoming", "__dp_number"


@dataclass(frozen=True)
class Combined:
    """What bringing together came to.

    Attributes:
        rows_read: Rows that the source gave.
        nothing_new: The version before has all of them; no file was written.
        added_to: The version that the written file is added to; ``None`` where it is the whole version.
        changes: How the source's columns differ from those of the version before, in words.
        unfit: Rows that are set aside, in the form of the quarantine.
    """

    rows_read: int
    nothing_new: bool = False
    added_to: Snapshot | None = None
    changes: tuple[str, ...] = ()
    unfit: pa.Table | None = None

    @property
    def set_aside(self) -> int:
        """How many rows are set aside."""
        return 0 if self.unfit is None else int(self.unfit.num_rows)


def combine(
    connection: duckdb.DuckDBPyConnection,
    landing: Landing,
    written: Written,
    read: Path,
    destination: Path,
    *,
    base: Snapshot | None,
    what: str,
    contract: Contract | None = None,
    always: bool = False,
) -> Combined:
    """Write what becomes of the rows in ``read``.

    Args:
        connection: A work database.
        landing: How the rows come in.
        written: What the kind says of the rows.
        read: The Parquet file with the rows that were read.
        destination: The file to write.
        base: The version before, where it goes on; with ``replace`` only its columns are looked at.
        what: The input, for messages.
        contract: Of the input; values of columns that it classifies are not shown.
        always: Write the whole version also where little or nothing is new: another contract judges all of it.

    Raises:
        InputError: the columns have changed and that stops it, or a key is missing or null.
    """
    classified = contract.classified if contract is not None else ()
    fit = fit_columns(connection, landing, read, base, what=what, classified=classified)
    connection.execute(
        f"create or replace temp view {quote(_INCOMING)} as select {fit.incoming}, file_row_number as "
        f"{quote(_NUMBER)} from read_parquet({duckdb_engine.literal(duckdb_engine.exact(str(read)))}, "
        f"hive_partitioning = false, file_row_number = true) where {fit.fits}"
    )
    rows_read = _count(connection, duckdb_engine.scan([str(read)]))
    unfit = fit.unfit_rows(connection, read)
    # Where something is set aside, the state must be committed, or it is set aside again.
    aside = bool(written.rejected) or unfit is not None
    known = Combined(rows_read, changes=fit.changes, unfit=unfit)
    names = ", ".join(quote(name) for name in fit.names)
    if landing.mode == "merge":
        return _Merge(connection, landing, fit, base, what).write(destination, known, always=always or aside)
    incoming = f"select {names} from {quote(_INCOMING)} order by {quote(_NUMBER)}"
    if landing.mode == "replace" or base is None:
        duckdb_engine.write_rows(connection.sql(incoming), destination, what)
        return known
    if written.again is not None:
        incoming = _not_landed(written, fit, base, names)
    relation = connection.sql(incoming)
    if not always and not aside and not _any(connection, incoming):
        return Combined(rows_read, nothing_new=True, changes=fit.changes)
    if not always and not fit.evolved and len(base.files) < MOST_FILES:
        duckdb_engine.write_rows(relation, destination, what)
        return Combined(rows_read, added_to=base, changes=fit.changes, unfit=unfit)
    both = f"select {fit.before} from {duckdb_engine.scan(base.files)} union all ({incoming})"
    duckdb_engine.write_rows(connection.sql(both), destination, what)
    return known


def _not_landed(written: Written, fit: Fit, base: Snapshot, names: str) -> str:
    """The rows that the version before does not have; of equal rows, those that come more often than there."""
    if written.again is None:
        raise AssertionError("asked where rows may have been landed before")
    column, value = written.again
    by = ", ".join(quote(name) for name in (written.known_by or fit.shared))
    low = f"{duckdb_engine.literal(str(value))}::{fit.type_of(column)}"
    landed = f"select {fit.before} from {duckdb_engine.scan(base.files)} where {quote(column)} >= {low}"
    repeated = f"row_number() over (partition by {by})"
    same = " and ".join(
        f"n.{quote(name)} is not distinct from o.{quote(name)}" for name in (written.known_by or fit.shared)
    )
    # With a key, whatever has it is there already, however often it comes.
    more = "" if written.known_by else " and n.__dp_repeated = o.__dp_repeated"
    return (
        f"select {names} from (select *, {repeated} as __dp_repeated from {quote(_INCOMING)}) n "
        f"anti join (select *, {repeated} as __dp_repeated from ({landed})) o on {same}{more} "
        f"order by {quote(_NUMBER)}"
    )


class _Merge:
    """Of each key, what comes later takes the place of what was there."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        landing: Landing,
        fit: Fit,
        base: Snapshot | None,
        what: str,
    ) -> None:
        self.connection = connection
        self.landing = landing
        self.fit = fit
        self.base = base
        self.what = what
        self.names = ", ".join(quote(name) for name in fit.names)

    def write(self, destination: Path, known: Combined, *, always: bool) -> Combined:
        """Write the whole version, unless it would be that of before."""
        self._check_key()
        keys = ", ".join(quote(name) for name in self.landing.key)
        order = (
            f"{quote(self.landing.order)} desc nulls last, " if self.landing.order in self.fit.names else ""
        )
        latest = (
            f"(select * from {quote(_INCOMING)} qualify row_number() over "
            f"(partition by {keys} order by {order}{quote(_NUMBER)} desc) = 1)"
        )
        stays = self._stays()
        alive = f"select {self.names} from {latest} where {stays}"
        in_order = f"{alive} order by {quote(_NUMBER)}"
        if self.base is None:
            duckdb_engine.write_rows(self.connection.sql(in_order), destination, self.what)
            return known
        before = f"(select {self.fit.before} from {duckdb_engine.scan(self.base.files)})"
        if not always and not self.fit.evolved:
            removed = (
                f"select 1 from {latest} where not ({stays}) and ({keys}) in (select ({keys}) from {before})"
            )
            if not any(
                _any(self.connection, query) for query in (f"{alive} except all from {before}", removed)
            ):
                return Combined(known.rows_read, nothing_new=True, changes=known.changes)
        merged = (
            f"select {self.names} from {before} anti join (select {keys} from {latest}) using ({keys}) "
            f"union all ({in_order})"
        )
        duckdb_engine.write_rows(self.connection.sql(merged), destination, self.what)
        return known

    def _check_key(self) -> None:
        absent = [name for name in self.landing.key if name not in self.fit.names]
        if absent:
            raise InputError(
                f"{self.what}: key {', '.join(absent)} is no column of what was read; it has "
                f"{', '.join(self.fit.names)}"
            )
        nulls = " or ".join(f"{quote(name)} is null" for name in self.landing.key)
        count = _count(self.connection, f"(select 1 from {quote(_INCOMING)} where {nulls})")
        if count:
            raise InputError(
                f"{self.what}: {count:,} rows have no value for their key ({', '.join(self.landing.key)}), so they "
                "cannot be merged"
            )

    def _stays(self) -> str:
        """The condition that a row is not marked as deleted."""
        deleted = self.landing.deleted
        if deleted is None:
            return "true"
        if deleted not in self.fit.names:
            raise InputError(
                f"{self.what}: deleted: {deleted} is no column of what was read; it has {', '.join(self.fit.names)}"
            )
        if self.fit.type_of(deleted) == "BOOLEAN":
            return f"not coalesce({quote(deleted)}, false)"
        return f"{quote(deleted)} is null"


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(_row(connection, f"select count(*) from {table}")[0])


def _any(connection: duckdb.DuckDBPyConnection, query: str) -> bool:
    return bool(_row(connection, f"select exists ({query})")[0])


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> Sequence[Any]:
    row = connection.execute(query).fetchone()
    if row is None:
        raise AssertionError("an aggregate gives one row")
    return row
