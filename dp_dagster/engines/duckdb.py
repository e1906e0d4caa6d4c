"""DuckDB, the embedded engine: opening work databases, naming things safely, writing Parquet."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from dp_dagster.errors import LockedError, StoreError, TransformError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import duckdb

# Types that a reader of Delta or Parquet would misread, and the type that holds the same values.
# Source: what was tried with DuckDB, Polars and pyarrow as readers; see docs/architecture.md.
_STORED_AS = {
    "HUGEINT": "BIGINT",
    "UHUGEINT": "BIGINT",
    "BIGNUM": "BIGINT",
    "UTINYINT": "SMALLINT",
    "USMALLINT": "INTEGER",
    "UINTEGER": "BIGINT",
    "UBIGINT": "DECIMAL(20,0)",
    "UUID": "VARCHAR",
    "JSON": "VARCHAR",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
}
_REFUSED = {
    "TIME": "cast it to VARCHAR",
    "TIME WITH TIME ZONE": "cast it to VARCHAR",
    "INTERVAL": "cast it to a number of seconds, or to VARCHAR",
    "BIT": "cast it to VARCHAR or BLOB",
    "TIMESTAMP_NS": "cast it to TIMESTAMP, which has microseconds",
    "TIME_NS": "cast it to VARCHAR",
    "GEOMETRY": "store it as BLOB (well-known binary) or VARCHAR (well-known text)",
    "VARIANT": "cast it to VARCHAR",
    "UNION": "cast it to one of its types",
}


def quote(identifier: str) -> str:
    """An identifier in double quotes, fit for any SQL text."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string literal, for the few places where DuckDB takes no bound value (views, COPY)."""
    return "'" + text.replace("'", "''") + "'"


def literal_list(texts: Sequence[str]) -> str:
    """A list literal of strings."""
    return "[" + ", ".join(literal(text) for text in texts) + "]"


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Set what every session of ours relies on.

    Time is UTC (``Etc/UTC`` would be refused by Delta readers), no extension is fetched from anywhere, Python
    variables are not tables, and no progress bar disturbs the log.
    """
    connection.execute(
        "set TimeZone = 'UTC'; set autoinstall_known_extensions = false; "
        "set python_enable_replacements = false; set enable_progress_bar = false"
    )


@contextmanager
def connect(database: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a work database and close it again.

    Raises:
        LockedError: another process has it open.
        StoreError: it cannot be opened.
    """
    import duckdb

    database.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = duckdb.connect(str(database))
    except duckdb.IOException as error:
        if "lock" in str(error).lower():
            raise LockedError(
                f"work database {database.name} is open in another process; try again when that run has ended"
            ) from error
        raise StoreError(f"work database {database} cannot be opened: {error}") from error
    try:
        prepare(connection)
        yield connection
    finally:
        connection.close()


def scan(files: Sequence[str]) -> str:
    """A table expression over exactly these Parquet files."""
    return f"read_parquet({literal_list(files)})"


def create_view(connection: duckdb.DuckDBPyConnection, name: str, query: str, schema: str = "main") -> None:
    """Create or replace a view."""
    connection.execute(f"create or replace view {quote(schema)}.{quote(name)} as {query}")


def stored_columns(relation: duckdb.DuckDBPyRelation, what: str) -> str:
    """The select list that brings a relation's columns to types that every reader understands.

    Args:
        relation: What is to be written.
        what: Its name, for messages.

    Raises:
        TransformError: a column has a type that cannot be stored, with the fix.
    """
    columns = []
    for name, dtype in zip(relation.columns, relation.dtypes, strict=True):
        dtype_text = str(dtype)
        base = dtype_text.split("(", 1)[0].strip()
        if base in _REFUSED:
            raise TransformError(
                f"{what}: column {name} has type {dtype_text}, which cannot be stored; {_REFUSED[base]}"
            )
        if base == "ENUM":
            columns.append(f"{quote(name)}::VARCHAR as {quote(name)}")
        elif dtype_text in _STORED_AS:
            columns.append(f"{quote(name)}::{_STORED_AS[dtype_text]} as {quote(name)}")
        else:
            columns.append(quote(name))
    return ", ".join(columns)


def write_parquet(
    relation: duckdb.DuckDBPyRelation, destination: Path, what: str, sort_by: Sequence[str] = ()
) -> None:
    """Write a relation into one Parquet file, in types that every reader understands.

    Args:
        relation: What to write.
        destination: The file.
        what: Its name, for messages.
        sort_by: Columns to sort by; sorted data makes a key's uniqueness nearly free to check.

    Raises:
        TransformError: a type cannot be stored, or computing the rows fails.
    """
    import duckdb

    projected = relation.project(stored_columns(relation, what))
    if sort_by:
        projected = projected.order(", ".join(quote(column) for column in sort_by))
    try:
        projected.to_parquet(str(destination), compression="snappy")
    except (duckdb.DataError, duckdb.ProgrammingError, duckdb.NotSupportedError) as error:
        raise TransformError(f"{what}: {_first_line(error)}") from error
    except duckdb.Error as error:
        raise StoreError(
            f"{what}: DuckDB could not write {destination.name}: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
