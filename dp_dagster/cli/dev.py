"""``dp dev``: the Dagster UI, its daemon and all code locations of the project, until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Annotated

import typer

from dp_dagster.errors import OperatorError, UsageError
from dp_dagster.home import dagster_environment
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType

#: Seconds that Dagster gets to end its services by itself, then seconds between SIGTERM and SIGKILL.
POLITE, INSISTING = 20.0, 5.0


def dev(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 opens the UI to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the UI.")] = 3000,
) -> None:
    """Start the Dagster UI and daemon on this project, until Ctrl-C.

    Schedules, sensors and the evaluation of freshness run as long as it does.
    """
    settings = Settings.load()
    workspace = settings.project_root / "workspace.yaml"
    if not workspace.is_file():
        raise UsageError(
            f"{workspace} does not exist; it lists a definitions.py of each product, see the README"
        )
    require_free(host, port)
    command = [
        sys.executable,
        # `dagster dev` recommends `dg dev`, which does not take a workspace of several locations.
        *("-W", "ignore:Function `dev_command` is superseded:FutureWarning"),
        *("-m", "dagster", "dev", "--workspace", str(workspace), "--host", host, "--port", str(port)),
    ]
    typer.echo(f"Dagster UI: http://{host}:{port} (Ctrl-C stops it)", err=True)
    status = run_group(command, cwd=settings.project_root, environment=dagster_environment(settings))
    if status != 0:
        raise OperatorError(f"dagster dev ended by itself with status {status}; its messages above say why")


def require_free(host: str, port: int) -> None:
    """Refuse a port that somebody listens on, before anything is started.

    Raises:
        OperatorError: the port is taken, or the address is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do it: a connection that has just been closed is no reason to refuse.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OperatorError(
                f"port {port} of {host} is taken; stop what listens there, or choose another with --port"
            ) from None
        raise OperatorError(f"cannot listen on {host}:{port}: {error.strerror}") from None


def run_group(command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> int:
    """Run a program in a process group of its own, and end the whole group when asked to stop.

    Ctrl-C, SIGTERM and SIGHUP make the program end politely; what is left of its group after that is killed.
    A second signal does not wait.

    Returns:
        The program's exit status; 0 when it was stopped by one of the signals.
    """
    asked = threading.Event()
    hurry = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        (hurry if asked.is_set() else asked).set()

    with _handled(stop, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process = subprocess.Popen(  # noqa: S603 - the command is made above, from no outside text
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            while process.poll() is None and not asked.is_set():
                asked.wait(0.2)
            if asked.is_set() and process.poll() is None:
                process.send_signal(signal.SIGINT)
                _wait(lambda: process.poll() is not None or hurry.is_set(), POLITE)
        finally:
            _end_group(process, hurry)
    return 0 if asked.is_set() else process.returncode


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _end_group(process: subprocess.Popen[bytes], hurry: threading.Event) -> None:
    """End what is left of the group: code servers may outlive the program that started them."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        _wait(lambda: hurry.is_set() or not _group_exists(process), INSISTING)
    process.wait()


def _group_exists(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.05)
