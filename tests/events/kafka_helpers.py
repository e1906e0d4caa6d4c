"""A Kafka cluster of librdkafka's own, asked over TCP by clients as any other would be."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition


class Cluster:
    """Runs as long as the client that holds it."""

    def __init__(self) -> None:
        # No faults are injected, and nothing is asked of the client itself.
        self._holder = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0})
        (broker,) = self._holder.list_topics(timeout=10).brokers.values()
        self.brokers = f"{broker.host}:{broker.port}"

    def make(self, topic: str) -> None:
        """The mock makes a topic of four partitions when somebody asks for it."""
        self._holder.list_topics(topic, timeout=10)


@dataclass(frozen=True)
class Message:
    """A message, its CloudEvent in one form whichever it came in."""

    partition: int
    offset: int
    key: str
    event: dict[str, Any]
    headers: dict[str, str]


def read_topic(brokers: str, topic: str) -> list[Message]:
    """All that is there now, by partition and offset."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": uuid.uuid4().hex,
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number))[1] for number in partitions
        }
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        found: list[Message] = []
        deadline = time.monotonic() + 60
        while len(found) < sum(ends.values()):
            assert time.monotonic() < deadline
            got = consumer.poll(0.2)
            if got is not None and got.error() is None:
                found.append(_message(got))
        return sorted(found, key=lambda one: (one.partition, one.offset))
    finally:
        consumer.close()


def _message(got: Any) -> Message:
    headers = {name: value.decode() for name, value in got.headers()}
    value = json.loads(got.value())
    if headers["content-type"].startswith("application/cloudevents+json"):
        event = value
    else:
        event = {name.removeprefix("ce_"): said for name, said in headers.items() if name.startswith("ce_")}
        event = {**event, "datacontenttype": headers["content-type"], "data": value}
    return Message(got.partition(), got.offset(), got.key().decode(), event, headers)
