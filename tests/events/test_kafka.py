"""Events in a Kafka topic: forms, order, brokers that are down, positions that survive kill -9."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from event_helpers import ACCESS, FIRST, SECOND, THIRD, Shop, ask
from kafka_helpers import Cluster, Message, read_topic

from dp_dagster.cli import main
from dp_dagster.errors import DescriptorError
from dp_dagster.records import Records
from dp_dagster.storage import Table, dataset_table

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def make_shop(tmp_path: Path, cluster: Cluster) -> Callable[..., Shop]:
    def make(**more: Any) -> Shop:
        topic = f"t{random.randrange(10**12)}"
        kafka = {"brokers": cluster.brokers, "topic": topic, **more.pop("kafka", {})}
        cluster.make(topic)
        return Shop(tmp_path, kafka=kafka, **{"readers": {"anyone": True}, **more})

    return make


def topic_of(shop: Shop) -> str:
    return str(shop.product.port("people_events").config.kafka.topic)


def read(cluster: Cluster, shop: Shop) -> list[Message]:
    return read_topic(cluster.brokers, topic_of(shop))


def by_key(messages: list[Message]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in messages:
        found.setdefault(one.key, []).append(str(one.event["id"]))
    return found


ORDER = {
    "1": ["shop.people@0/all/1", "shop.people@2/1"],
    "2": ["shop.people@0/all/2", "shop.people@1/2"],
    "3": ["shop.people@0/all/3", "shop.people@1/3"],
    "4": ["shop.people@1/4"],
    "5": ["shop.people@2/5"],
    "shop.people.published": ["shop.people@0", "shop.people@1", "shop.people@2"],
}


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_a_topic_has_what_a_stream_has(make_shop: Callable[..., Shop], cluster: Cluster, mode: str) -> None:
    """The same events, each key in order in one partition, in either form of CloudEvents."""
    shop = make_shop(kafka={"mode": mode})
    for rows in (FIRST, SECOND, THIRD):
        shop.publish(rows)
    messages = read(cluster, shop)
    assert by_key(messages) == ORDER
    assert all(len({one.partition for one in messages if one.key == key}) == 1 for key in ORDER)
    with shop.served() as client:
        streamed = {one.id: one.event for one in ask(client, shop.path, "snapshot=0&until=newest")}
    assert {one.event["id"]: {name: str(value) for name, value in one.event.items()} for one in messages} == {
        key: {name: str(value) for name, value in event.items()} for key, event in streamed.items()
    }
    assert {one.headers["content-type"] for one in messages} == {
        "application/json" if mode == "binary" else "application/cloudevents+json; charset=utf-8"
    }
    # Projected again, nothing is sent again.
    assert shop.project()["events sent"] == 0
    assert len(read(cluster, shop)) == len(messages)
    records = Records(shop.settings.resolved_records_url).query(product="shop", kind="delivered", limit=10)
    assert [(one.payload["version"], one.payload["events"]) for one in records] == [(2, 3), (1, 4), (0, 4)]


def test_readers_get_what_access_gives_them(make_shop: Callable[..., Shop], cluster: Cluster) -> None:
    masked = [{"role": ["analyst"], "rows": "region = 'north'", "masks": {"name": "redact"}}, *ACCESS]
    shop = make_shop(access=masked[:1], auth="api_key", readers={"role": "analyst"})
    for rows in (FIRST, SECOND, THIRD):
        shop.publish(rows)
    messages = read(cluster, shop)
    assert by_key(messages) == {
        "1": ["shop.people@0/all/1"],
        "2": ["shop.people@1/2"],
        "3": ["shop.people@0/all/3", "shop.people@1/3"],
        "shop.people.published": ["shop.people@0", "shop.people@1", "shop.people@2"],
    }
    assert "Ada" not in str(messages)
    assert {str(one.event["data"].get("after")) for one in messages} >= {
        "{'id': 1, 'name': '•••', 'region': 'north'}"
    }


def test_who_reads_a_topic_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(DescriptorError, match=r"readers: \{role: analyst\}"):
        Shop(tmp_path, kafka={"brokers": "127.0.0.1:9092"})


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        ({"brokers": "kafka://u:hunter2@host"}, "host:port"),
        ({"brokers": "a:1", "topic": "no topic"}, "no name of a topic"),
        ({"brokers": "a:1", "security": {"user": "ada", "password": "hunter2"}}, "environment variable"),
        ({"brokers": "a:1", "security": {"protocol": "SASL_SSL"}}, "wants a user and a password"),
        (
            {"brokers": "a:1", "security": {"protocol": "SSL", "user": "${U}", "password": "${P}"}},
            "sends no password",
        ),
    ],
)
def test_faults_are_told_without_secrets(tmp_path: Path, kafka: dict[str, Any], said: str) -> None:
    with pytest.raises(DescriptorError, match=said) as caught:
        Shop(tmp_path, kafka=kafka, readers={"anyone": True})
    assert "hunter2" not in str(caught.value)


def test_a_password_that_is_not_set_is_named(tmp_path: Path) -> None:
    security = {"user": "${KAFKA_USER}", "password": "${KAFKA_PASSWORD}"}
    shop = Shop(tmp_path, kafka={"brokers": "127.0.0.1:1", "security": security}, readers={"anyone": True})
    shop.publish(FIRST)
    assert "KAFKA_USER is not set" in shop.project()["delivery"]


def test_brokers_that_are_down_stop_nothing_else(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The port shows the version, says what is behind, and the next projection goes on where it was."""
    kafka = {"brokers": cluster.brokers, "topic": "sometimes", "seconds": 2}
    cluster.make("sometimes")
    shop = Shop(tmp_path, kafka=kafka, readers={"anyone": True})
    shop.publish(FIRST)
    port = shop.product.port("people_events")
    down = port.config.kafka.model_copy(update={"brokers": "127.0.0.1:1"})
    up = port.config.kafka
    object.__setattr__(port.config, "kafka", down)
    shop.publish(SECOND)
    told = shop.project()["delivery"]
    assert told.startswith("kafka:sometimes has version 0, version 1 is due since 20")
    assert "the brokers do not answer" in told
    shop.publish(THIRD)
    with shop.served() as client:
        assert ask(client, shop.path, "since=1&until=newest")[-1].id == "shop.people@2"
    monkeypatch.chdir(shop.root)
    with pytest.raises(SystemExit):
        main(["ports", "shop"])
    assert "sent     kafka:sometimes has version 0, version 2 is due since 20" in capsys.readouterr().out
    object.__setattr__(port.config, "kafka", up)
    assert shop.project() | {
        "events sent": 7,
        "delivery": "kafka:sometimes has version 2",
    } == shop.project() | {"events sent": 7}
    assert by_key(read(cluster, shop)) == ORDER


def test_a_topic_that_is_too_far_behind_begins_again(
    make_shop: Callable[..., Shop], cluster: Cluster
) -> None:
    """It is told so, and gets all rows once more."""
    shop = make_shop()
    shop.publish(FIRST)
    shop.publish(SECOND, project=False)
    shop.publish(THIRD, project=False)
    Table(dataset_table(shop.settings.storage, "shop", 1, "people")).vacuum(0)
    last = shop.publish([*THIRD, (6, "Gus", "north")])
    ids = [str(one.event["id"]) for one in read(cluster, shop)]
    assert f"shop.people@{last.version}/reset" in ids
    assert {one for one in ids if f"@{last.version}/all/" in one} == {
        f"shop.people@{last.version}/all/{key}" for key in (1, 2, 4, 5, 6)
    }


def test_other_grants_begin_again(make_shop: Callable[..., Shop], cluster: Cluster) -> None:
    """What its readers may see has changed, so what they have is not what they should have."""
    shop = make_shop()
    shop.publish(FIRST)
    ports = tuple(
        replace(port, readers=replace(port.readers, masks={"name": "redact"})) if port.readers else port
        for port in shop.product.ports
    )
    shop.product = replace(shop.product, ports=ports)
    shop.project()
    events = read(cluster, shop)
    assert [one.event["data"]["reason"] for one in events if ".reset." in one.event["type"]] == [
        "its readers see something else than before"
    ]
    assert by_key(events)["1"] == ["shop.people@0/all/1"] * 2


class Nursery:
    """Starts processes that project the port; see :mod:`delivery_process`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        assert self._out.readline() == "ready\n"

    def work(self, kill_after: float | None = None) -> int:
        """Have the port projected, or a part of that; gives how it ended."""
        process = int(self._ask())
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(process, signal.SIGKILL)
        return int(self._ask())

    def _ask(self) -> str:
        self._in.write("\n")
        self._in.flush()
        return self._out.readline()


def test_the_sensor_sends_what_is_missing(tmp_path: Path, cluster: Cluster) -> None:
    """Not while the run that publishes may be at it; then by projecting the port alone, less and less often."""
    import dagster as dg

    from dp_dagster.definitions import deliveries as sensor_module
    from dp_dagster.definitions.automation import sensor_names
    from dp_dagster.definitions.build import build_definitions

    cluster.make("later")
    shop = Shop(
        tmp_path, kafka={"brokers": "127.0.0.1:1", "topic": "later", "seconds": 1}, readers={"anyone": True}
    )
    repository = build_definitions(shop.product).get_repository_def()
    sensor = repository.get_sensor_def("shop_delivery")
    assert "shop_delivery" in sensor_names(shop.product)
    with dg.DagsterInstance.ephemeral() as instance, pytest.MonkeyPatch.context() as patch:
        clock = [1000.0]
        patch.setattr(sensor_module.time, "time", lambda: clock[0])
        cursor = None

        def look(seconds: float) -> tuple[list[dg.RunRequest], str]:
            nonlocal cursor
            clock[0] += seconds
            context = dg.build_sensor_context(instance=instance, cursor=cursor)
            found = sensor.evaluate_tick(context)
            cursor = found.cursor
            return list(found.run_requests or []), str(found.skip_message)

        assert look(0)[0] == []
        shop.publish(FIRST)
        runs, told = look(0)
        assert not runs
        assert "version 0 is due" in told
        assert "the brokers do not answer" in told
        (request,) = look(31)[0]
        assert [key.path for key in request.asset_selection or ()] == [
            ["shop", "v1", "port", "people_events"]
        ]
        assert look(31)[0] == []
        assert len(look(31)[0]) == 1
        assert look(61)[0] == []
        object.__setattr__(shop.product.port("people_events").config, "kafka", _with(shop, cluster.brokers))
        result = repository.get_job("shop_refresh").execute_in_process(
            instance=instance, asset_selection=list(request.asset_selection or ())
        )
        (event,) = result.asset_materializations_for_node("shop__v1__port__people_events")
        assert event.metadata["delivery"].value == "kafka:later has version 0"
        assert look(1000) == ([], "people_events: kafka:later has version 0")


def _with(shop: Shop, brokers: str) -> Any:
    return shop.product.port("people_events").config.kafka.model_copy(update={"brokers": brokers})


@pytest.mark.slow
def test_positions_survive_kill_9(make_shop: Callable[..., Shop], cluster: Cluster) -> None:
    """Whenever it is killed, no event is lost, and those of a row stay in order; some come twice, with the same id."""
    shop = make_shop()
    program = [sys.executable, str(Path(__file__).with_name("delivery_process.py")), str(shop.root)]
    chance = random.Random(7)
    killed = 0
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        nursery = Nursery(process)
        for number in range(4):
            shop.publish(
                [
                    (key, f"{key} of {number}" if key % 3 == number % 3 else str(key), "north")
                    for key in range(150 + number)
                ],
                project=False,
            )
            for _ in range(5):
                killed += nursery.work(chance.uniform(0.02, 0.4)) == -signal.SIGKILL
        assert nursery.work() == 0
        process.stdin.close()  # type: ignore[union-attr]  # it was given
    assert killed
    assert (shop.root / "delivered").read_text() == f"kafka:{topic_of(shop)} has version 3"
    messages = read(cluster, shop)
    first_times: dict[str, list[str]] = {}
    for key, ids in by_key(messages).items():
        places = [_place(one) for one in ids]
        # Sent again, it is sent from somewhere before: never does an event come behind one that it precedes for good.
        firsts = list(dict.fromkeys(places))
        assert firsts == sorted(firsts), key
        first_times[key] = list(dict.fromkeys(ids))
    with shop.served() as client:
        begun = min(int(one.split("@")[1].split("/")[0]) for one in first_times["shop.people.published"])
        streamed = ask(client, shop.path, f"snapshot={begun}&until=newest")
    assert {one for ids in first_times.values() for one in ids} == {str(one.id) for one in streamed}


def _place(event_id: str) -> tuple[int, int]:
    version, _, rest = event_id.partition("@")[2].partition("/")
    return int(version), 0 if rest.startswith("all/") else 1
