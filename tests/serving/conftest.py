"""A running server, shared by the tests of a module."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn
from serving_helpers import make_product, publish, resolved

from dp_dagster.serving.app import assemble
from dp_dagster.serving.server import configuration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dp_dagster.resolve import ResolvedProduct


class Running:
    """A server in a thread of this process, and a client of it."""

    def __init__(self, product: ResolvedProduct, client: httpx.Client) -> None:
        self.product = product
        self.client = client

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self.client.base_url.port or 0)

    def wait_for(self, what: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def state(self) -> str:
        """What /ready says of the only port."""
        return str(self.client.get("/ready").json()["ports"][0]["state"])


@contextlib.contextmanager
def serving(product: ResolvedProduct) -> Iterator[Running]:
    """Serve a product from a thread of this process."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(configuration(assemble([product], product.settings)))
    # Signals are for the main thread.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=60, trust_env=False
        ) as client:
            running = Running(product, client)
            running.wait_for(lambda: server.started)
            yield running
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A product that is served, with a thousand rows published."""
    root = tmp_path_factory.mktemp("served")
    make_product(root)
    product = resolved(root)
    publish(product, 1)
    with serving(product) as found:
        found.wait_for(lambda: found.state() == "ready")
        yield found


@pytest.fixture
def own_product(tmp_path: Path) -> ResolvedProduct:
    """A product of the test's own, with nothing published."""
    make_product(tmp_path)
    return resolved(tmp_path)
