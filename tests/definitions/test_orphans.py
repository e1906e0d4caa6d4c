"""Runs whose process died: found by the next run, marked as failed; runs that live are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import duckdb
import killed_run
import pytest
from definition_helpers import GOOD, PORT, materializations, resolved, run, write, write_orders
from filelock import FileLock

from dp_dagster.definitions import orphans
from dp_dagster.definitions.run import open_instance
from dp_dagster.storage import Table, dataset_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support import Processes, TestProject

STARTED, FAILURE, SUCCESS = (
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.SUCCESS,
)


@dg.job
def nothing() -> None:
    """A run to have a status."""


@pytest.fixture
def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run that says that it is going on."""
    return instance.create_run_for_job(nothing, status=STARTED)


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run_id)
    assert found is not None
    return found.status


def lock_file(state: Path, run_id: str) -> Path:
    path = state / "runs" / f"{run_id}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_a_run_whose_lock_can_be_taken_is_dead(
    instance: dg.DagsterInstance, started: dg.DagsterRun, tmp_path: Path
) -> None:
    path = lock_file(tmp_path, started.run_id)
    path.write_text("4711")
    assert orphans.reconcile(instance, tmp_path) == [started.run_id]
    assert status(instance, started.run_id) == FAILURE
    assert not path.exists()
    events = [
        record.event_log_entry.dagster_event
        for record in instance.get_records_for_run(started.run_id).records
    ]
    assert any("process of this run is gone" in str(event and event.message) for event in events)
    assert orphans.reconcile(instance, tmp_path) == []


def test_a_run_whose_lock_is_held_lives(
    instance: dg.DagsterInstance, started: dg.DagsterRun, tmp_path: Path
) -> None:
    path = lock_file(tmp_path, started.run_id)
    with FileLock(path):
        path.write_text("4711")
        assert orphans.reconcile(instance, tmp_path) == []
    assert status(instance, started.run_id) == STARTED


def test_runs_of_other_code_are_left_alone(
    instance: dg.DagsterInstance, started: dg.DagsterRun, tmp_path: Path
) -> None:
    assert orphans.reconcile(instance, tmp_path) == []
    assert status(instance, started.run_id) == STARTED


def test_a_lock_that_is_just_being_made_is_no_sign_of_death(
    instance: dg.DagsterInstance, started: dg.DagsterRun, tmp_path: Path
) -> None:
    # Between making the file and locking it, anybody can take it.
    lock_file(tmp_path, started.run_id).touch()
    assert orphans.reconcile(instance, tmp_path) == []
    assert status(instance, started.run_id) == STARTED


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_status(
    instance: dg.DagsterInstance,
    started: dg.DagsterRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lock_file(tmp_path, started.run_id).write_text("4711")
    listed = instance.get_run_records

    def list_then_end(*arguments: object, **named: object) -> object:
        found = listed(*arguments, **named)  # type: ignore[arg-type]  # handed through
        instance.report_dagster_event(
            dg.DagsterEvent("PIPELINE_SUCCESS", "nothing", message="done"), started.run_id
        )
        return found

    monkeypatch.setattr(instance, "get_run_records", list_then_end)
    assert orphans.reconcile(instance, tmp_path) == []
    assert status(instance, started.run_id) == SUCCESS


def test_a_run_of_this_process_is_not_looked_at(
    instance: dg.DagsterInstance, started: dg.DagsterRun, tmp_path: Path
) -> None:
    orphans.hold_run(tmp_path, started.run_id)
    try:
        assert orphans.reconcile(instance, tmp_path) == []
        assert orphans.reconcile(instance, tmp_path, own_run=started.run_id) == []
    finally:
        orphans.release_run(started.run_id)
    assert orphans.reconcile(instance, tmp_path) == [started.run_id], "let go, and never ended"


def test_only_one_of_several_marks_a_dead_run(
    instance: dg.DagsterInstance, started: dg.DagsterRun, tmp_path: Path
) -> None:
    lock_file(tmp_path, started.run_id).write_text("4711")
    marked: list[str] = []
    threads = [
        threading.Thread(target=lambda: marked.extend(orphans.reconcile(instance, tmp_path)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert marked == [started.run_id]


def test_locks_of_long_ago_are_forgotten(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    old, held, fresh = (lock_file(tmp_path, name) for name in ("old", "held", "fresh"))
    for path in (old, held, fresh):
        path.write_text("4711")
    days_ago = time.time() - 2 * 24 * 3600
    for path in (old, held):
        os.utime(path, (days_ago, days_ago))
    with FileLock(held):
        os.utime(held, (days_ago, days_ago))
        orphans.reconcile(instance, tmp_path)
    assert not old.exists()
    assert held.exists()
    assert fresh.exists()


# -- real processes ----------------------------------------------------------------------------------------

DP = Path(sys.executable).with_name("dp")
SLOW_PY = '''\
"""Scores, slowly while a file says so."""

import pathlib
import time


def scored(connection):
    folder = pathlib.Path(__file__).parent
    while (folder / "wait").exists():
        (folder / "waiting").touch()
        time.sleep(0.05)
    return connection.sql("select order_id, customer, amount, amount * 2 as score from large")
'''


def until(probe: Callable[[], bool], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def kill_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_now(project: TestProject) -> subprocess.CompletedProcess[str]:
    """``dp run orders``; must end by itself, soon."""
    return subprocess.run(
        [DP, "run", "orders"],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def statuses(folder: Path) -> dict[str, dg.DagsterRunStatus]:
    """Status of each run in the project's instance, newest first."""
    with open_instance(resolved(folder).settings) as instance:
        return {run.run_id: run.status for run in instance.get_runs()}


def read_port(project: TestProject) -> list[int]:
    with duckdb.connect(str(project.storage / "orders/orders.duckdb"), read_only=True) as connection:
        return [row[0] for row in connection.sql("select order_id from v2.vw_orders order by 1").fetchall()]


@pytest.fixture
def slow_orders(project: TestProject) -> Iterator[Path]:
    """The product, published once, whose Python transform waits as long as a file is there."""
    folder = write_orders(project)
    write(folder, {"transforms/scored.py": SLOW_PY})
    assert run_now(project).returncode == 0
    yield folder
    (folder / "transforms/wait").unlink(missing_ok=True)


@pytest.mark.slow
def test_the_run_after_a_killed_one_starts_at_once(
    project: TestProject, slow_orders: Path, processes: Processes
) -> None:
    wait, waiting = slow_orders / "transforms/wait", slow_orders / "transforms/waiting"
    wait.touch()
    process, log = processes.start([DP, "run", "orders"], cwd=project.root, env=project.environment)
    until(lambda: waiting.exists() or process.poll() is not None, "the transform to run")
    assert process.poll() is None, log.read_text()
    kill_group(process)
    wait.unlink()
    before = statuses(slow_orders)
    assert list(before.values()) == [STARTED, SUCCESS], "Dagster itself does not notice"
    (slow_orders / "data/orders.csv").write_text(GOOD + "4,dan,40\n")

    done = run_now(project)

    assert done.returncode == 0, done.stderr
    assert f"run {next(iter(before))} had died without a word" in done.stderr
    after = statuses(slow_orders)
    assert sorted(after.values(), key=str) == [FAILURE, SUCCESS, SUCCESS]
    assert after[next(iter(before))] == FAILURE
    assert read_port(project) == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize("place", list(killed_run.PLACES))
def test_a_dagster_run_killed_in_the_step_of_its_dataset(
    project: TestProject, slow_orders: Path, place: str
) -> None:
    (slow_orders / "data/orders.csv").write_text(GOOD + "4,dan,40\n")
    table = Table(dataset_table(str(project.storage), "orders", 2, "orders"))
    before = table.newest()
    assert before is not None
    died = subprocess.run(
        [sys.executable, killed_run.__file__, place],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    committed = place == "after commit"
    snapshot = table.newest()
    assert snapshot is not None
    assert (snapshot.version > before.version) == committed
    assert snapshot.rows == (4 if committed else 3)
    assert read_port(project) == [1, 2, 3], "the port shows the old version, whole"
    killed = next(run_id for run_id, state in statuses(slow_orders).items() if state == STARTED)

    if committed:
        # The port alone makes good what the killed run did not come to.
        product = resolved(slow_orders)
        with open_instance(product.settings) as instance:
            again = run(slow_orders, instance, [PORT])
            assert materializations(again)[PORT]["version"] == snapshot.version
        assert read_port(project) == [1, 2, 3, 4]
    done = run_now(project)
    assert done.returncode == 0, done.stderr
    assert statuses(slow_orders)[killed] == FAILURE
    assert read_port(project) == [1, 2, 3, 4]


@pytest.mark.slow
def test_two_runs_of_one_product_at_once(
    project: TestProject, slow_orders: Path, processes: Processes
) -> None:
    started = [
        processes.start([DP, "run", "orders"], cwd=project.root, env=project.environment) for _ in range(2)
    ]
    until(lambda: all(process.poll() is not None for process, _ in started), "both runs to end")
    said = [log.read_text() for _, log in started]
    codes = [process.returncode for process, _ in started]
    assert set(codes) <= {0, 3}, said
    assert 0 in codes, said
    for code, text in zip(codes, said, strict=True):
        assert "Traceback" not in text
        if code == 3:
            assert "published" in text or "locked" in text, text
    assert read_port(project) == [1, 2, 3]
    assert set(statuses(slow_orders).values()) <= {SUCCESS, FAILURE}
    newest = Table(dataset_table(str(project.storage), "orders", 2, "orders")).newest()
    assert newest is not None
    assert newest.rows == 3
    assert newest.version >= codes.count(0)


@pytest.mark.slow
def test_a_run_that_waits_for_a_lock_says_who_holds_it(
    project: TestProject, slow_orders: Path, processes: Processes
) -> None:
    (project.root / "dp_dagster.toml").write_text('products = ["products/*"]\nlock_timeout = 0.2\n')
    wait, waiting = slow_orders / "transforms/wait", slow_orders / "transforms/waiting"
    wait.touch()
    first, log = processes.start([DP, "run", "orders"], cwd=project.root, env=project.environment)
    until(lambda: waiting.exists() or first.poll() is not None, "the transform to run")
    assert first.poll() is None, log.read_text()
    second = run_now(project)
    assert second.returncode == 3
    holder = next(run_id for run_id, state in statuses(slow_orders).items() if state == STARTED)
    assert f"is locked by run {holder} of orders" in second.stderr
    assert "is tried again" in second.stderr
    wait.unlink()
    until(lambda: first.poll() is not None, "the first run to end")
    assert first.returncode == 0, log.read_text()
