"""dp serve as real processes: slow and vanished readers, crowds, SIGTERM, a builder that is killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from serving_helpers import DESCRIPTOR, PLUGIN, make_product, publish, resolved, serving
from support import Processes, end_group, group_lives

from dp_dagster.rows import export, export_job
from dp_dagster.rows.version import PublishedVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from serving_helpers import Running

    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.rows.formats import Put
    from dp_dagster.rows.query import Format

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


def accesses(product: ResolvedProduct) -> list[tuple[int, int, int]]:
    """Status, rows and bytes of what was asked of the REST port, as written down so far, in order."""
    with contextlib.closing(sqlite3.connect(Path(product.settings.storage) / "records.db")) as database:
        return database.execute(
            "select status, rows, bytes from dp_accesses where port = 'api' order by batch, number"
        ).fetchall()


@pytest.mark.parametrize("address", [f"{PORT}/export?form=json", f"{REST}?limit=all"], ids=["plain", "REST"])
def test_a_slow_reader_fills_no_memory_and_gets_everything(
    server: Server, large: ResolvedProduct, address: str
) -> None:
    before = server.memory()
    with server.request(address) as connection:
        received = connection.recv(1000)
        wait_for(lambda: any(name.endswith(".json") for name in exports(large)))
        time.sleep(0.3)
        assert server.memory() - before < 120 * MEGABYTE
        assert server.client.get(f"{PORT}/7").json()[0] == 7
        assert server.client.get(f"{REST}/7").json()["number"] == 7
        pieces = [received]
        while piece := connection.recv(1 << 20):
            pieces.append(piece)
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    answer = body if b"content-length" in head else without_chunks(body)
    assert answer.count(b'"batch":1') == ROWS
    assert server.memory() - before < 150 * MEGABYTE
    if address.startswith(REST):
        wait_for(lambda: (200, ROWS, len(answer)) in accesses(large))


class Gate:
    """Where something waits until the test lets it through."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def wait(self) -> None:
        """Wait to be let through."""
        self.reached.set()
        assert self.opened.wait(60)


def left_over(product: ResolvedProduct) -> list[str]:
    """Threads and open files of exports, in this process."""
    folder = str(product.settings.state_directory / "exports")
    threads = [one.name for one in threading.enumerate() if one.name.startswith("export-")]
    open_files = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            open_files.append(str(descriptor.readlink()))
    return [*threads, *(one for one in open_files if one.startswith(folder))]


def connections(running: Running) -> list[str]:
    """The ports of those whose connections the server has, as the system says."""
    own = f"{running.port:04X}"
    ends = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [there[-4:] for here, there, state in ends if here.endswith(own) and state in {"01", "08"}]


def asking(running: Running, address: str) -> socket.socket:
    """A connection of its own that has asked for something, and reads as little as it can."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(60)
    made.connect(("127.0.0.1", running.port))
    made.sendall(f"GET {address} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    return made


def leave(made: socket.socket, running: Running) -> None:
    """Close a connection, and wait until the server has seen it."""
    own = f"{made.getsockname()[1]:04X}"
    made.close()
    wait_for(lambda: own not in connections(running))


def test_who_leaves_an_export_stops_it(large: ResolvedProduct, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread ends, its file is closed and removed, and the access says that nobody got it whole."""
    gate, stopped, pieces = Gate(), threading.Event(), []
    writer_of, stop = export.writer_of, export_job.ExportJob.stop

    def slow_writer(form: Format, columns: tuple[str, ...]) -> Any:
        write = writer_of(form, columns)

        def make(cursor: Any, sql: Any, put: Put) -> None:
            def put_slowly(data: Any, rows: int = 0) -> None:
                if len(pieces) == 1:
                    gate.wait()
                elif pieces:
                    assert stopped.wait(60)
                pieces.append(rows)
                put(data, rows)

            write(cursor, sql, put_slowly)

        return make

    def noted(job: Any) -> None:
        stop(job)
        stopped.set()

    monkeypatch.setattr(export, "writer_of", slow_writer)
    monkeypatch.setattr(export_job.ExportJob, "stop", noted)
    with serving(large) as running:
        made = asking(running, f"{REST}?format=csv&fields=text")
        assert made.recv(100).startswith(b"HTTP/1.1 200")
        assert gate.reached.wait(60)
        leave(made, running)
        gate.opened.set()
        assert stopped.wait(60)
        wait_for(lambda: not left_over(large))
        assert not any("unfinished" in name for name in exports(large))
        wait_for(lambda: any(status == 499 for status, _, _ in accesses(large)))
        (rows,) = [rows for status, rows, _ in accesses(large) if status == 499]
        assert 0 < rows <= sum(pieces) < ROWS
        monkeypatch.undo()
        # Whoever asks next gets it whole.
        whole = running.client.get(REST, params={"format": "csv", "fields": "text"}).text
        assert whole.count("\r\n") == ROWS + 1


def test_who_leaves_before_their_page_is_there(
    large: ResolvedProduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that a cursor led to: nothing is left, the access says that nobody got it, the cursor still holds."""
    gate, page_of = Gate(), PublishedVersion._page_from_files

    def slow_page(version: PublishedVersion, plan: Any) -> Any:
        gate.wait()
        return page_of(version, plan)

    with serving(large) as running:
        first = running.client.get(REST, params={"sort": "-text", "limit": 10}).json()
        following = first["links"]["next"]
        before = accesses(large).count((499, 10))
        monkeypatch.setattr(PublishedVersion, "_page_from_files", slow_page)
        made = asking(running, following)
        assert gate.reached.wait(60)
        leave(made, running)
        gate.opened.set()
        wait_for(lambda: [status for status, _, _ in accesses(large)].count(499) == before + 1)
        assert not left_over(large)
        page = running.client.get(following).json()
        texts = [row["text"] for row in first["data"] + page["data"]]
        assert texts == sorted(texts, reverse=True)
        assert len(set(texts)) == 20


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
    assert (sent := without_chunks(body)).count(b"\n") == ROWS
    assert server.process.wait(timeout=30) == 0
    assert (200, ROWS, len(sent)) in accesses(large), "written down before the end"
    assert not any("unfinished" in name for name in exports(large))
    assert not group_lives(server.process.pid)
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
