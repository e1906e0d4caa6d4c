"""Rows of DuckDB in Arrow's form, and the faults in the middle of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet

from dp_dagster.engines.arrow import Batches
from dp_dagster.engines.duckdb import in_memory, scan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 50_000
FILES = 12


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with in_memory() as made:
        made.execute("set threads = 1")
        yield made


def test_all_rows_come_once_with_their_schema(connection: duckdb.DuckDBPyConnection) -> None:
    batches = Batches(connection.execute("select range as id from range(100001)"), 1_000)
    assert batches.schema.names == ["id"]
    table = pa.Table.from_batches(batches)
    assert table.num_rows == 100_001
    assert table.column("id").to_pylist() == list(range(100_001))


def test_an_interrupt_in_the_middle(connection: duckdb.DuckDBPyConnection) -> None:
    batches = iter(Batches(connection.execute("select range as id from range(1000000000)"), 1_000))
    next(batches)
    connection.interrupt()
    with pytest.raises(duckdb.InterruptException):
        list(batches)


def test_a_fault_of_the_query_in_the_middle(connection: duckdb.DuckDBPyConnection) -> None:
    query = "select case when range = 900000 then error('spoiled') end as x from range(1000000)"
    batches = iter(Batches(connection.execute(query), 1_000))
    next(batches)
    with pytest.raises(duckdb.Error, match="spoiled"):
        list(batches)


@pytest.mark.parametrize(
    ("is_removed", "expected"),
    [(True, duckdb.IOException), (False, duckdb.Error)],
    ids=["removed", "spoiled"],
)
def test_a_file_that_ends_in_the_middle(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, expected: type[duckdb.Error], *, is_removed: bool
) -> None:
    files = [tmp_path / f"{number:02}.parquet" for number in range(FILES)]
    for number, file in enumerate(files):
        parquet.write_table(pa.table({"id": range(number * ROWS, (number + 1) * ROWS)}), file)
    batches = iter(Batches(connection.execute(f"from {scan([str(file) for file in files])}"), 1_000))
    next(batches)
    for file in files[1:]:
        if is_removed:
            file.unlink()
        else:
            file.write_bytes(b"PAR1 or not")
    with pytest.raises(expected):
        list(batches)
