"""Servers that are down, slow, gone in the middle or that let nobody in: told in a line, and nothing is lost."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from test_postgresql import ANYBODY, VIEW, version

from dp_dagster.errors import AuthorError, SettingsError, StoreError
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sql_helpers import Shop

pytestmark = [pytest.mark.slow, pytest.mark.needs("postgresql")]

PASSWORD = "hunter2 hunter2"


class Wire:
    """Passes on what a client and the server say to each other, until it is told to stall or to cut."""

    def __init__(self, host: str, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.target = (host, port)
        self.ends = threading.Event()
        self.stalls = threading.Event()
        self.after: int | None = None
        self.then = "cut"
        self.thread = threading.Thread(target=self._accept)
        self.thread.start()

    def close(self) -> None:
        self.ends.set()
        self.listener.close()
        self.thread.join()

    def _accept(self) -> None:
        talks = []
        self.listener.settimeout(0.1)
        while not self.ends.is_set():
            with contextlib.suppress(OSError):
                client, _ = self.listener.accept()
                talks.append(threading.Thread(target=self._talk, args=(client,)))
                talks[-1].start()
        for talk in talks:
            talk.join()

    def _talk(self, client: socket.socket) -> None:
        sent = 0
        # That one of them has gone is no news to the other.
        with contextlib.suppress(OSError), client, socket.create_connection(self.target) as server:
            while not self.ends.is_set():
                if self.stalls.is_set():
                    time.sleep(0.05)
                    continue
                readable, _, _ = select.select([client, server], [], [], 0.05)
                for one in readable:
                    data = one.recv(65536)
                    if not data:
                        return
                    (server if one is client else client).sendall(data)
                    sent += len(data) if one is client else 0
                if self.after is not None and sent > self.after:
                    if self.then == "cut":
                        return
                    self.stalls.set()


@pytest.fixture
def wire(shop: Shop) -> Iterator[Wire]:
    """Between the product and the server; who asks the database directly does not go through it."""
    host, _, port = shop.place.partition("/")[0].partition(":")
    wire = Wire(host, int(port))
    shop.port["endpoint"] = (
        f"postgresql://127.0.0.1:{wire.port}/{shop.place.partition('/')[2]}/{VIEW.replace('.', '/')}"
    )
    shop.port["timeout"] = 1.0
    shop.access = ANYBODY
    yield wire
    wire.close()


def shown(shop: Shop) -> list[tuple[Any, ...]]:
    return shop.ask(f"select count(*), min(salary), max(salary) from {VIEW}")


def test_a_server_that_is_down(shop: Shop, free_port: int) -> None:
    shop.port["endpoint"] = f"postgresql://127.0.0.1:{free_port}/db/schema/view"
    with pytest.raises(StoreError, match=rf"^PostgreSQL at 127\.0\.0\.1:{free_port}, database db: .*refused"):
        shop.run()
    with pytest.raises(StoreError):
        shop.probe()
    manifest = read_manifest(shop.settings.storage, "shop")
    assert manifest is None


def test_a_server_that_stops_answering_is_given_up(shop: Shop, wire: Wire) -> None:
    shop.run(version(1))
    wire.stalls.set()
    shop.publish(version(2))
    started = time.monotonic()
    with pytest.raises(StoreError):
        shop.project()
    assert time.monotonic() - started < 10
    wire.stalls.clear()
    assert shown(shop) == [(300, 1, 1)]
    shop.project()
    assert shown(shop) == [(300, 2, 2)]


@pytest.mark.parametrize("how", ["stall", "cut"])
def test_a_connection_that_is_lost_in_the_middle_of_a_load(shop: Shop, wire: Wire, how: str) -> None:
    shop.run(version(1))
    before = shop.tables()
    shop.publish(version(2, rows=100_000))
    wire.then = how
    wire.after = 2_000_000
    with pytest.raises(StoreError):
        shop.project()
    assert shown(shop) == [(300, 1, 1)]
    wire.after = None
    wire.stalls.clear()
    deadline = time.monotonic() + 20
    while shop.tables() != before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shop.project()
    assert shown(shop) == [(100_000, 2, 2)]


def test_a_wrong_password_is_never_shown(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.ask(f"create role needs_password login superuser password '{PASSWORD}'")
    try:
        shop.port["credentials"] = "SHOP"
        with pytest.raises(SettingsError, match="environment variable SHOP_USER is not set"):
            shop.run()
        monkeypatch.setenv("SHOP_USER", "needs_password")
        monkeypatch.setenv("SHOP_PASSWORD", "wrong wrong")
        with pytest.raises(
            StoreError, match='password authentication failed for user "needs_password"'
        ) as caught:
            shop.project()
        chain: BaseException | None = caught.value
        while chain is not None:
            assert "wrong wrong" not in str(chain)
            chain = chain.__cause__
        monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
        outcome = shop.project()
        assert PASSWORD not in str(outcome)
        assert PASSWORD not in str(read_manifest(shop.settings.storage, "shop"))
        shop.ask("drop schema dp_shop cascade; drop schema public_data cascade")
    finally:
        shop.ask("drop role needs_password")


def test_who_may_not_make_schemas_is_told_what_to_ask_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.ask("create role poor login")
    try:
        monkeypatch.setenv("PGUSER", "poor")
        with pytest.raises(StoreError, match='create schema "dp_shop" authorization "poor"'):
            shop.run()
        shop.ask("create schema dp_shop authorization poor; create schema public_data authorization poor")
        shop.access = [{"anyone": True, "columns": ["id"]}]
        shop.project()
        assert len(shop.ask(f"select id from {VIEW}")) == 5
        shop.ask("drop owned by poor cascade")
    finally:
        shop.ask("drop role poor")


def test_another_encoding_is_refused(shop: Shop) -> None:
    shop.ask("create database latin encoding 'LATIN1' locale 'C' template template0")
    try:
        shop.port["endpoint"] = f"postgresql://{shop.place.partition('/')[0]}/latin/public_data/people"
        with pytest.raises(StoreError, match="has the encoding LATIN1"):
            shop.run()
    finally:
        shop.ask("drop database latin with (force)")


def test_the_key_must_be_one(shop: Shop) -> None:
    shop.access = ANYBODY
    shop.run(version(1))
    table = version(2)
    at = table.schema.get_field_index("id")
    with pytest.raises(AuthorError, match="the key id has duplicates") as caught:
        shop.run(table.set_column(at, "id", [[1] * 300]))
    assert "(1)" not in str(caught.value)
    assert shown(shop) == [(300, 1, 1)]
