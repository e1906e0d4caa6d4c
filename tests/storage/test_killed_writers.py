"""kill -9 of a publishing process at each stage: the old version or the new one, never anything between."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nursery import Nursery
from store_helpers import Publisher, data_files, named_by_history, number_of

from dp_dagster.storage import Table, dataset_table

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).with_name("killed_writer.py")
ROUNDS = 20
NEVER_LANDS = ("write", "written", "audit", "verdict", "before commit")
ALWAYS_LANDS = ("after commit", "before note")


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(SCRIPT) as nursery:
        yield nursery


def check_store(table: Table, old: int | None, attempted: int) -> bool:
    """Whether the attempted version is the newest; fails if it is neither that nor the old one, wholly."""
    newest = table.newest()
    number = None if newest is None else number_of(newest)
    assert number in {old, attempted}
    for entry in table.history(limit=3):
        number_of(table.snapshot(entry.version))
    return number == attempted


def next_writer_and_cleaning(table: Table, number: int) -> None:
    """Somebody else publishes without waiting, and cleaning leaves nothing but what versions are made of."""
    hasty = Table(table.location, lock_timeout=0)
    assert number_of(Publisher(hasty).publish(number)) == number
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
    tmp_path: Path, numbered: Iterator[int], nursery: Nursery, stage: str, *, begins_empty: bool
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
        writer = nursery.start(root, str(attempted), stage)
        _, errors = writer.communicate()
        # A watcher may come too late for a commit of 2 ms; then the writer ends by itself.
        assert writer.returncode == -9 or (stage == "during commit" and writer.returncode == 0), errors
        landed.append(check_store(table, old, attempted))
        next_writer_and_cleaning(table, next(numbered))
    if stage in NEVER_LANDS:
        assert not any(landed)
    if stage in ALWAYS_LANDS:
        assert all(landed)


@pytest.mark.slow
def test_killed_at_any_time_around_the_commit(
    tmp_path: Path, numbered: Iterator[int], nursery: Nursery
) -> None:
    root = str(tmp_path)
    table = Table(dataset_table(root, "flights", 1, "flights"), lock_timeout=3)
    begun = time.monotonic()
    Publisher(table).publish(next(numbered))
    length = time.monotonic() - begun
    chance = random.Random(20260102)
    landed = []
    for turn in range(2 * ROUNDS):
        old = next(numbered)
        Publisher(table).publish(old)
        attempted = next(numbered)
        writer = nursery.start(root, str(attempted), "any time")
        assert writer.stdout.readline() == "ready\n"
        if turn % 4 == 3:  # however slow the machine is, some come to their end
            writer.communicate()
        elif turn:  # the first one dies at once
            time.sleep(chance.uniform(0, length / (1 + turn % 2)))
        writer.kill()
        _, errors = writer.communicate()
        assert writer.returncode in {-9, 0}, errors
        landed.append(check_store(table, old, attempted))
        next_writer_and_cleaning(table, next(numbered))
    # The delays reach from well before the commit to well after it.
    assert True in landed
    assert False in landed
