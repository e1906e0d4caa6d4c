"""DuckDB, the embedded engine: opening work databases, naming things safely, writing Parquet."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dp_dagster.engines.stored_types import stored_as
from dp_dagster.errors import LockedError, StoreError, TransformError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

#: Seconds that another thread of this process may take to let a database go that it has closed.
_LETTING_GO = 60.0


def quote(identifier: str) -> str:
    """An identifier in double quotes, fit for any SQL text."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string literal, for the few places where DuckDB takes no bound value (views, COPY)."""
    return "'" + text.replace("'", "''") + "'"


def exact(path: str) -> str:
    """A path that names one file, for functions of DuckDB that would take ``*``, ``?`` and ``[`` as a pattern."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)


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
    """Open a work database and close it again. Threads of one process may have it open at the same time.

    Raises:
        LockedError: another process has it open.
        StoreError: it cannot be opened.
    """
    import duckdb

    database.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = _opened(database)
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


def _opened(database: Path) -> duckdb.DuckDBPyConnection:
    """A connection to a file.

    Who opens it while another thread closes the last connection to it meets a database that is neither open any more
    nor closed yet, and DuckDB refuses it as attached already. It is gone in a moment.
    """
    import duckdb

    deadline = time.monotonic() + _LETTING_GO
    while True:
        try:
            return duckdb.connect(str(database))
        except duckdb.BinderException as error:
            if "Unique file handle conflict" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise LockedError(
                    f"work database {database.name} is being closed by another thread of this process, "
                    f"for {_LETTING_GO:.0f} s now; try again when that run has ended"
                ) from error
        time.sleep(0.005)


@contextmanager
def in_memory() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection without a database. What does not fit into memory goes to the system's temporary folder."""
    import duckdb

    spill = Path(tempfile.gettempdir()) / f"dp_dagster_{os.getpid()}_{uuid.uuid4().hex[:8]}"
    with duckdb.connect(config={"temp_directory": str(spill)}) as connection:
        prepare(connection)
        yield connection


def scan(files: Sequence[str]) -> str:
    """A table expression over exactly these Parquet files: no part of a path is a pattern, or makes a column."""
    return f"read_parquet({literal_list([exact(file) for file in files])}, hive_partitioning = false)"


def create_view(connection: duckdb.DuckDBPyConnection, name: str, query: str, schema: str = "main") -> None:
    """Create or replace a view."""
    connection.execute(f"create or replace view {quote(schema)}.{quote(name)} as {query}")


def storable(relation: duckdb.DuckDBPyRelation, what: str) -> duckdb.DuckDBPyRelation:
    """The relation with its columns in types that every reader understands.

    Args:
        relation: What is to be written.
        what: Its name, for messages.

    Raises:
        TransformError: columns have types that cannot be stored; names all of them, with the fix.
    """
    columns, problems = [], []
    for name, dtype in zip(relation.columns, relation.dtypes, strict=True):
        stored = stored_as(dtype, quote(name))
        if stored.refused:
            problems.append(f"{what}: column {name} has type {dtype}, which cannot be stored; {stored.fix}")
        columns.append(f"{stored.expression} as {quote(name)}")
    if problems:
        raise TransformError("\n".join(problems))
    return relation.project(", ".join(columns))


def write_rows(
    relation: duckdb.DuckDBPyRelation, destination: Path, what: str, sort_by: Sequence[str] = ()
) -> None:
    """Write a relation into one Parquet file, in types that every reader understands.

    Args:
        relation: What to write.
        destination: The file.
        what: Its name, for messages.
        sort_by: Columns to sort by; sorted data makes a key's uniqueness nearly free to check.

    Raises:
        TransformError: a type cannot be stored.
        duckdb.Error: computing or writing the rows fails.
    """
    projected = storable(relation, what)
    if sort_by:
        projected = projected.order(", ".join(quote(column) for column in sort_by))
    projected.to_parquet(str(destination), compression="snappy")


def write_parquet(
    relation: duckdb.DuckDBPyRelation, destination: Path, what: str, sort_by: Sequence[str] = ()
) -> None:
    """:func:`write_rows`, with errors that say whose fault it is.

    Raises:
        TransformError: a type cannot be stored, or computing the rows fails.
        StoreError: the file cannot be written, or files that are read cannot be.
    """
    import duckdb

    try:
        write_rows(relation, destination, what, sort_by)
    except duckdb.Error as error:
        raise blame(error, what) from error


def blame(error: duckdb.Error, what: str) -> TransformError | StoreError:
    """The error of ours for one that DuckDB raised over an author's query: theirs, or the platform's."""
    import duckdb

    if isinstance(error, duckdb.OperationalError | duckdb.InternalError):
        return StoreError(f"{what}: DuckDB failed: {first_line(error)}")
    return TransformError(f"{what}: {first_line(error)}")


def first_line(error: Exception) -> str:
    """What a message of DuckDB says first; hints and the whole query follow."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
