"""Processes to be killed, from a nursery that has imported everything once: a kill hits the work, not the imports.

``Nursery(script)`` starts one process, which imports the script and then forks a child for every :meth:`Nursery.start`.
The child runs the script's ``main`` with the arguments, and is looked at as a process of one's own would be.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable


class Child:
    """A child of the nursery; it stays a zombie, so that its number is its own, until it is waited for."""

    def __init__(self, nursery: Nursery, pid: int, output: TextIO, errors: TextIO) -> None:
        self._nursery = nursery
        self.pid = pid
        self.stdout, self._errors = output, errors
        self.returncode: int | None = None
        self._said = ("", "")

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self) -> tuple[str, str]:
        """Wait for its end; gives the rest of its output, and its errors."""
        if self.returncode is None:
            with self.stdout, self._errors:
                self._said = self.stdout.read(), self._errors.read()
            self.returncode = self._nursery.wait(self.pid)
        return self._said


class Nursery:
    """Starts processes that run a script's ``main``."""

    def __init__(self, script: Path) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(script), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._answers = self._socket.makefile()
        assert self._answers.readline() == "ready\n"

    def start(self, *arguments: str) -> Child:
        """Have the script's ``main`` run in a process of its own."""
        output, errors = os.pipe(), os.pipe()
        request = json.dumps(arguments).encode()
        socket.send_fds(self._socket, [request], [output[1], errors[1]])
        os.close(output[1])
        os.close(errors[1])
        pid = int(self._answers.readline())
        return Child(self, pid, os.fdopen(output[0]), os.fdopen(errors[0]))

    def wait(self, pid: int) -> int:
        """Wait for a child; gives how it ended, as ``Popen.returncode`` does."""
        self._socket.sendall(json.dumps(pid).encode())
        return int(self._answers.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()
        self._process.wait(60)


def serve(script: Path, connection: socket.socket) -> None:
    """What the nursery itself does: fork and wait as it is told, until nobody is there to tell it."""
    sys.path[0] = str(script.parent)
    main = __import__(script.stem).main
    connection.sendall(b"ready\n")
    while True:
        request, passed, _, _ = socket.recv_fds(connection, 65536, 2)
        if not request:
            return
        asked = json.loads(request)
        if isinstance(asked, int):
            answer = os.waitstatus_to_exitcode(os.waitpid(asked, 0)[1])
        else:
            answer = os.fork()
            if not answer:
                _run(main, asked, passed)
            for number in passed:
                os.close(number)
        connection.sendall(f"{answer}\n".encode())


def _run(main: Callable[..., None], arguments: list[str], passed: list[int]) -> None:
    status = 1
    try:
        os.dup2(passed[0], 1)
        os.dup2(passed[1], 2)
        main(*arguments)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, it never goes on in the nursery
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
