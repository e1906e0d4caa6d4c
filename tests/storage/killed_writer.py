"""A writer that dies by SIGKILL at one stage of a publication. Run by test_killed_writers.py.

Usage: killed_writer.py ROOT NUMBER STAGE, or from a nursery. Publishes version NUMBER unless it dies before.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import parquet
from store_helpers import CONTRACT, rows_of, verdict_on

from dp_dagster.storage import Table, dataset_table
from dp_dagster.storage import documents as documents_module
from dp_dagster.storage import table as table_module
from dp_dagster.storage.bucket import BucketPath
from dp_dagster.storage.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TextIO


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def die_within_a_document(_: object, stream: TextIO, **__: object) -> None:
    stream.write('{"id": ')
    stream.flush()
    die()


def die_after_one(upload: Callable[..., int]) -> Callable[..., int]:
    calls = itertools.count()

    def sent(path: BucketPath, source: Path) -> int:
        if next(calls):
            die()
        return upload(path, source)

    return sent


def die_when_the_commit_appears(log_directory: Path, expected: int) -> None:
    """Kill as soon as the next commit, or what the library writes before it gets its name, shows."""
    begun, staged = f"{expected:020d}.json", f"{expected:020d}.json#1"

    def watch() -> None:
        while True:
            try:
                names = os.listdir(log_directory)  # noqa: PTH208 as fast as can be
            except FileNotFoundError:
                continue
            if begun in names or staged in names:
                die()

    threading.Thread(target=watch, daemon=True).start()


def main(root: str, given: str, stage: str) -> None:
    number = int(given)
    table = Table(dataset_table(root, "flights", 1, "flights"), lock_timeout=10)
    with table.lock(f"run-{number}"):
        draft = table.draft(f"run-{number}")
        rows = rows_of(number)
        first, second = draft.new_file(), draft.new_file()
        parquet.write_table(rows.slice(0, 300), first)
        with parquet.ParquetWriter(second, rows.schema) as writer:
            writer.write_table(rows.slice(300, 150))
            if stage == "write":
                die()
            writer.write_table(rows.slice(450))
        candidate = draft.seal()
        if stage == "written":
            die()
        # The audit: reads what was written, then puts its verdict beside it.
        audited = pa.concat_tables([parquet.read_table(candidate.paths[0])])
        if stage == "audit":
            die()
        parquet.read_table(candidate.paths[1])
        verdict = verdict_on(candidate, rows_in=audited.num_rows + 300)
        if stage == "verdict":
            documents_module.json.dump = die_within_a_document
            documents_module.json.dumps = die
        table.record_verdict(candidate, verdict)
        if stage == "within files":
            BucketPath.upload = die_after_one(BucketPath.upload)
        if stage == "before commit":
            Log.commit = die
        if stage == "during commit":
            newest = table._log.view()
            expected = 0 if newest is None else newest.version + 1
            die_when_the_commit_appears(table.location.directory / "_delta_log", expected)
        if stage == "after commit":
            Table._settle = die
        if stage == "before note":
            table_module.Registry.find = die
        if stage == "any time":
            print("ready", flush=True)
        table.publish(candidate, verdict, {}, contract_hash=CONTRACT)


if __name__ == "__main__":
    main(*sys.argv[1:])
