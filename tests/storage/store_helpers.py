"""What the store's tests and the processes that they kill share: versions that carry their own number."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet

from dp_dagster.contracts.verdict import Verdict
from dp_dagster.storage.places import names_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.storage import Candidate, Draft, Snapshot, Table

#: For tests of what holds in a folder and in a bucket alike.
both_stores = pytest.mark.parametrize("root", ["folder", "bucket"], indirect=True)

CONTRACT = "c" * 64
ROWS = 600  # of every numbered version, over two files


def rows_of(number: int, rows: int = ROWS) -> pa.Table:
    """Rows that all carry the version's number, so that a mixed read shows."""
    return pa.table(
        {"number": pa.array([number] * rows, pa.int64()), "row": pa.array(range(rows), pa.int64())}
    )


def write(draft: Draft, *tables: pa.Table) -> Candidate:
    for table in tables:
        parquet.write_table(table, draft.new_file())
    return draft.seal()


def verdict_on(candidate: Candidate, **changes: object) -> Verdict:
    facts: dict[str, object] = {
        "id": f"verdict-{candidate.id}",
        "candidate_id": candidate.id,
        "contract_hash": CONTRACT,
        "contract_version": None,
        "decision": "accepted",
        "rows_in": candidate.rows,
        "rows_accepted": candidate.rows,
        "rows_rejected": 0,
        "input_hash": candidate.hash,
        "accepted_hash": candidate.hash,
        "results": (),
        "reason": "all rules hold",
        "at": datetime.now(UTC).isoformat(),
    }
    return Verdict(**{**facts, **changes})


class Publisher:
    """Publishes numbered versions."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def candidate(self, number: int, rows: int = ROWS) -> Candidate:
        whole = rows_of(number, rows)
        half = rows // 2
        return write(self.table.draft(f"run-{number}"), whole.slice(0, half), whole.slice(half))

    def publish(self, number: int, rows: int = ROWS) -> Snapshot:
        with self.table.lock(f"run-{number}"):
            candidate = self.candidate(number, rows)
            return self.table.publish(
                candidate, verdict_on(candidate), {"dp.run_id": f"run-{number}"}, contract_hash=CONTRACT
            )


def number_of(snapshot: Snapshot) -> int:
    """The number that a version's rows carry; fails if the version is not whole."""
    rows = pa.concat_tables([parquet.read_table(path) for path in snapshot.files])
    numbers = set(rows["number"].to_pylist())
    assert len(numbers) == 1, f"mixed version: {numbers}"
    assert rows.num_rows == snapshot.rows
    assert sorted(rows["row"].to_pylist()) == list(range(snapshot.rows))
    return int(numbers.pop())


def data_files(table: Table) -> set[str]:
    return {name for name in names_in(table.location.place) if name.endswith(".parquet")}


def named_by_history(table: Table) -> set[str]:
    return {Path(path).name for entry in table.history() for path in table.snapshot(entry.version).paths}


_HOLDER = """
import sys
from dp_dagster.storage import Table, TableLocation
with Table(TableLocation(*sys.argv[1:4])).lock(sys.argv[4]):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def locked_by_another_process(table: Table, holder: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the table's lock until its standard input is closed, or it is killed."""
    place = table.location
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, place.root, place.product, place.area, holder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            yield process
        finally:
            process.kill()
