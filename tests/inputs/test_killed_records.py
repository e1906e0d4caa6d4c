"""Kill -9 neither loses nor doubles what comes from an API, a topic or an object store: real processes and servers."""

from __future__ import annotations

import json
import signal
import uuid
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from api_server import serve
from confluent_kafka import Producer
from input_helpers import Landed
from landing_process import BEFORE_THE_COMMIT
from test_killed_landings import start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support import TestProject

pytestmark = pytest.mark.slow


class Source(Protocol):
    """What has rows with the column ``id``, and more of them when it is told."""

    options: dict[str, Any]
    #: Where a process dies while it reads.
    reading: str

    def add(self, first: int) -> None:
        """Five more rows, numbered from there on."""


class OfAnApi:
    reading = "reading records"

    def __init__(self) -> None:
        self.shop, self.server = serve()
        self.options = {
            "type": "HTTP",
            "url": f"{self.shop.url}/link",
            "paging": {"by": "link_header"},
            "cursor": "changed",
            "cursor_param": "since",
        }

    def add(self, first: int) -> None:
        # The last row shares its cursor's value with the first one of the next five.
        self.shop.records += [
            {"id": first + n, "changed": f"2026-01-{(first + n) // 5 * 5 + n // 4 * 5 + 1:02}"}
            for n in range(5)
        ]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class OfATopic:
    reading = "reading records"

    def __init__(self) -> None:
        self.broker = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
        brokers = self.broker.list_topics(timeout=30).brokers.values()
        servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        self.topic = f"orders-{uuid.uuid4().hex[:8]}"
        self.options = {"type": "KAFKA", "servers": servers, "topic": self.topic}

    def add(self, first: int) -> None:
        for n in range(5):
            self.broker.produce(self.topic, json.dumps({"id": first + n}).encode(), partition=n % 2)
        assert self.broker.flush(30) == 0


class OfAStore:
    reading = "fetching"

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.options = {"type": "FILES", "path": f"s3://{bucket}/in/*.csv", "mode": "append"}

    def add(self, first: int) -> None:
        from dp_dagster.storage.bucket_client import client

        for part in (range(first, first + 2), range(first + 2, first + 5)):
            text = "id\n" + "".join(f"{number}\n" for number in part)
            client().put_object(Bucket=self.bucket, Key=f"in/{part[0]}.csv", Body=text.encode())


@pytest.fixture(params=["HTTP", "KAFKA", "FILES"])
def source(request: pytest.FixtureRequest) -> Iterator[Source]:
    if request.param == "HTTP":
        api = OfAnApi()
        yield api
        api.close()
    elif request.param == "KAFKA":
        yield OfATopic()
    else:
        yield OfAStore(request.getfixturevalue("bucket"))


def test_killed_at_a_stage(source: Source, make_project: Callable[[], TestProject]) -> None:
    stages = [source.reading, "committed"]
    killed = {stage: Landed(make_project().root) for stage in stages}
    source.add(0)
    for landed in killed.values():
        landed.declare(source.options)
        landed.land()
    source.add(5)
    doomed = {stage: start(landed, "die", stage) for stage, landed in killed.items()}
    for stage, process in doomed.items():
        _, errors = process.communicate(timeout=240)
        assert process.returncode == -signal.SIGKILL, f"{stage}: {errors}"
    for stage, landed in killed.items():
        assert ids(landed) == list(range(5 if stage in BEFORE_THE_COMMIT else 10)), stage
    source.add(10)
    for stage, landed in killed.items():
        assert not landed.land().unchanged
        assert ids(landed) == list(range(15)), stage
        assert landed.land().unchanged


def ids(landed: Landed) -> list[int]:
    return [number for (number,) in landed.rows("id", "id")]
