"""Availability, latency and error rate of served ports: counts of the access log, and probes over HTTP."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from dp_dagster.access.access_tables import BUCKETS, ROLLUPS, TABLES
from dp_dagster.errors import StoreError
from dp_dagster.ports.asking import ask_endpoint, ask_ready
from dp_dagster.sla.answers import AccessAnswers
from dp_dagster.sla.store import Readings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 3, 28, 12, 34, tzinfo=UTC)
KEY = ("shops", "api")
MONTH = timedelta(days=30)


def write(readings: Readings, *minutes: tuple[float, int, int], port: str = "api") -> None:
    """Counts of minutes: how long ago, answers, good ones; all of them in the fourth bucket."""
    database, _ = readings.opened()
    database.make(TABLES)
    rows = [
        {
            "product": "shops",
            "port": port,
            "minute": int((NOW - timedelta(minutes=ago)).timestamp() // 60),
            "answers": answers,
            "good": good,
            **dict.fromkeys(BUCKETS, 0),
            BUCKETS[3]: answers,
        }
        for ago, answers, good in minutes
    ]
    with database.writing() as connection:
        connection.execute(ROLLUPS.insert(), rows)


@pytest.fixture
def readings(tmp_path: Path) -> Readings:
    return Readings(f"sqlite:///{tmp_path}/records.db")


def test_a_month_is_added_up_and_hours_that_passed_are_not_read_again(readings):
    write(readings, (60 * 24 * 40, 5, 5), (60 * 24 * 20, 100, 99), (60 * 24 * 20 - 1, 10, 10), (1, 7, 6))
    write(readings, (5, 1000, 0), port="other")
    answers = AccessAnswers(readings)
    found = answers.totals([KEY], NOW - MONTH, NOW)[KEY]
    assert (found.total, found.good, found.probes) == (117, 115, 0)
    assert found.since == NOW.replace(second=0) - timedelta(days=20)
    assert [count for _, count in found.buckets if count] == [117]
    assert found.buckets[3][0] == 0.010
    assert answers.totals([KEY], NOW - MONTH, NOW)[KEY] == found
    # What is written late counts as long as its hour is open, and a later round has all of it.
    write(readings, (90, 3, 3))
    later = answers.totals([KEY], NOW + timedelta(minutes=1) - MONTH, NOW + timedelta(minutes=1))[KEY]
    assert later.total == 120
    hours_later = NOW + timedelta(hours=5)
    assert answers.totals([KEY], hours_later - MONTH, hours_later)[KEY].total == 120
    assert AccessAnswers(readings).totals([KEY], hours_later - MONTH, hours_later)[KEY].total == 120


def test_a_short_time_is_counted_to_the_minute(readings):
    write(readings, (70, 5, 5), (50, 4, 3), (1, 7, 6))
    answers = AccessAnswers(readings)
    found = answers.totals([KEY, ("shops", "quiet")], NOW - timedelta(hours=1), NOW)
    assert (found[KEY].total, found[KEY].good) == (11, 9)
    assert ("shops", "quiet") not in found


def test_windows_of_different_lengths_and_a_clock_that_is_set_back(readings):
    write(readings, (60 * 24 * 20, 100, 99), (60 * 24 * 2, 10, 10), (1, 7, 6))
    answers = AccessAnswers(readings)
    for _ in range(2):
        assert answers.totals([KEY], NOW - MONTH, NOW)[KEY].total == 117
        assert answers.totals([KEY], NOW - timedelta(days=7), NOW)[KEY].total == 17
        back = NOW - timedelta(days=3)
        assert answers.totals([KEY], back - MONTH, back)[KEY].total == 100


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
