"""Where accesses are kept: each of them, and what they come to by minute, hour and day. Beside the records' chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text, event, text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection

BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
"""Upper ends of the buckets of latency, in milliseconds; they lie inside. One more bucket is for what took longer."""

BUCKETS = tuple(f"bucket_{number}" for number in range(len(BOUNDS) + 1))

COUNTS = ("answers", "good", *BUCKETS)
"""What is counted of a minute, an hour and a day."""

HOUR, DAY = 60, 24 * 60
"""In minutes, as all of this is."""

TABLES = MetaData()

ACCESSES = Table(
    "dp_accesses",
    TABLES,
    Column("batch", String(24), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("product", Text, nullable=False),
    Column("port", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("version", BigInteger),
    Column("subject", Text, nullable=False),
    Column("client", Text),
    Column("method", String(16), nullable=False),
    Column("columns", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("status", Integer, nullable=False),
    Column("milliseconds", Float(53), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Index("dp_accesses_of_port", "product", "port", "at"),
)
ROLLUPS = Table(
    "dp_access_rollups",
    TABLES,
    Column("product", Text, primary_key=True),
    Column("port", Text, primary_key=True),
    Column("minute", Integer, primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False) for name in COUNTS),
)
# The same by the hour and by the day: a month is some thirty rows of a port, and not forty thousand.
SUMS = Table(
    "dp_access_sums",
    TABLES,
    Column("product", Text, primary_key=True),
    Column("port", Text, primary_key=True),
    Column("size", Integer, primary_key=True, autoincrement=False),
    Column("start", Integer, primary_key=True, autoincrement=False),
    Column("first", Integer, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in COUNTS),
)
USAGE = Table(
    "dp_access_usage",
    TABLES,
    Column("product", Text, primary_key=True),
    Column("port", Text, primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("consumer", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
)


@event.listens_for(TABLES, "after_create")
def _sum_up(_: MetaData, connection: Connection, *, tables: Collection[Table], **__: object) -> None:
    """Minutes that an earlier release counted are summed up in the transaction that makes the sums."""
    if SUMS not in tables:
        return
    for size in (HOUR, DAY):
        connection.execute(
            text(
                f"insert into {SUMS.name} (product, port, size, start, first, {', '.join(COUNTS)}) "
                f"select product, port, {size}, minute - minute % {size}, min(minute), "
                f"{', '.join(f'sum({name})' for name in COUNTS)} from {ROLLUPS.name} "
                f"group by product, port, minute - minute % {size}"
            )
        )


def insert_all(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows with all their columns, in order."""
    _execute(
        connection, f"insert into {table.name} ({_names(table)}) values ({_marks(connection, table)})", rows
    )


def add_all(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    """Add the numbers of rows to those that are there under the same key; of ``first``, the smaller one stays."""
    keys = ", ".join(f'"{column.name}"' for column in table.primary_key)
    sums = ", ".join(
        f'"{column.name}" = {_joined(table, column.name)}'
        for column in table.columns
        if not column.primary_key
    )
    _execute(
        connection,
        f"insert into {table.name} ({_names(table)}) values ({_marks(connection, table)}) "
        f"on conflict ({keys}) do update set {sums}",
        rows,
    )


def add_counts(connection: Connection, minutes: Mapping[tuple[str, str, int], Sequence[int]]) -> None:
    """Add what minutes of ports came to, and to the hours and days that they lie in.

    Args:
        connection: In a transaction.
        minutes: Numbers in the order of :data:`COUNTS` by product, port label and minute since 1970.
    """
    sums: dict[tuple[str, str, int, int], list[int]] = {}
    for (product, port, minute), counts in sorted(minutes.items()):
        for size in (HOUR, DAY):
            key = (product, port, size, minute - minute % size)
            first, *before = sums.get(key, [minute, *([0] * len(counts))])
            sums[key] = [first, *(one + more for one, more in zip(before, counts, strict=True))]
    add_all(connection, ROLLUPS, [(*key, *counts) for key, counts in minutes.items()])
    add_all(connection, SUMS, [(*key, *counts) for key, counts in sums.items()])


def _joined(table: Table, name: str) -> str:
    held, new = f'{table.name}."{name}"', f'excluded."{name}"'
    # No name for the smaller of two is the same in both databases.
    return f"case when {held} < {new} then {held} else {new} end" if name == "first" else f"{held} + {new}"


def _names(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _marks(connection: Connection, table: Table) -> str:
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    return ", ".join([mark] * len(table.columns))


def _execute(connection: Connection, sql: str, rows: list[tuple[Any, ...]]) -> None:
    # The driver's own form: thousands of rows a second are written beside the answers.
    if rows:
        connection.exec_driver_sql(sql, rows)
