"""Building the row store of a version, in a process of its own beside those that serve.

    python -m dp_dagster.rows.build TARGET < layout.json

DuckDB streams the published files in stored forms, and its batches are written as they are, in the order of the key:
no Python object for any value. The file is built under another name and put in place by rename; a lock that dies with
the process lets one build it while others wait for none of it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Full, Queue
from typing import TYPE_CHECKING

from dp_dagster.contracts.type_trees import parse_type
from dp_dagster.engines.arrow import Batches
from dp_dagster.errors import DataProductError, LockedError, StoreError
from dp_dagster.rows.forms import form_of
from dp_dagster.rows.json_text import row_text
from dp_dagster.rows.layout import FILES_ROW_NUMBER, INDEX, INDEXED_ROW, ROW_NUMBER, ROWS, TEXT, Layout
from dp_dagster.rows.leftovers import remove_unfinished, unfinished
from dp_dagster.rows.row_file import BATCH_ROWS, KeyOrderError, RowFileWriter, in_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    import pyarrow as pa

    from dp_dagster.rows.row_file import Part

_BUFFER_BYTES = 1 << 20
_BATCHES_AHEAD = 8
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
    import duckdb
    import pyarrow as pa

    from dp_dagster.engines.duckdb import first_line, prepare

    spill = building.with_name(f"{building.name}.spill")
    key = [layout.names[name] for name in layout.key] or [ROW_NUMBER]
    try:
        with (
            duckdb.connect(config={"temp_directory": str(spill), "memory_limit": memory}) as source,
            building.open("w+b", buffering=_BUFFER_BYTES) as file,
        ):
            prepare(source)
            source.execute(f"set threads = {threads}")
            writer = RowFileWriter(file)
            with _read_ahead(Batches(source.execute(_stored_rows(layout)), BATCH_ROWS)) as rows:
                writer.part(ROWS, rows.schema, in_order(rows, key), key)
            for number, index in enumerate(layout.indexes):
                names = [layout.names[name] for name in index]
                found = _indexed_rows(source, writer.written(ROWS), names)
                writer.part(f"{INDEX}{number}", found.schema, found, [*names, INDEXED_ROW])
            writer.close()
    except KeyOrderError as error:
        if layout.sorted_by_key:
            # So it was said, and is not so.
            _fill(building, replace(layout, sorted_by_key=False), threads, memory)
            return
        raise StoreError(f"the row store {building} cannot be built: {error}") from error
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise StoreError(f"the row store {building} cannot be built: {first_line(error)}") from error


def _indexed_rows(source: duckdb.DuckDBPyConnection, rows: Part, names: list[str]) -> Batches:
    """The values of some columns, where all are there, in their order and each with its row's number."""
    import pyarrow as pa

    def numbered() -> Iterator[pa.RecordBatch]:
        for batch, begin, stop in rows.batches(0, rows.rows):
            columns = [batch.data.column(name) for name in names]
            numbers = pa.array(range(batch.start + begin, batch.start + stop), pa.int64())
            yield pa.RecordBatch.from_arrays([*columns, numbers], schema=schema)

    held = [rows.schema.field(name) for name in names]
    schema = pa.schema([*held, pa.field(INDEXED_ROW, pa.int64())])
    source.register("stored", pa.RecordBatchReader.from_batches(schema, numbered()))
    there = " and ".join(f"{name} is not null" for name in names)
    chosen = ", ".join([*names, INDEXED_ROW])
    return Batches(source.execute(f"select * from stored where {there} order by {chosen}"), BATCH_ROWS)


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


def _stored_rows(layout: Layout) -> str:
    from dp_dagster.engines.duckdb import quote

    parts = [f"{form_of(kind).store(quote(name))} as {layout.names[name]}" for name, kind in layout.columns]
    if not layout.key:
        parts.insert(0, f"{FILES_ROW_NUMBER} as {ROW_NUMBER}")
    if layout.texts:
        text = row_text([(name, parse_type(kind)) for name, kind in layout.columns])
        parts.append(f"encode(',' || {text}) as {TEXT}")
    # Columns of the files may be called c0, too; from outside only the stored ones can be meant.
    stored = f"select * from (select {', '.join(parts)} from {layout.files_table()})"
    if layout.key and not layout.sorted_by_key:
        stored += f" order by {', '.join(layout.names[name] for name in layout.key)}"
    return stored


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
