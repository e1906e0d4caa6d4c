"""Real processes side by side: readers never wait nor see a mixed version, of two writers one wins."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from store_helpers import Publisher, data_files, named_by_history, number_of

if TYPE_CHECKING:
    from dp_dagster.storage import Table

SCRIPT = Path(__file__).with_name("busy_process.py")


def start(table: Table, task: str, argument: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(SCRIPT), task, table.location.root, argument],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == "ready\n", process.communicate()[1]


def result(process: subprocess.Popen[str], given: str | None = None) -> Any:
    output, errors = process.communicate(given, timeout=120)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])


@pytest.mark.slow
def test_a_reader_without_pause_during_a_hundred_publications(
    table: Table, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.publish(0)
    stop = tmp_path / "stop"
    reader = start(table, "read", str(stop))
    try:
        wait_ready(reader)
        for number in range(1, 101):
            publisher.publish(number)
    finally:
        stop.touch()
    found = result(reader)
    assert found["versions"] > 10
    assert found["reads"] > 20
    newest = table.newest()
    assert newest is not None
    assert (newest.version, number_of(newest)) == (100, 100)


@pytest.mark.slow
def test_two_writers_wait_for_each_other(table: Table) -> None:
    writers = [start(table, "write", str(begin)) for begin in (100, 200, 300)]
    versions = [version for writer in writers for version in result(writer)["versions"]]
    assert sorted(versions) == list(range(30))
    numbers = {number_of(table.snapshot(version)) for version in versions}
    assert numbers == {begin + turn for begin in (100, 200, 300) for turn in range(10)}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["race", "race without lock"])
def test_of_two_candidates_for_one_version_one_wins(table: Table, task: str) -> None:
    writers = [start(table, task, str(begin)) for begin in (1000, 2000)]
    for writer in writers:
        wait_ready(writer)
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    found = [result(writer) for writer in writers]
    won = [version for outcome in found for version in outcome["won"]]
    lost = sum(outcome["lost"] for outcome in found)
    assert sorted(won) == list(range(len(won)))
    assert len(won) + lost == 80
    assert lost > 0
    for version in won:
        number_of(table.snapshot(version))
    table.clean(0)
    assert data_files(table) == named_by_history(table)
