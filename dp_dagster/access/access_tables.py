"""Where accesses are kept: each of them, and what they come to by minute and by day. Beside the records' chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

if TYPE_CHECKING:
    from sqlalchemy import Connection

BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
"""Upper ends of the buckets of latency, in milliseconds; they lie inside. One more bucket is for what took longer."""

BUCKETS = tuple(f"bucket_{number}" for number in range(len(BOUNDS) + 1))

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
    Column("answers", BigInteger, nullable=False),
    Column("good", BigInteger, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in BUCKETS),
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


def insert_all(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    """Insert rows with all their columns, in order."""
    _execute(
        connection, f"insert into {table.name} ({_names(table)}) values ({_marks(connection, table)})", rows
    )


def add_all(connection: Connection, table: Table, rows: list[tuple[Any, ...]]) -> None:
    """Add the numbers of rows to those that are there under the same key."""
    keys = ", ".join(f'"{column.name}"' for column in table.primary_key)
    sums = ", ".join(
        f'"{column.name}" = {table.name}."{column.name}" + excluded."{column.name}"'
        for column in table.columns
        if not column.primary_key
    )
    _execute(
        connection,
        f"insert into {table.name} ({_names(table)}) values ({_marks(connection, table)}) "
        f"on conflict ({keys}) do update set {sums}",
        rows,
    )


def _names(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _marks(connection: Connection, table: Table) -> str:
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    return ", ".join([mark] * len(table.columns))


def _execute(connection: Connection, sql: str, rows: list[tuple[Any, ...]]) -> None:
    # The driver's own form: thousands of rows a second are written beside the answers.
    if rows:
        connection.exec_driver_sql(sql, rows)
