"""``dp dev`` refuses a taken port at once and leaves no process behind, however it is stopped."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support import Processes, TestProject, group_lives

from dp_dagster.cli.dev import dev, require_free, run_group
from dp_dagster.errors import OperatorError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

#: Stands for dagster: a leader that ends on SIGINT, unless told to stay, and a child that ignores SIGTERM.
LEADER = """
import os, signal, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGINT, lambda *_: print("told to end", flush=True))
subprocess.Popen([sys.executable, "-c", child])
print("group", os.getpgid(0), flush=True)
time.sleep(600)
"""

RUNNER = """
import os, sys
from pathlib import Path
from dp_dagster.cli import dev
dev.POLITE = dev.INSISTING = float(sys.argv[2])
status = dev.run_group([sys.executable, "-c", sys.argv[1], sys.argv[3]], cwd=Path.cwd(), environment=os.environ)
print("status", status, flush=True)
"""


def test_a_taken_port_is_named(free_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        with pytest.raises(OperatorError, match=f"port {free_port} of 127.0.0.1 is taken.*--port") as caught:
            require_free("127.0.0.1", free_port)
    assert caught.value.exit_code == 3
    require_free("127.0.0.1", free_port)


def test_an_address_of_another_machine_is_refused(free_port: int) -> None:
    with pytest.raises(OperatorError, match=r"cannot listen on 192\.0\.2\.1"):
        require_free("192.0.2.1", free_port)


def test_a_project_without_a_workspace(project: TestProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    with pytest.raises(UsageError, match=r"workspace\.yaml does not exist"):
        dev()


def test_the_status_of_a_program_that_ends_by_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit(7)"]
    assert run_group(command, cwd=tmp_path, environment=os.environ) == 7


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("manner", ["polite", "deaf"])
def test_a_signal_ends_the_whole_group(
    number: signal.Signals, manner: str, processes: Processes, tmp_path: Path
) -> None:
    runner, log = processes.start([sys.executable, "-c", RUNNER, LEADER, "1", manner], cwd=tmp_path)
    group = wait_for_group(log)
    runner.send_signal(number)
    assert runner.wait(60) == 0, log.read_text()
    assert not group_lives(group)
    assert log.read_text().splitlines()[-1] == "status 0"


@pytest.mark.slow
def test_a_second_signal_does_not_wait(processes: Processes, tmp_path: Path) -> None:
    runner, log = processes.start([sys.executable, "-c", RUNNER, LEADER, "120", "deaf"], cwd=tmp_path)
    group = wait_for_group(log)
    runner.send_signal(signal.SIGINT)
    # Two signals that come before either is looked at are one; this one has been passed on.
    wait_for("told to end", log)
    runner.send_signal(signal.SIGINT)
    # It would wait for two minutes.
    assert runner.wait(60) == 0, log.read_text()
    deadline = time.monotonic() + 30
    while group_lives(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group_lives(group)


def wait_for(words: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while words not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def wait_for_group(log: Path) -> int:
    wait_for("up", log)
    return int(log.read_text().partition("group ")[2].split()[0])
