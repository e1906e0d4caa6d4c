"""Building the row store of a version, in a process of its own beside those that serve.

    python -m dp_dagster.rows.build TARGET < layout.json

DuckDB streams the published files in stored forms, ADBC writes them into SQLite without a Python object for any
value. The file is built under another name and put in place by rename; a lock that dies with the process lets
one build it while others wait for none of it.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Full, Queue
from typing import TYPE_CHECKING

from dp_dagster.contracts.type_trees import parse_type
from dp_dagster.engines.arrow import Batches
from dp_dagster.errors import DataProductError, LockedError, StoreError
from dp_dagster.rows.forms import NAN, form_of
from dp_dagster.rows.json_text import row_text
from dp_dagster.rows.layout import FILES_ROW_NUMBER, ROW_NUMBER, TABLE, TEXT, Layout
from dp_dagster.rows.leftovers import remove_unfinished, unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    import pyarrow as pa
    from adbc_driver_manager import AdbcConnection

_PAGE_BYTES = 8192
# Batches of Arrow hold at most two gigabytes of text in a column.
_BATCH_ROWS = 16_384
_BATCHES_AHEAD = 4
_LOOK_SECONDS = 0.1
_BUILDING = ".building"
EXIT_LOCKED = 75
"""What the process ends with where another one is building the same store."""


def build(target: Path, layout: Layout, *, threads: int = 1, memory: str = "512MB") -> bool:
    """Build the row store at ``target``, unless it is there.

    Args:
        target: Where it belongs.
        layout: What belongs into it.
        threads: How many DuckDB reads with.
        memory: How much DuckDB may take; what does not fit goes to disk.

    Returns:
        Whether it was built now.

    Raises:
        LockedError: another process is building it.
        StoreError: the files cannot be read, the key is not unique, or the disk is full.
    """
    from filelock import FileLock, Timeout

    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_suffix(".lock"), fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LockedError(f"{target} is being built by another process") from None
    try:
        if target.exists():
            return False
        remove_unfinished(target.parent, _BUILDING)
        building = unfinished(target, _BUILDING)
        try:
            _fill(building, layout, threads, memory)
            building.replace(target)
        finally:
            building.unlink(missing_ok=True)
        return True
    finally:
        lock.release()


def _fill(building: Path, layout: Layout, threads: int, memory: str) -> None:
    import adbc_driver_sqlite as sqlite
    import duckdb
    from adbc_driver_manager import AdbcConnection
    from adbc_driver_manager import Error as AdbcError

    from dp_dagster.engines.duckdb import first_line, prepare

    spill = building.with_name(f"{building.name}.spill")
    try:
        with (
            duckdb.connect(config={"temp_directory": str(spill), "memory_limit": memory}) as source,
            sqlite.connect(f"file:{building}") as database,
            AdbcConnection(database) as store,
        ):
            prepare(source)
            source.execute(f"set threads = {threads}")
            for statement in _statements(layout):
                _run(store, statement)
            with _read_ahead(Batches(source.execute(_stored_rows(layout)), _BATCH_ROWS)) as rows:
                _append(store, rows)
            _put_nans(source, store, layout)
            for number, index in enumerate(layout.indexes):
                names = ", ".join(layout.names[name] for name in index)
                _run(store, f"create index by_{number} on {TABLE} ({names})")
            _run(store, "commit")
        _check(building)
    except (duckdb.Error, AdbcError, sqlite3.Error, OSError) as error:
        raise StoreError(f"the row store {building} cannot be built: {first_line(error)}") from error


def _run(store: AdbcConnection, sql: str) -> None:
    from adbc_driver_manager import AdbcStatement

    with AdbcStatement(store) as statement:
        statement.set_sql_query(sql)
        statement.execute_update()


def _append(store: AdbcConnection, rows: pa.RecordBatchReader) -> None:
    """Put rows into the table, from one library to the other in Arrow's own form."""
    from adbc_driver_manager import (
        INGEST_OPTION_MODE,
        INGEST_OPTION_MODE_APPEND,
        INGEST_OPTION_TARGET_TABLE,
        AdbcStatement,
    )

    with AdbcStatement(store) as statement:
        statement.set_options(
            **{INGEST_OPTION_TARGET_TABLE: TABLE, INGEST_OPTION_MODE: INGEST_OPTION_MODE_APPEND}
        )
        statement.bind_stream(rows.__arrow_c_stream__())
        statement.execute_update()


@contextmanager
def _read_ahead(rows: Batches) -> Iterator[pa.RecordBatchReader]:
    """The same rows, read in a thread of their own while those before them are written."""
    import pyarrow as pa

    waiting: Queue[pa.RecordBatch | BaseException | None] = Queue(_BATCHES_AHEAD)
    is_left = threading.Event()

    def put(item: pa.RecordBatch | BaseException | None) -> None:
        while not is_left.is_set():
            try:
                waiting.put(item, timeout=_LOOK_SECONDS)
            except Full:
                continue
            return

    def read() -> None:
        try:
            for batch in rows:
                put(batch)
                if is_left.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised where the batch is wanted
            put(error)
        else:
            put(None)

    def batches() -> Iterator[pa.RecordBatch]:
        while (found := waiting.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found

    thread = threading.Thread(target=read, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield pa.RecordBatchReader.from_batches(rows.schema, batches())
    finally:
        is_left.set()
        thread.join()


def _statements(layout: Layout) -> list[str]:
    columns = [*layout.names.values(), *([TEXT] if layout.texts else [])]
    if layout.key:
        key = ", ".join(layout.names[name] for name in layout.key)
        table = f"create table {TABLE} ({', '.join(columns)}, primary key ({key})) without rowid"
    else:
        table = f"create table {TABLE} ({', '.join([f'{ROW_NUMBER} integer primary key', *columns])})"
    # Nobody reads it before it is whole, and it can be made again: no journal, no waiting for the disk.
    return [
        f"pragma page_size = {_PAGE_BYTES}",
        "pragma journal_mode = off",
        "pragma synchronous = off",
        "pragma locking_mode = exclusive",
        "pragma cache_size = -65536",
        "begin",
        table,
    ]


def _stored_rows(layout: Layout) -> str:
    from dp_dagster.engines.duckdb import quote

    parts = [f"{form_of(kind).store(quote(name))} as {layout.names[name]}" for name, kind in layout.columns]
    if not layout.key:
        parts.insert(0, f"{FILES_ROW_NUMBER} as {ROW_NUMBER}")
    if layout.texts:
        text = row_text([(name, parse_type(kind)) for name, kind in layout.columns])
        parts.append(f"encode({text}) as {TEXT}")
    # Columns of the files may be called c0, too; from outside only the stored ones can be meant.
    stored = f"select * from (select {', '.join(parts)} from {layout.files_table()})"
    if layout.key and not layout.sorted_by_key:
        stored += f" order by {', '.join(layout.names[name] for name in layout.key)}"
    return stored


def _put_nans(source: duckdb.DuckDBPyConnection, store: AdbcConnection, layout: Layout) -> None:
    """SQLite took NaN for null; put the text in its place."""
    from adbc_driver_manager import AdbcStatement

    from dp_dagster.engines.duckdb import quote

    told_by = [(FILES_ROW_NUMBER, ROW_NUMBER)]
    if layout.key:
        told_by = [
            (form_of(layout.types[name]).store(quote(name)), layout.names[name]) for name in layout.key
        ]
    chosen = ", ".join(f"{expression} as {stored}" for expression, stored in told_by)
    where = " and ".join(f"{stored} = ?" for _, stored in told_by)
    for name, kind in layout.columns:
        # In the key it was refused already, as null is.
        if form_of(kind).has_nan and name not in layout.key:
            rows = source.sql(
                f"select {chosen} from (select * from {layout.files_table()} where isnan({quote(name)}))"
            )
            with AdbcStatement(store) as statement:
                statement.set_sql_query(f"update {TABLE} set {layout.names[name]} = '{NAN}' where {where}")
                statement.prepare()
                statement.bind_stream(rows.__arrow_c_stream__())
                statement.execute_update()


def _check(building: Path) -> None:
    with closing(sqlite3.connect(f"file:{building}?mode=ro&immutable=1", uri=True)) as connection:
        connection.execute(f"select 1 from {TABLE} limit 1").fetchone()


def main(arguments: list[str]) -> int:
    """Build the store named by the argument from the layout on standard input; print how long it took."""
    begun = time.perf_counter()
    # Who serves comes first.
    os.nice(5)
    try:
        build(Path(arguments[0]), Layout.from_json(sys.stdin.read()))
    except LockedError:
        return EXIT_LOCKED
    except DataProductError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(f"{time.perf_counter() - begun:.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
