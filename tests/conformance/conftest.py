"""Servers that samples of kinds are read from."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from api_server import ApiShop, serve

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def api_running() -> Iterator[ApiShop]:
    """An API on loopback."""
    shop, server = serve()
    yield shop
    server.shutdown()
    server.server_close()


@pytest.fixture
def api_shop(api_running: ApiShop) -> ApiShop:
    """The API with two records."""
    api_running.records = [{"id": number, "changed": f"2026-01-0{number}"} for number in (1, 2)]
    api_running.faults, api_running.asked, api_running.token, api_running.gone = [], [], "", False
    return api_running


@pytest.fixture(scope="session")
def kafka_brokers() -> Iterator[str]:
    """Addresses of librdkafka's own brokers."""
    from confluent_kafka import Producer

    cluster = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    yield ",".join(f"{one.host}:{one.port}" for one in cluster.list_topics(timeout=10).brokers.values())
    del cluster


@pytest.fixture
def kafka_topic(kafka_brokers: str) -> tuple[str, str]:
    """Brokers, and a topic with two messages."""
    from confluent_kafka import Producer

    topic = f"orders-{uuid.uuid4().hex[:8]}"
    producer = Producer({"bootstrap.servers": kafka_brokers, "log_level": 0})
    for number in (1, 2):
        producer.produce(topic, f'{{"id": {number}}}', partition=0)
    assert producer.flush(10) == 0
    return kafka_brokers, topic
