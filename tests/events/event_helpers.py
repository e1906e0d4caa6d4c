"""A product with a port of events, versions of it, and ways to listen."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import uvicorn

from dp_dagster.pipeline import Session, project_port
from dp_dagster.resolve import resolve
from dp_dagster.serving.app import assemble
from dp_dagster.serving.server import configuration
from dp_dagster.settings import Settings
from dp_dagster.testing.asgi import Client
from dp_dagster.testing.published import publish_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.storage import Snapshot

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: people
version: 1.0.0
status: active
schema:
  - name: people
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, primaryKey: true}
      - {name: name, logicalType: string, classification: pii}
      - {name: region, logicalType: string}
"""
ACCESS = [{"anyone": True, "unmask": ["name"]}]
Row = tuple[Any, ...]
FIRST: list[Row] = [(1, "Ada", "north"), (2, "Ben", "south"), (3, "Cy", "north")]
SECOND: list[Row] = [(1, "Ada", "north"), (2, "Ben", "north"), (4, "Dee", "south")]
THIRD: list[Row] = [(1, "Eva", "north"), (2, "Ben", "north"), (4, "Dee", "south"), (5, "Flo", "south")]


class Told(NamedTuple):
    """One event as it came over the wire."""

    id: str | None
    name: str
    event: dict[str, Any]

    @property
    def row(self) -> int:
        return int(self.event["data"]["key"]["id"])


class Shop:
    """The product ``shop`` with one dataset ``people`` and a port ``people_events``."""

    def __init__(self, root: Path, *, access: list[dict[str, Any]] | None = None, **port: Any) -> None:
        self.root = root
        folder = root / "products" / "shop"
        (folder / "contracts").mkdir(parents=True)
        (root / "dp_dagster.toml").write_text('products = ["products/*"]\nstorage = "data"\n')
        (folder / "raw.csv").write_text("id,name,region\n1,a,b\n")
        (folder / "contracts" / "people.odcs.yaml").write_text(CONTRACT)
        descriptor = {
            "product_id": "shop",
            "version": "1.0.0",
            "input_ports": [{"name": "raw", "type": "FILES", "path": "raw.csv"}],
            "datasets": [{"name": "people", "from": "raw", "contract": "contracts/people.odcs.yaml:people"}],
            "output_ports": [{"name": "people_events", "type": "EVENT_STREAM", "auth": "none", **port}],
            "access": ACCESS if access is None else access,
        }
        (folder / "product.yaml").write_text(json.dumps(descriptor))
        self.settings = Settings.load(root)
        self.product: ResolvedProduct = resolve(folder, self.settings)
        self.path = "/shop/v1/people_events"

    def publish(self, rows: Iterable[Row], *, project: bool = True) -> Snapshot:
        columns = list(zip(*rows, strict=True))
        table = pa.table(
            {"id": pa.array(columns[0], pa.int64()), "name": columns[1], "region": pa.array(columns[2])}
        )
        contract = self.product.dataset("people").contract
        snapshot = publish_rows(self.settings, "shop", "people", contract, table, files=1)
        if project:
            self.project()
        return snapshot

    def project(self) -> dict[str, Any]:
        return project_port(Session(self.product, "tests"), "people_events").metadata

    @contextlib.contextmanager
    def served(self) -> Iterator[Client]:
        """A server in this process, asked without a network."""
        with Client(assemble([self.product], self.settings)) as client:
            yield client

    @contextlib.contextmanager
    def listening(self) -> Iterator[int]:
        """A real server in a thread; its TCP port."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            server = uvicorn.Server(configuration(assemble([self.product], self.settings)))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
            thread.start()
            try:
                wait_for(lambda: server.started)
                yield int(listening.getsockname()[1])
            finally:
                server.should_exit = True
                thread.join(timeout=60)
                assert not thread.is_alive()


def ask(client: Client, path: str, query: str = "", **headers: str) -> list[Told]:
    """All events of an answer that has an end."""
    response = client.get(f"{path}?{query}", **headers)
    assert response.status in {200, 204}, response.text
    assert response.broke_off is None
    if response.status == 204:
        assert not response.body
        return []
    assert response.headers["content-type"].startswith("text/event-stream")
    return told(response.text)


def told(text: str) -> list[Told]:
    return [one for block in text.split("\n\n") if (one := read_block(block)) is not None]


def read_block(block: str) -> Told | None:
    fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
    if "data" not in fields:
        return None
    return Told(fields.get("id"), fields["event"], json.loads(fields["data"]))


def wait_for(what: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Listener:
    """A consumer over a real connection, event by event."""

    def __init__(self, port: int, target: str, last: str | None = None) -> None:
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        header = f"last-event-id: {last}\r\n" if last else ""
        self.connection.sendall(f"GET {target} HTTP/1.1\r\nhost: localhost\r\n{header}\r\n".encode())
        self.file = self.connection.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        while self.file.readline() not in {b"\r\n", b""}:
            pass

    def blocks(self) -> Iterator[str]:
        """The stream's blocks, until it ends."""
        buffer = b""
        while size := self.file.readline().strip():
            length = int(size, 16)
            buffer += self.file.read(length)
            self.file.readline()
            if not length:
                return
            while b"\n\n" in buffer:
                block, _, buffer = buffer.partition(b"\n\n")
                yield block.decode()

    def events(self) -> Iterator[Told]:
        for block in self.blocks():
            one = read_block(block)
            if one is not None:
                yield one

    def until_published(self, version: int) -> list[Told]:
        found = []
        for one in self.events():
            found.append(one)
            if one.name == "published" and one.event["datasetversion"] == version:
                return found
        raise AssertionError(f"the stream ended after {found}")

    def close(self) -> None:
        self.file.close()
        self.connection.close()
