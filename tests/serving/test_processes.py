"""dp serve as real processes: slow and vanished readers, crowds, SIGTERM, a builder that is killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from serving_helpers import DESCRIPTOR, PLUGIN, make_product, publish, resolved
from support import Processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dp_dagster.resolve import ResolvedProduct

pytestmark = pytest.mark.slow
PORT = "/counted/v1/plain"
REST_PORT = """\
  - {name: api, type: REST_API, dataset: numbers, auth: none, limits: {requests_per_minute: unlimited}}
"""
REST = "/counted/v1/numbers"
ROWS = 600_000
MEGABYTE = 1_000_000


class Server:
    """``dp serve`` in a process of its own."""

    def __init__(self, processes: Processes, root: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DP_")}
        environment["PYTHONPATH"] = str(PLUGIN)
        program = Path(sys.executable).parent / "dp"
        self.process, self.log = processes.start(
            [program, "serve", "--port", str(self.port), *options], cwd=root, env=environment
        )
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            trust_env=False,
            timeout=60,
            headers={"accept-encoding": ""},
        )
        wait_for(self.answers)

    def answers(self) -> bool:
        """Whether it does."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.client.get("/health").status_code == 200
        except httpx.ConnectError:
            return False

    def state(self) -> str:
        """Of its port."""
        return str(self.client.get("/ready").json()["ports"][0]["state"])

    def memory(self) -> int:
        """Bytes of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def request(self, address: str) -> socket.socket:
        """A connection that has asked for something, and reads as little as it can."""
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", self.port))
        connection.sendall(f"GET {address} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        return connection


def wait_for(what: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> ResolvedProduct:
    """A product whose export has some 40 MB."""
    root = tmp_path_factory.mktemp("large")
    make_product(root, DESCRIPTOR.replace("access:", f"{REST_PORT}access:"))
    product = resolved(root)
    publish(product, 1, rows=ROWS, ports=("plain", "api"))
    return product


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, large: ResolvedProduct) -> Iterator[Server]:
    """Its server."""
    processes = Processes(tmp_path_factory.mktemp("logs"))
    try:
        found = Server(processes, large.settings.project_root)
        wait_for(lambda: found.state() == "ready")
        yield found
        found.client.close()
    finally:
        from support import end_group

        for process in processes.started:
            end_group(process)


def without_chunks(body: bytes) -> bytes:
    """A body that was sent in chunks, as one."""
    found, at = [], 0
    while at < len(body):
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        found.append(body[end + 2 : end + 2 + size])
        at = end + size + 4
    return b"".join(found)


def exports(product: ResolvedProduct) -> list[str]:
    return sorted(path.name for path in (product.settings.state_directory / "exports").iterdir())


def test_a_slow_reader_fills_no_memory_and_gets_everything(server: Server, large: ResolvedProduct) -> None:
    before = server.memory()
    with server.request(f"{PORT}/export?form=json") as connection:
        received = connection.recv(1000)
        wait_for(lambda: any(name.endswith(".json") for name in exports(large)))
        time.sleep(0.3)
        assert server.memory() - before < 120 * MEGABYTE
        assert server.client.get(f"{PORT}/7").json()[0] == 7
        pieces = [received]
        while piece := connection.recv(1 << 20):
            pieces.append(piece)
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    answer = without_chunks(body)
    assert answer.count(b'"batch":1') == ROWS
    assert server.memory() - before < 150 * MEGABYTE


def test_when_the_last_reader_leaves_the_work_is_stopped(server: Server, large: ResolvedProduct) -> None:
    with server.request(f"{PORT}/export?form=csv&columns=text") as connection:
        connection.recv(1000)
    wait_for(lambda: not any("unfinished" in name for name in exports(large)))
    assert server.client.get(f"{PORT}/7").json()[0] == 7
    # Whoever asks next gets it whole.
    whole = server.client.get(f"{PORT}/export?form=csv&columns=text").text
    assert whole.count("\r\n") == ROWS + 1


def test_a_thousand_idle_connections(server: Server) -> None:
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(1000)]
    try:
        begun = time.monotonic()
        assert server.client.get(f"{PORT}/7").json()[0] == 7
        assert time.monotonic() - begun < 5
        assert server.memory() < 600 * MEGABYTE
    finally:
        for connection in idle:
            connection.close()


def test_a_builder_that_is_killed_is_started_again(server: Server, large: ResolvedProduct) -> None:
    """Nobody's request fails meanwhile; what it left is removed."""
    publish(large, 2, rows=ROWS, ports=("plain", "api"))

    def builders() -> list[int]:
        found = subprocess.run(
            ["ps", "--ppid", str(server.process.pid), "-o", "pid=,args="],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        return [int(line.split()[0]) for line in found.splitlines() if "dp_dagster.rows.build" in line]

    folder = large.settings.state_directory / "rows" / "counted" / "v1" / "dataset" / "numbers"
    wait_for(lambda: any("building" in path.name for path in folder.iterdir()))
    (builder,) = builders()
    os.kill(builder, signal.SIGKILL)
    while server.client.get(PORT, params={"limit": 1}).json()["version"] == 0:
        time.sleep(0.02)
    assert server.client.get(PORT, params={"limit": 1}).json()["rows"][0][1] == 2
    wait_for(lambda: server.state() == "ready")
    assert not any("building" in path.name for path in folder.iterdir())


def test_sigterm_lets_answers_finish(processes: Processes, large: ResolvedProduct) -> None:
    """With several workers; what comes afterwards finds nobody."""
    server = Server(processes, large.settings.project_root, "--workers", "2")
    asked = f"{REST}?format=ndjson&fields=number,text&number[gte]=0"
    with server.request(f"{PORT}/sleep?seconds=1.5") as sleeping, server.request(asked) as export:
        time.sleep(0.5)
        pieces = [export.recv(1000)]
        server.process.send_signal(signal.SIGTERM)
        answer = b""
        while piece := sleeping.recv(1000):
            answer += piece
        # An export of some 30 MB, of which nearly nothing was read when the signal came.
        while piece := export.recv(1 << 20):
            pieces.append(piece)
    assert answer.endswith(b'"slept"')
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert without_chunks(body).count(b"\n") == ROWS
    assert server.process.wait(timeout=30) == 0
    with pytest.raises(httpx.ConnectError):
        server.client.get("/health")


def test_an_address_that_is_taken(processes: Processes, server: Server, large: ResolvedProduct) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PLUGIN)}
    done = subprocess.run(
        [Path(sys.executable).parent / "dp", "serve", "--port", str(server.port)],
        cwd=large.settings.project_root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert f"cannot listen on 127.0.0.1:{server.port}" in done.stderr
