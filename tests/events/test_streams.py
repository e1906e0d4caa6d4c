"""Streams of events: where they begin, how they go on, what they hold."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import event_helpers
import jsonschema
import pytest
from event_helpers import FIRST, SECOND, THIRD, Listener, Shop, ask

from dp_dagster.changes.kept import Changes
from dp_dagster.contracts.model import Column
from dp_dagster.errors import DescriptorError
from dp_dagster.ports.outputs.event_stream import streams
from dp_dagster.ports.outputs.event_stream.changes_pages import ChangePages
from dp_dagster.ports.outputs.event_stream.envelope import Place, key_text, key_values, read_id
from dp_dagster.serving.app import assemble
from dp_dagster.storage import Table
from dp_dagster.storage.contracts import keep_contract
from dp_dagster.testing.asgi import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from event_helpers import Told


@pytest.fixture(scope="module")
def client(published: Shop) -> Iterator[Client]:
    with published.served() as found:
        yield found


def brief(events: list[Told]) -> list[tuple[str, str, int | None]]:
    return [(one.name, str(one.id), one.event["data"].get("key", {}).get("id")) for one in events]


EVERYTHING = [
    ("inserted", "shop.people@0/all/1", 1),
    ("inserted", "shop.people@0/all/2", 2),
    ("inserted", "shop.people@0/all/3", 3),
    ("published", "shop.people@0", None),
    ("updated", "shop.people@1/2", 2),
    ("deleted", "shop.people@1/3", 3),
    ("inserted", "shop.people@1/4", 4),
    ("published", "shop.people@1", None),
    ("updated", "shop.people@2/1", 1),
    ("inserted", "shop.people@2/5", 5),
    ("published", "shop.people@2", None),
]


def test_all_rows_and_then_what_changed(published: Shop, client: Client) -> None:
    events = ask(client, published.path, "snapshot=0&until=newest")
    assert brief(events) == EVERYTHING
    data = {one.id: one.event["data"] for one in events}
    assert data["shop.people@1/2"] == {
        "key": {"id": 2},
        "before": {"id": 2, "name": "Ben", "region": "south"},
        "after": {"id": 2, "name": "Ben", "region": "north"},
    }
    assert data["shop.people@1/3"]["after"] is None
    assert data["shop.people@1/4"]["before"] is None
    assert data["shop.people@1"] == {
        "version": 1, "rows": 3, "inserted": 1, "updated": 1, "deleted": 1, "operation": "publish"
    }  # fmt: skip


def test_a_consumer_goes_on_behind_any_event(published: Shop, client: Client) -> None:
    """With the very events that it would have had; behind the last there is nothing, and no reason to come back."""
    events = ask(client, published.path, "snapshot=0&until=newest")
    for number, one in enumerate(events):
        rest = ask(client, published.path, "snapshot=newest&until=newest", last_event_id=str(one.id))
        assert rest == events[number + 1 :]
        assert ask(client, published.path, f"since={quote(str(one.id))}&until=newest") == rest
    assert ask(client, published.path, "since=1&until=newest") == events[8:]


def test_filters_and_columns_of_a_consumer(published: Shop, client: Client) -> None:
    events = ask(client, published.path, "snapshot=0&until=newest&region=north&fields=region")
    assert [(one.name, one.event["data"].get("after")) for one in events] == [
        ("inserted", {"region": "north"}),
        ("inserted", {"region": "north"}),
        ("published", None),
        ("inserted", {"region": "north"}),
        ("deleted", None),
        ("published", None),
        ("published", None),
    ]
    assert events[2].event["data"]["rows"] is None
    assert events[5].event["data"] | {"version": 1} == {
        "version": 1, "rows": None, "inserted": 1, "updated": 0, "deleted": 1, "operation": "publish"
    }  # fmt: skip


def test_events_are_cloud_events(published: Shop, client: Client) -> None:
    """By the rules of the specification, version 1.0."""
    events = [one.event for one in ask(client, published.path, "snapshot=0&until=newest")]
    assert len({(one["source"], one["id"]) for one in events}) == len(events)
    for one in events:
        assert one["specversion"] == "1.0"
        assert one["source"] == f"http://127.0.0.1:8700{published.path}"
        assert re.fullmatch(r"shop\.people\.(row\.(inserted|updated|deleted)|published)\.v1", one["type"])
        assert datetime.fromisoformat(one["time"]).tzinfo is not None
        assert one["datacontenttype"] == "application/json"
        assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in one)
        assert all(value not in ("", None) for name, value in one.items() if name != "data")
        assert isinstance(one["datasetversion"], int)
        assert ("subject" in one) == ("dataschema" in one) == (".row." in one["type"])
    assert [one["subject"] for one in events if "subject" in one] == [
        str(key) for *_, key in EVERYTHING if key
    ]


def test_data_keeps_the_schema_that_events_name(published: Shop, client: Client) -> None:
    events = [one.event for one in ask(client, published.path, "snapshot=0&until=newest")]
    (address,) = {one["dataschema"] for one in events if "dataschema" in one}
    schema = client.get(address.removeprefix("http://127.0.0.1:8700")).json()
    assert schema["$id"] == address
    validator = jsonschema.Draft202012Validator(schema)
    rows = [one["data"] for one in events if "subject" in one]
    for data in rows:
        validator.validate(data)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**rows[0], "after": {"id": "one"}})
    path = f"{published.path}/schema.json"
    assert client.get(path).json() == schema
    older = replace(
        published.product.dataset("people").contract, hash="a" * 64, columns=(Column("id", "string"),)
    )
    keep_contract(published.settings.storage, "shop", older)
    asked = client.get(f"{path}?contract={older.hash}").json()
    assert asked["properties"]["key"]["properties"]["id"]["type"] == "string"
    assert client.get(f"{path}?contract={'b' * 64}").status == 404
    assert client.get(f"{path}?contract=..%2F..").status == 404


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("snapshot=9", 410, "snapshot=newest"),
        ("since=9", 410, "snapshot=newest"),
        ("since=shop.people@9/1", 410, "snapshot=newest"),
        ("since=x y", 400, "since"),
        ("snapshot=old", 400, "newest"),
        ("until=7", 400, "until"),
        ("since=1&snapshot=1", 400, "say one of them"),
        ("nothing=1", 400, "since, snapshot, until"),
        ("fields=nothing", 400, "no such column"),
        ("since=1&since=2", 400, "twice"),
    ],
)
def test_what_cannot_be_told(published: Shop, client: Client, query: str, status: int, said: str) -> None:
    response = client.get(f"{published.path}?{quote(query, safe='=&')}")
    assert response.status == status
    assert response.headers["content-type"] == "application/problem+json"
    assert said in response.text


def test_what_is_no_stream(published: Shop, client: Client) -> None:
    assert client.get(f"{published.path}/other").status == 404
    assert client.request("POST", published.path).status == 405
    assert client.get(published.path, accept="application/json").status == 406
    head = client.request("HEAD", f"{published.path}?snapshot=newest")
    assert (head.status, head.body) == (200, b"")


def test_who_comes_back_too_late_is_told_to_begin_again(shop: Shop) -> None:
    for rows in (FIRST, SECOND, THIRD):
        shop.publish(rows)
    Table(shop.publish(FIRST).location).vacuum(0)
    with shop.served() as client:
        for header in ("shop.people@0", "shop.people@1/2", "shop.people@0/all/1"):
            response = client.get(shop.path, last_event_id=header)
            assert response.status == 410
            assert "snapshot=newest" in response.json()["fix"]
        assert brief(ask(client, shop.path, "snapshot=newest&until=newest"))[-1][0] == "published"


def test_nothing_is_told_before_the_port_shows_it(shop: Shop) -> None:
    """A version that is committed and not projected yet is none of the consumers' business."""
    shop.publish(FIRST)
    with shop.served() as client:
        shop.publish(SECOND, project=False)
        assert len(ask(client, shop.path, "snapshot=newest&until=newest")) == 4
        assert client.get(f"{shop.path}?since=1").status == 410


def test_masks_and_row_filters_decide_what_is_an_event(tmp_path: Path) -> None:
    """A change behind a mask is none; a row that enters the filter is inserted, one that leaves it deleted."""
    shop = Shop(tmp_path, access=[{"anyone": True, "rows": "region = 'north'", "masks": {"name": "redact"}}])
    for rows in (FIRST, SECOND, THIRD):
        shop.publish(rows)
    with shop.served() as client:
        events = ask(client, shop.path, "snapshot=0&until=newest")
        assert brief(events) == [
            ("inserted", "shop.people@0/all/1", 1),
            ("inserted", "shop.people@0/all/3", 3),
            ("published", "shop.people@0", None),
            ("inserted", "shop.people@1/2", 2),
            ("deleted", "shop.people@1/3", 3),
            ("published", "shop.people@1", None),
            ("published", "shop.people@2", None),
        ]
        text = str([one.event for one in events])
        assert "Ada" not in text
        assert "Eva" not in text
        assert "•••" in text
        assert events[-1].event["data"] == {
            "version": 2, "rows": None, "inserted": 0, "updated": 0, "deleted": 0, "operation": "publish"
        }  # fmt: skip
        assert client.get(f"{shop.path}?name=Ada").status == 403
        for number, one in enumerate(events):
            assert ask(client, shop.path, "until=newest", last_event_id=str(one.id)) == events[number + 1 :]


def test_an_answer_that_would_be_too_large_ends_and_goes_on(tmp_path: Path) -> None:
    shop = Shop(tmp_path, limits={"response_bytes": 2500})
    for rows in (FIRST, SECOND, THIRD):
        shop.publish(rows)
    found: list[Told] = []
    answers = 0
    with shop.served() as client:
        while not found or found[-1].id != "shop.people@2":
            header = {"last_event_id": str(found[-1].id)} if found else {}
            found += ask(client, shop.path, "snapshot=0&until=newest", **header)
            answers += 1
    assert brief(found) == EVERYTHING
    assert answers > 1


def test_odd_keys_are_gone_on_from() -> None:
    for key in ({"a": "x/y,z%"}, {"a": ""}, {"a": "é\n", "b": 1}, {"a": "1.50"}, {"a": True}):
        text = key_text(json.dumps(key))
        place = read_id(f"shop.people@3/{text}")
        assert place == Place(3, text)
        assert text.isascii()
        assert key_values(text) == [
            value if isinstance(value, str) else json.dumps(value) for value in key.values()
        ]
    assert read_id("7/all/1") == Place(7, "1", is_snapshot=True)
    assert read_id("shop.people@7/") == Place(7, "")
    assert read_id("7") == Place(7)
    assert read_id("x") is None


def test_a_dataset_without_a_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = event_helpers.CONTRACT.replace(", primaryKey: true", "")
    monkeypatch.setattr(event_helpers, "CONTRACT", text)
    with pytest.raises(DescriptorError, match="has no key"):
        Shop(tmp_path)


def test_live_over_a_real_connection(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """New versions come as they are published, a sign of life in between; a broken chain is said."""
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.1)
    shop.publish(FIRST)
    with shop.listening() as port:
        first, late = Listener(port, f"{shop.path}?snapshot=newest"), Listener(port, shop.path)
        assert brief(first.until_published(0)) == EVERYTHING[:4]
        blocks = late.blocks()
        assert next(blocks).startswith("retry: ")
        assert next(blocks) == ": still here"
        shop.publish(SECOND)
        assert brief(first.until_published(1)) == brief(late.until_published(1)) == EVERYTHING[4:8]
        snapshot = shop.publish(THIRD, project=False)
        version = snapshot.version
        changes = Changes(snapshot.location)
        changes.bring_up_to(snapshot, ("id",))
        document = changes.folder / f"{version}.json"
        document.write_text(document.read_text().replace('"kind": "changes"', '"kind": "break"'))
        shop.project()
        (reset,) = list(first.events())
        assert (reset.id, reset.name, reset.event["type"]) == (None, "reset", "shop.people.reset.v1")
        assert reset.event["data"]["version"] == version
        first.close()
        late.close()


def test_answers_end_in_time(tmp_path: Path) -> None:
    """So that a consumer whose access has ended does not read for ever."""
    shop = Shop(tmp_path, stream_seconds=1)
    shop.publish(FIRST)
    with shop.listening() as port:
        listener = Listener(port, f"{shop.path}?snapshot=newest")
        assert len(list(listener.events())) == 4
        listener.close()


def test_a_reader_who_does_not_read_costs_one_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read ahead of them, and when they leave, nothing goes on; what they have is written down."""
    shop.publish([(key, f"before {key}", "north") for key in range(4000)])
    shop.publish([(key, f"after {key}", "north") for key in range(4000)])
    read: list[int] = []
    page = ChangePages.page

    def counted(self: ChangePages, one: Any, query: Any, start: int) -> list[Any]:
        read.append(start)
        return page(self, one, query, start)

    monkeypatch.setattr(ChangePages, "page", counted)
    shell = assemble([shop.product], shop.settings)
    route = shell.route_of(shop.path)
    assert route is not None
    ended: list[Any] = []
    route.finished = ended.append
    left, stuck = asyncio.Event(), asyncio.Event()
    bodies: list[bytes] = []

    async def receive() -> dict[str, Any]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        bodies.append(message.get("body", b""))
        if b"event: updated" in bodies[-1]:
            stuck.set()
            await asyncio.Event().wait()

    async def ask_and_leave(client: Client) -> None:
        scope = {
            "type": "http", "method": "GET", "path": shop.path, "raw_path": shop.path.encode(),
            "query_string": b"since=0", "headers": [],
        }  # fmt: skip
        answer = asyncio.ensure_future(client.application(scope, receive, send))
        await asyncio.wait_for(stuck.wait(), 60)
        await asyncio.sleep(0.3)
        left.set()
        await asyncio.wait_for(answer, 10)

    with Client(shell) as client:
        client._call(ask_and_leave(client))
        assert read == [0]
        assert [(one.exchange.version, one.exchange.columns) for one in ended] == [
            (1, ("id", "name", "region"))
        ]
        everything = ask(client, shop.path, "since=0&until=newest")
        assert len(everything) == 4001
        assert sorted(set(read)) == list(range(0, 4001, 500))
        rest = ask(client, shop.path, "until=newest", last_event_id="shop.people@1/3210")
        assert rest == everything[3211:]
