"""What tests import besides their fixtures: temporary projects, and processes that are always ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.serving.shell import Shell

ROOT = Path(__file__).resolve().parent.parent
#: Seconds that a process gets to end by itself before it is killed.
GRACE = 15.0

PRODUCT_YAML = """\
api_version: dp_dagster/v1
product_id: {product_id}
name: A small product for tests
version: 1.0.0
domain: testing
owner: {{team: testers, email: testers@example.com}}
description: Three shops and their sales.
refresh_rate: daily
input_ports:
  - {{name: sales, type: FILES, path: inputs/sales.csv}}
transforms:
  - {{name: totals, type: SQL, path: transforms/totals.sql}}
datasets:
  - {{name: totals, from: totals, contract: "contracts/totals.py:Totals", key: [shop]}}
output_ports:
  - {{name: vw_totals, type: SQL, dataset: totals, description: Sales of each shop}}
"""

SALES_CSV = "sale,shop,amount\n1,north,10\n2,north,5\n3,south,7\n4,west,1\n"

TOTALS_SQL = "select shop, cast(sum(amount) as bigint) as amount from sales group by shop order by shop\n"

TOTALS_CONTRACT = '''\
"""What consumers may rely on."""

import pandera.polars as pa


class Totals(pa.DataFrameModel):
    """Sales of each shop."""

    shop: str = pa.Field(unique=True, str_matches="^[a-z]+$", description="The shop's name")
    amount: int = pa.Field(ge=0, description="What it sold, in euros")
'''


@dataclass
class TestProject:
    """A project in a folder of its own, with its own storage and state.

    Attributes:
        root: The folder that holds ``dp_dagster.toml``.
        environment: Environment for processes that work in it.
    """

    __test__ = False

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def storage(self) -> Path:
        """Where the project's products publish."""
        return self.root / "data"

    def add_product(self, product_id: str = "shops", *, descriptor: str | None = None) -> Path:
        """Write the small product, or one with another descriptor, and give its folder."""
        folder = self.root / "products" / product_id
        for relative, text in {
            "product.yaml": descriptor or PRODUCT_YAML.format(product_id=product_id),
            "inputs/sales.csv": SALES_CSV,
            "transforms/totals.sql": TOTALS_SQL,
            "contracts/totals.py": TOTALS_CONTRACT,
        }.items():
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            (folder / relative).write_text(text)
        return folder

    def copy_product(self, product_id: str) -> Path:
        """Copy one of this repository's products, without what runs of it left behind."""
        folder = self.root / "products" / product_id
        shutil.copytree(
            ROOT / "products" / product_id,
            folder,
            ignore=shutil.ignore_patterns("__pycache__", ".dp", "target"),
        )
        return folder


def end_group(process: subprocess.Popen[str], grace: float = GRACE) -> None:
    """End a process and all its descendants of the same group: politely, then surely."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline:
            process.poll()
            if not group_lives(process.pid):
                process.wait()  # it is a zombie at most
                return
            time.sleep(0.05)
    raise AssertionError(f"processes of group {process.pid} survived SIGKILL")


def group_lives(group: int) -> bool:
    """Whether any process of a group is still running (a zombie that nobody waits for does not count)."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, owner = status.read_text().rpartition(")")[2].split()[:3]
            if int(owner) == group and state != "Z":
                return True
    return False


class Processes:
    """Starts programs in process groups of their own; the fixture ends every one of them."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.started: list[subprocess.Popen[str]] = []

    def start(
        self, command: list[str | Path], *, cwd: Path, env: dict[str, str] | None = None
    ) -> tuple[subprocess.Popen[str], Path]:
        """Start a program; gives it and the file that its output goes to."""
        log = self.logs / f"{len(self.started)}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.started.append(process)
        return process, log


@contextlib.contextmanager
def listening(shell: Shell) -> Iterator[str]:
    """The address of a real server of an application, in a thread of this process."""
    import uvicorn

    from dp_dagster.serving.server import configuration

    server = uvicorn.Server(configuration(shell))
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        # Signals are for the main thread.
        thread = threading.Thread(target=server.run, kwargs={"sockets": [found]}, daemon=True)
        thread.start()
        try:
            deadline = time.monotonic() + 60
            while not server.started:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield f"http://127.0.0.1:{found.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=60)
            assert not thread.is_alive()
