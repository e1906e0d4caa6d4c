"""kill -9 of a publishing process at each stage: the old version or the new one, never anything between."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from store_helpers import Publisher, data_files, named_by_history, number_of

from dp_dagster.storage import Table, dataset_table

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name("killed_writer.py")
ROUNDS = 20
NEVER_LANDS = ("write", "written", "audit", "verdict", "before commit")
ALWAYS_LANDS = ("after commit", "before note")


def start(table: Table, number: int, stage: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), table.location.root, str(number), stage],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_store(table: Table, old: int | None, attempted: int) -> bool:
    """Whether the attempted version is the newest; fails if it is neither that nor the old one, wholly."""
    newest = table.newest()
    number = None if newest is None else number_of(newest)
    assert number in {old, attempted}
    for entry in table.history(limit=3):
        number_of(table.snapshot(entry.version))
    return number == attempted


def next_writer_and_cleaning(table: Table, number: int) -> None:
    """Somebody else publishes at once, and cleaning leaves nothing but what versions are made of."""
    begun = time.monotonic()
    assert number_of(Publisher(table).publish(number)) == number
    assert time.monotonic() - begun < 4
    table.clean(0)
    assert data_files(table) == named_by_history(table)
    assert not list((table.location.directory / "_delta_log").glob("*#*"))
    assert not list(table.location.candidates_directory.glob(".*"))
    assert table.clean(0) == []
    newest = table.newest()
    assert newest is not None
    assert number_of(newest) == number


@pytest.fixture
def numbered() -> Iterator[int]:
    return iter(range(1, 10_000))


@pytest.mark.slow
@pytest.mark.parametrize("begins_empty", [False, True], ids=["later version", "first version"])
@pytest.mark.parametrize("stage", [*NEVER_LANDS, "during commit", *ALWAYS_LANDS])
def test_killed_at_a_stage(
    tmp_path: Path, numbered: Iterator[int], stage: str, *, begins_empty: bool
) -> None:
    landed = []
    for turn in range(4 if begins_empty else ROUNDS):
        root = str(tmp_path / (str(turn) if begins_empty else "store"))
        table = Table(dataset_table(root, "flights", 1, "flights"), lock_timeout=3)
        old = None
        if not begins_empty:
            old = next(numbered)
            Publisher(table).publish(old)
        attempted = next(numbered)
        writer = start(table, attempted, stage)
        _, errors = writer.communicate(timeout=60)
        # A watcher may come too late for a commit of 2 ms; then the writer ends by itself.
        assert writer.returncode == -9 or (stage == "during commit" and writer.returncode == 0), errors
        landed.append(check_store(table, old, attempted))
        next_writer_and_cleaning(table, next(numbered))
    if stage in NEVER_LANDS:
        assert not any(landed)
    if stage in ALWAYS_LANDS:
        assert all(landed)


@pytest.mark.slow
def test_killed_at_any_time_around_the_commit(tmp_path: Path, numbered: Iterator[int]) -> None:
    table = Table(dataset_table(str(tmp_path), "flights", 1, "flights"), lock_timeout=3)
    chance = random.Random(20260102)
    landed = []
    for turn in range(2 * ROUNDS):
        old = next(numbered)
        Publisher(table).publish(old)
        attempted = next(numbered)
        with start(table, attempted, "any time") as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 0.05 if turn % 2 else 0.2))
            writer.kill()
        landed.append(check_store(table, old, attempted))
        next_writer_and_cleaning(table, next(numbered))
    # The delays reach from well before the commit to well after it.
    assert True in landed
    assert False in landed
