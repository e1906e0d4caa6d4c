"""Streams of dp serve as a real process: SIGTERM, kill -9, readers who leave or do not read."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from event_helpers import FIRST, SECOND, THIRD, Listener, Shop, wait_for

if TYPE_CHECKING:
    from support import Processes

pytestmark = pytest.mark.slow


class Server:
    def __init__(self, processes: Processes, shop: Shop) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        program = Path(sys.executable).parent / "dp"
        self.process, self.log = processes.start(
            [program, "serve", "--port", str(self.port)],
            cwd=shop.root,
            env={name: value for name, value in os.environ.items() if not name.startswith("DP_")},
        )
        wait_for(self.answers)

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health", trust_env=False).status_code == 200
        except httpx.ConnectError:
            return False


def test_the_end_of_a_server_loses_nothing(shop: Shop, processes: Processes) -> None:
    """Killed, and asked to end: consumers go on at the next server with the event behind their last."""
    shop.publish(FIRST)
    server = Server(processes, shop)
    listener = Listener(server.port, f"{shop.path}?snapshot=newest")
    got = [next(events := listener.events()), next(events)]
    server.process.kill()
    server.process.wait(timeout=60)
    listener.close()

    server = Server(processes, shop)
    listener = Listener(server.port, shop.path, last=got[-1].id)
    got += listener.until_published(0)
    shop.publish(SECOND)
    got += listener.until_published(1)
    # A consumer who has stopped reading must not hold the server up.
    lazy = Listener(server.port, f"{shop.path}?snapshot=newest")
    server.process.send_signal(signal.SIGTERM)
    assert list(listener.events()) == []
    assert server.process.wait(timeout=20) == 0
    listener.close()
    lazy.close()
    shop.publish(THIRD)

    server = Server(processes, shop)
    listener = Listener(server.port, f"{shop.path}?until=newest", last=got[-1].id)
    got += list(listener.events())
    listener.close()
    assert [one.id for one in got if "/" in str(one.id)] == [
        f"shop.people@{place}"
        for place in ("0/all/1", "0/all/2", "0/all/3", "1/2", "1/3", "1/4", "2/1", "2/5")
    ]
    assert [one.id for one in got if one.name == "published"] == [
        f"shop.people@{number}" for number in range(3)
    ]
