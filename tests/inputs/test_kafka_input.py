"""Messages of a topic come in, each once: librdkafka's own brokers, over the wire."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from dp_dagster.errors import InputError, OperatorError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from input_helpers import Landed


@dataclass
class Broker:
    servers: str
    topic: str
    producer: Producer

    def send(self, *values: Any, key: str | None = None, partition: int = 0) -> None:
        for value in values:
            content = value if isinstance(value, bytes | None) else json.dumps(value).encode()
            self.producer.produce(self.topic, content, key=key, partition=partition)
        assert self.producer.flush(10) == 0


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    mock = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 2, "log_level": 0})
    brokers = mock.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    del mock


@pytest.fixture
def broker(cluster: str) -> Broker:
    producer = Producer({"bootstrap.servers": cluster, "log_level": 0})
    return Broker(cluster, f"orders-{uuid.uuid4().hex[:8]}", producer)


def declare(landed: Landed, broker: Broker, **options: Any) -> None:
    landed.declare(
        {"type": "KAFKA", "servers": broker.servers, "topic": broker.topic, "timeout": 5, **options}
    )


def failed(landed: Landed, error: type[Exception] = InputError) -> str:
    with pytest.raises(error) as raised:
        landed.land()
    return str(raised.value)


def test_each_message_once(broker: Broker, landed: Landed) -> None:
    for number in range(20):
        broker.send({"id": number, "price": 1.5, "tags": ["a"]}, key=f"k{number}", partition=number % 4)
    declare(landed, broker)
    landed.land()
    assert landed.rows("count(*), count(distinct id), sum(price)") == [(20, 20, 30.0)]
    assert landed.rows("kafka_partition, kafka_offset, kafka_key, tags", "id")[5] == (1, 1, "k5", '["a"]')
    assert landed.state == {"offsets": {"0": 5, "1": 5, "2": 5, "3": 5}}
    assert landed.land().unchanged
    broker.send({"id": 20, "price": 2}, {"id": 21, "price": None}, partition=2)
    assert landed.land().rows_read == 2
    assert landed.rows("count(*), count(distinct id)") == [(22, 22)]
    assert len(landed.newest.files) == 2
    assert landed.state["offsets"]["2"] == 7
    (at,) = landed.rows("max(kafka_timestamp)")[0]
    assert abs(at.timestamp() - time.time()) < 300


def test_the_newest_of_each_key(broker: Broker, landed: Landed) -> None:
    broker.send({"id": 1, "name": "a"}, {"id": 1, "name": "b"}, key='{"id": 1}')
    broker.send({"id": 2, "name": "c"}, key='{"id": 2}', partition=1)
    declare(landed, broker, mode="merge", key=["id"])
    landed.land()
    assert landed.rows("id, name") == [(1, "b"), (2, "c")]
    broker.send({"id": 1, "name": "d"}, key='{"id": 1}')
    broker.send(None, key='{"id": 2}', partition=1)
    landed.land()
    assert landed.rows("id, name") == [(1, "d")]
    assert landed.land().unchanged


def test_a_bad_message_stops_or_is_set_aside(broker: Broker, landed: Landed) -> None:
    broker.send({"id": 1})
    declare(landed, broker)
    landed.land()
    broker.send(b"not json", {"id": 2}, b"\xff", [1])
    assert "message 1 of partition 0 is no JSON object: 'not json'" in failed(landed)
    assert landed.state["offsets"]["0"] == 1
    declare(landed, broker, on_bad_message="quarantine")
    assert landed.land().quarantined_rows == 3
    assert landed.rows("id") == [(1,), (2,)]
    reasons = [reason for _, reason, _ in landed.set_aside()]
    assert reasons[1] == "message 3 of partition 0 has a value that is no UTF-8"
    assert landed.land().unchanged
    broker.send(b"no")
    assert landed.land().quarantined_rows == 1
    assert landed.state["offsets"]["0"] == 6
    assert len(landed.set_aside()) == 4


def test_messages_as_text(broker: Broker, landed: Landed) -> None:
    broker.send(b"one", b"two")
    declare(landed, broker, format="text", start="latest")
    assert landed.land().pinned.rows == 0
    broker.send(b"three")
    landed.land()
    assert landed.rows("value") == [("three",)]


def test_a_topic_that_was_made_again(broker: Broker, landed: Landed) -> None:
    broker.send({"id": 1}, {"id": 2})
    declare(landed, broker)
    landed.land()
    shorter = Broker(broker.servers, f"{broker.topic}-again", broker.producer)
    shorter.send({"id": 3})
    # As if the topic had been deleted and made again: the state is that of a longer one.
    from dp_dagster.ports.inputs.kafka.config import KafkaConfig
    from dp_dagster.ports.inputs.kafka.port import _begin
    from dp_dagster.ports.inputs.kafka.topic import Range

    said: list[str] = []
    context = type("Context", (), {"what": "small/input/source", "state": landed.state, "say": said.append})
    config = KafkaConfig(servers=broker.servers, topic=shorter.topic)
    with pytest.raises(InputError, match="partition 0 ends at 1 and was read to 2, so it is another one"):
        _begin(config, context, {0: Range(0, 1)})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="offsets 2 to 4 of partition 0 are gone"):
        _begin(config, context, {0: Range(5, 9)})  # type: ignore[arg-type]
    goes_on = config.model_copy(update={"on_lost_messages": "continue"})
    assert _begin(goes_on, context, {0: Range(5, 9), 1: Range(0, 2)}) == {0: 5, 1: 0}  # type: ignore[arg-type]
    assert said == ["small/input/source: offsets 2 to 4 of partition 0 are gone"]


def test_faults(broker: Broker, landed: Landed, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(landed, broker, retries=0)
    assert "there is no such topic" in failed(landed)
    broker.send({"id": 1})
    login = {"user": "${KAFKA_USER}", "password": "${KAFKA_PASSWORD}"}
    declare(landed, broker, retries=1, credentials=login, timeout=1, encrypted=False)
    assert "environment variable KAFKA_USER is not set" in failed(landed, SettingsError)
    monkeypatch.setenv("KAFKA_USER", "reader")
    monkeypatch.setenv("KAFKA_PASSWORD", "hunter2-and-more")
    assert "hunter2" not in failed(landed, OperatorError)
    landed.said.clear()
    declare(landed, Broker("127.0.0.1:1", broker.topic, broker.producer), retries=1, timeout=1)
    assert "127.0.0.1:1" in failed(landed, OperatorError)
    assert len(landed.said) == 1
    assert "hunter2" not in landed.everything()
