"""A product that lands one input, and databases to land it from."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
import sqlalchemy as sa
from ruamel.yaml import YAML

from dp_dagster.pipeline import Session, land_input
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.storage import Table, input_quarantine_table, input_table

if TYPE_CHECKING:
    from pathlib import Path

    from dp_dagster.pipeline import InputOutcome
    from dp_dagster.storage import Snapshot

_numbers = itertools.count(1)


@dataclass
class Landed:
    """A product with the input ``source``, and what it has landed."""

    root: Path
    said: list[str] = field(default_factory=list)

    def declare(self, options: dict[str, Any], files: dict[str, str] | None = None) -> None:
        """Write the product."""
        folder = self.root / "products" / "small"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = {
            "api_version": "dp_dagster/v1",
            "product_id": "small",
            "version": "1.0.0",
            "input_ports": [{"name": "source", **options}],
        }
        for name, text in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        with (folder / "product.yaml").open("w") as stream:
            YAML().dump(descriptor, stream)

    def land(self, run_id: str | None = None) -> InputOutcome:
        """Land what is new, in a run of its own."""
        settings = Settings(project_root=self.root, storage="data", lock_timeout=20.0)
        product = resolve(self.root / "products" / "small", settings)
        session = Session(product, run_id or f"run-{next(_numbers)}", say=self.said.append)
        return land_input(session, "source")

    @property
    def table(self) -> Table:
        return Table(input_table(str(self.root / "data"), "small", "source"))

    @property
    def newest(self) -> Snapshot:
        found = self.table.newest()
        assert found is not None
        return found

    @property
    def state(self) -> Any:
        return json.loads(self.newest.metadata["dp.state"])

    def rows(self, columns: str = "*", order: str = "all") -> list[tuple[Any, ...]]:
        return duckdb.sql(
            f"select {columns} from read_parquet({list(self.newest.files)!r}) order by {order}"
        ).fetchall()

    def set_aside(self) -> list[tuple[Any, ...]]:
        table = Table(input_quarantine_table(str(self.root / "data"), "small", "source"))
        newest = table.newest()
        if newest is None:
            return []
        return duckdb.sql(f"select rules, reason, row from read_parquet({list(newest.files)!r})").fetchall()

    def everything(self) -> str:
        """The content of all files of the project as text, to look for what must not be there."""
        return "\n".join(
            path.read_bytes().decode("latin-1") for path in self.root.rglob("*") if path.is_file()
        )


class Line:
    """A line to a server that can be cut: after some bytes of an answer, or so that nothing comes any more."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.lines = 0
        #: Bytes of answers that go through on each coming line before it is cut; ``None``: all.
        self.cut_after: list[int | None] = []
        #: Whether a line that is cut stays open, and nothing comes any more.
        self.silent = False
        self._open: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Nobody listens any more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            limit = self.cut_after.pop(0) if self.cut_after else None
            self.lines += 1
            server = socket.create_connection(("127.0.0.1", self._port))
            self._open += [client, server]
            threading.Thread(target=self._carry, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._carry, args=(server, client, limit), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while data := source.recv(16_384):
                carried += len(data)
                if limit is None or carried <= limit:
                    target.sendall(data)
                elif not self.silent:
                    break
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@dataclass
class Shop:
    """A database on a real server."""

    url: str
    engine: sa.Engine

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))
