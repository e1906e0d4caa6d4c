"""Availability, latency and error rate of served ports: counts of the access log, and probes over HTTP."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import TYPE_CHECKING

import pytest

from benchmarks.database_work import counted_work
from dp_dagster.access.access_tables import BUCKETS, SUMS, TABLES, add_counts
from dp_dagster.access.rollups import Span, pieces, totals_of
from dp_dagster.errors import StoreError
from dp_dagster.ports.asking import ask_endpoint, ask_ready
from dp_dagster.sla.answers import AccessAnswers
from dp_dagster.sla.store import Readings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dp_dagster.sla.facts import Answered

NOW = datetime(2026, 3, 28, 12, 34, tzinfo=UTC)
KEY = ("shops", "api")
MONTH = timedelta(days=30)


def write(readings: Readings, *minutes: tuple[float, int, int], port: str = "api") -> None:
    """Counts of minutes: how long ago, answers, good ones; all of them in the fourth bucket."""
    database, _ = readings.opened()
    database.make(TABLES)
    with database.writing() as connection:
        add_counts(
            connection,
            {
                ("shops", port, minute_of(NOW - timedelta(minutes=ago))): counts(answers, good)
                for ago, answers, good in minutes
            },
        )


def counts(answers: int, good: int) -> list[int]:
    return [answers, good, *(answers if number == 3 else 0 for number in range(len(BUCKETS)))]


def minute_of(moment: datetime) -> int:
    return int(moment.timestamp() // 60)


def totals(readings: Readings, since: datetime, until: datetime = NOW) -> Answered:
    return AccessAnswers(readings).totals({since: [KEY]}, until)[since][KEY]


@pytest.fixture
def readings(tmp_path: Path) -> Readings:
    return Readings(f"sqlite:///{tmp_path}/records.db")


def test_a_month_is_added_up(readings):
    write(readings, (60 * 24 * 40, 5, 5), (60 * 24 * 20, 100, 99), (60 * 24 * 20 - 1, 10, 10), (1, 7, 6))
    write(readings, (5, 1000, 0), port="other")
    found = totals(readings, NOW - MONTH)
    assert (found.total, found.good, found.probes) == (117, 115, 0)
    assert found.since == NOW.replace(second=0) - timedelta(days=20)
    assert [count for _, count in found.buckets if count] == [117]
    assert found.buckets[3][0] == 0.010
    # What is written late counts, however late.
    write(readings, (90, 3, 3), (60 * 24 * 25, 1, 1))
    later = totals(readings, NOW - MONTH)
    assert (later.total, later.since) == (121, NOW - timedelta(days=25))


def test_times_of_several_ports_are_one_question(readings):
    write(readings, (70, 5, 5), (50, 4, 3), (1, 7, 6))
    write(readings, (60 * 24 * 2, 1000, 0), port="other")
    other, quiet = ("shops", "other"), ("shops", "quiet")
    hour, day, month = NOW - timedelta(hours=1), NOW - timedelta(days=1), NOW - MONTH
    answers = AccessAnswers(readings)
    answers.totals({hour: [KEY]}, NOW)
    with counted_work() as work:
        found = answers.totals({hour: [KEY, quiet], day: [KEY, other], month: [other]}, NOW)
    assert [one.partition(" ")[0] for one, _ in work.statements] == ["begin", "SELECT"]
    assert {since: {key: one.total for key, one in some.items()} for since, some in found.items()} == {
        hour: {KEY: 11},
        day: {KEY: 16},
        month: {other: 1000},
    }
    assert answers.totals({hour: []}, NOW) == {hour: {}}


def check_exact(readings: Readings) -> None:
    """Any span of minutes comes to what its minutes come to, whatever days and hours lie in it."""
    random = Random(7)
    ages = sorted({random.randrange(60 * 24 * 4) for _ in range(150)})
    write(readings, *((age, age % 7 + 1, age % 5) for age in ages))
    database, _ = readings.opened()
    now = minute_of(NOW)
    for _ in range(150):
        first, end = sorted((now - random.randrange(60 * 24 * 4), now - random.randrange(60 * 24 * 4)))
        inside = [age for age in ages if first <= now - age < end]
        with database.reading() as connection:
            (found,) = totals_of(connection, [Span([KEY], first, end)])
        if not inside:
            assert found == {}
            continue
        assert found[KEY].answers == sum(age % 7 + 1 for age in inside), (first, end)
        assert found[KEY].good == sum(age % 5 for age in inside)
        assert sum(found[KEY].buckets) == found[KEY].answers
        assert minute_of(found[KEY].first) == now - max(inside)


def test_a_span_is_exact_to_the_minute(readings):
    check_exact(readings)


@pytest.mark.needs("postgresql")
def test_a_span_is_exact_to_the_minute_on_postgresql(postgresql_url):
    check_exact(Readings(postgresql_url))


def test_a_span_is_read_in_as_few_pieces_as_there_are():
    day = 60 * 24
    assert pieces(0, 0) == []
    assert pieces(5, 5) == []
    assert pieces(5, 7) == [(1, 5, 7)]
    assert pieces(59, 121) == [(1, 59, 60), (1, 120, 121), (60, 60, 120)]
    assert pieces(60, 120) == [(60, 60, 120)]
    assert pieces(day - 61, 3 * day + 61) == [
        (1, day - 61, day - 60),
        (1, 3 * day + 60, 3 * day + 61),
        (60, day - 60, day),
        (60, 3 * day, 3 * day + 60),
        (day, day, 3 * day),
    ]


@pytest.mark.parametrize(
    "needs", ["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql"))]
)
def test_minutes_of_an_earlier_release_are_summed_up_when_the_sums_are_made(request, readings, needs):
    if needs == "postgresql":
        readings = Readings(request.getfixturevalue("postgresql_url"))
    write(readings, (60 * 24 * 20, 100, 99), (61, 10, 10), (60, 1, 0), (1, 7, 6))
    before = totals(readings, NOW - MONTH)
    database, _ = readings.opened()
    with database.writing() as connection:
        SUMS.drop(connection)
    assert totals(readings, NOW - MONTH) == before
    assert before.total == 118


# -- over HTTP --------------------------------------------------------------------------------------------------


class _Answering(BaseHTTPRequestHandler):
    status, body = 200, b"{}"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[type[_Answering], str]]:
    handler = type("Handler", (_Answering,), {})
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield handler, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


def test_dp_serve_says_what_its_ports_can(server):
    handler, base = server
    states = {"/a": "ready", "/b": "broken", "/c": "behind", "/d": "not published"}
    handler.body = json.dumps(
        {"ports": [{"path": path, "state": state} for path, state in states.items()]}
    ).encode()
    handler.status = 503
    ask_ready(f"{base}/", "/a")
    ask_ready(base, "/c")
    with pytest.raises(StoreError, match="/b is broken, says"):
        ask_ready(base, "/b")
    with pytest.raises(StoreError, match="/d is not published"):
        ask_ready(base, "/d")
    with pytest.raises(StoreError, match="serves nothing at /e; start dp serve again"):
        ask_ready(base, "/e")
    handler.body = b"<html>something else</html>"
    with pytest.raises(StoreError, match="does not answer like dp serve"):
        ask_ready(base, "/a")


def test_a_public_address_that_asks_who_is_there_is_alive(server):
    handler, base = server
    for handler.status in (200, 302, 401, 404, 429):
        ask_endpoint(f"{base}/v1/customers")
    handler.status = 502
    with pytest.raises(StoreError, match="answers 502"):
        ask_endpoint(base)


@pytest.mark.parametrize("address", ["http://ann:hunter2@127.0.0.1:9/x?token=hunter2", "file:///etc/passwd"])
def test_nobody_there(address):
    with pytest.raises(StoreError) as caught:
        ask_endpoint(address)
    assert "hunter2" not in str(caught.value)
