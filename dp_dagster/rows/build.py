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
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import DataProductError, LockedError, StoreError
from dp_dagster.rows.forms import NAN, form_of
from dp_dagster.rows.layout import FILES_ROW_NUMBER, ROW_NUMBER, TABLE, Layout
from dp_dagster.rows.leftovers import remove_unfinished, unfinished

if TYPE_CHECKING:
    import duckdb

_BATCH_ROWS = 32_768
_PAGE_BYTES = 8192
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
    import adbc_driver_sqlite.dbapi as sqlite
    import duckdb
    from adbc_driver_manager import Error as AdbcError

    from dp_dagster.engines.duckdb import first_line, prepare

    spill = building.with_name(f"{building.name}.spill")
    try:
        with (
            duckdb.connect(config={"temp_directory": str(spill), "memory_limit": memory}) as source,
            sqlite.connect(f"file:{building}", autocommit=True) as store,
            store.cursor() as cursor,
        ):
            prepare(source)
            source.execute(f"set threads = {threads}")
            for statement in _statements(layout):
                cursor.execute(statement)
            reader = source.execute(_stored_rows(layout)).to_arrow_reader(_BATCH_ROWS)
            cursor.adbc_ingest(TABLE, reader, mode="append")
            _put_nans(source, cursor, layout)
            for number, index in enumerate(layout.indexes):
                names = ", ".join(layout.names[name] for name in index)
                cursor.execute(f"create index by_{number} on {TABLE} ({names})")
            cursor.execute("commit")
        _check(building)
    except (duckdb.Error, AdbcError, sqlite3.Error, OSError) as error:
        raise StoreError(f"the row store {building} cannot be built: {first_line(error)}") from error


def _statements(layout: Layout) -> list[str]:
    columns = list(layout.names.values())
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
    # Columns of the files may be called c0, too; from outside only the stored ones can be meant.
    stored = f"select * from (select {', '.join(parts)} from {layout.files_table()})"
    if layout.key and not layout.sorted_by_key:
        stored += f" order by {', '.join(layout.names[name] for name in layout.key)}"
    return stored


def _put_nans(source: duckdb.DuckDBPyConnection, cursor: Any, layout: Layout) -> None:
    """SQLite took NaN for null; put the text in its place."""
    from dp_dagster.engines.duckdb import quote

    for name, kind in layout.columns:
        if not form_of(kind).has_nan:
            continue
        if name in layout.key:
            # A null was refused there already.
            continue
        told_by = (
            [(form_of(layout.types[part]).store(quote(part)), layout.names[part]) for part in layout.key]
            if layout.key
            else [(FILES_ROW_NUMBER, ROW_NUMBER)]
        )
        chosen = ", ".join(f"{store} as {stored}" for store, stored in told_by)
        rows = source.execute(
            f"select {chosen} from (select * from {layout.files_table()} where isnan({quote(name)}))"
        ).to_arrow_reader(_BATCH_ROWS)
        where = " and ".join(f"{stored} = ?" for _, stored in told_by)
        for batch in rows:
            if batch.num_rows:
                cursor.executemany(f"update {TABLE} set {layout.names[name]} = '{NAN}' where {where}", batch)


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
