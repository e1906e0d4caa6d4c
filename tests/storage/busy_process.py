"""Readers and writers that run beside others. Run by test_readers_and_writers.py.

Usage: busy_process.py read|write|race ROOT ARGUMENT [TURNS]. Prints one JSON object when it ends.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

import duckdb
import polars as pl
from store_helpers import CONTRACT, ROWS, Publisher, verdict_on

from dp_dagster.errors import ConflictError
from dp_dagster.storage import Table, dataset_table


def numbers(table: Table) -> tuple[int, set[int]]:
    """One read of the newest version by DuckDB and by Polars: the commit's number, and those of the rows."""
    snapshot = table.newest()
    assert snapshot is not None
    files = list(snapshot.files)
    with duckdb.connect() as connection:
        by_duckdb = connection.read_parquet(files).aggregate("min(number), max(number), count(*)").fetchone()
    by_polars = (
        pl.scan_parquet(files)
        .select(pl.col("number").min().alias("low"), pl.col("number").max().alias("high"), pl.len())
        .collect()
        .row(0)
    )
    assert by_duckdb == by_polars
    assert by_duckdb is not None
    assert by_duckdb[2] == snapshot.rows == ROWS
    return int(snapshot.metadata["dp.run_id"].removeprefix("run-")), set(by_duckdb[:2])


def read(table: Table, stop: Path) -> dict[str, object]:
    """Read without pause until ``stop`` exists."""
    seen: list[int] = []
    reads = 0
    print("ready", flush=True)
    while not stop.exists():
        expected, found = numbers(table)
        assert found == {expected}, f"version {expected} shows rows of {found}"
        assert not seen or expected >= seen[-1], "went back in time"
        if not seen or expected != seen[-1]:
            seen.append(expected)
        reads += 1
    return {"reads": reads, "versions": len(seen)}


def write(table: Table, begin: int, turns: int) -> dict[str, object]:
    """Publish versions, each under the lock."""
    publisher = Publisher(table)
    return {"versions": [publisher.publish(begin + turn).version for turn in range(turns)]}


def race(table: Table, begin: int, turns: int) -> dict[str, object]:
    """Publish without holding the lock from drafting on: somebody may come between."""
    publisher = Publisher(table)
    won, lost = [], 0
    print("ready", flush=True)
    sys.stdin.readline()
    for turn in range(turns):
        candidate = publisher.candidate(begin + turn)
        time.sleep(0.001 * (turn % 5))
        try:
            snapshot = table.publish(candidate, verdict_on(candidate), {}, contract_hash=CONTRACT)
        except ConflictError:
            lost += 1
        else:
            won.append(snapshot.version)
    return {"won": won, "lost": lost}


def main(task: str, root: str, argument: str, turns: str = "") -> None:
    table = Table(dataset_table(root, "flights", 1, "flights"), lock_timeout=60)
    if task == "read":
        result = read(table, Path(argument))
    elif task == "write":
        result = write(table, int(argument), int(turns or 10))
    else:
        if task == "race without lock":
            # As on two machines whose lock files are not shared: only the compare-and-swap is left.
            Table.lock = lambda *_: contextlib.nullcontext()  # type: ignore[method-assign]
        result = race(table, int(argument), int(turns or 40))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
