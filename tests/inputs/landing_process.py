"""A process that lands the input of a product. Run by the tests, which kill it.

Usage::

    landing_process.py die PROJECT STAGE     dies by SIGKILL at a stage of a landing
    landing_process.py loop PROJECT          says "ready", then lands without end
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from input_helpers import Landed

from dp_dagster.errors import RetryableError
from dp_dagster.pipeline import landing
from dp_dagster.pipeline.publication import Publisher
from dp_dagster.storage.log import Log


def die(*_: object, **__: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def die_after(owner: Any, name: str) -> None:
    """Let a function do its work, then die, so that nobody hears of it."""
    original = getattr(owner, name)

    def patched(*arguments: Any, **options: Any) -> Any:
        original(*arguments, **options)
        die()

    setattr(owner, name, patched)


def die_in_the_middle_of_reading() -> None:
    from dp_dagster.ports.inputs.sql.reading import Reader

    original = Reader._table
    batches = 0

    def patched(self: Reader, *arguments: Any) -> Any:
        nonlocal batches
        batches += 1
        return original(self, *arguments) if batches < 3 else die()

    Reader._table = patched  # type: ignore[method-assign]


def die_in_the_middle_of_the_records() -> None:
    from dp_dagster.ports.inputs.records import Records

    original = Records.add

    def patched(self: Records, record: Any) -> None:
        original(self, record)
        if self.count == 3:
            die()

    Records.add = patched  # type: ignore[method-assign]


def die_when_a_file_is_fetched() -> None:
    import fsspec

    die_after(fsspec.get_filesystem_class("s3"), "get_file")


def die_when_read() -> None:
    from dp_dagster.ports.inputs.sql import SqlInput

    die_after(SqlInput, "write")


#: What a process may be doing when it is killed; all until the commit begins come before it.
STAGES: dict[str, Any] = {
    "reading": die_in_the_middle_of_reading,
    "reading records": die_in_the_middle_of_the_records,
    "fetching": die_when_a_file_is_fetched,
    "read": die_when_read,
    "brought together": lambda: die_after(landing, "combine"),
    "committing": lambda: setattr(Log, "commit", die),
    "committed": lambda: die_after(Log, "commit"),
    "not yet on record": lambda: setattr(Publisher, "_record_published", die),
}
BEFORE_THE_COMMIT = {"reading", "reading records", "fetching", "read", "brought together", "committing"}


def main(task: str, project: str, *arguments: str) -> None:
    landed = Landed(Path(project))
    if task == "die":
        STAGES[arguments[0]]()
        landed.land(f"doomed-{os.getpid()}")
    elif task == "loop":
        print("ready", flush=True)
        for number in range(1_000_000):
            try:
                landed.land(f"doomed-{os.getpid()}-{number}")
            except RetryableError:
                time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
