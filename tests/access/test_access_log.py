"""The access log: nothing waits for it, what it wrote is whole, and who changes it later is found."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy

from dp_dagster.access.access_tables import ACCESSES, BOUNDS, ROLLUPS, TABLES
from dp_dagster.access.log import Access, AccessLog
from dp_dagster.access.retention import prune
from dp_dagster.access.rollups import AccessRollups, Totals
from dp_dagster.access.verification import verify
from dp_dagster.errors import UsageError
from dp_dagster.records import Records

if TYPE_CHECKING:
    from collections.abc import Iterator

WRITER = Path(__file__).with_name("access_writer.py")
NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


def access(**changes: Any) -> Access:
    made = Access(
        NOW.timestamp(),
        "people",
        "rest",
        "people",
        3,
        "ada",
        "app",
        "oauth2",
        ("id", "name"),
        10,
        200,
        3.0,
        500,
    )
    return made._replace(**changes)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(f"sqlite:///{tmp_path}/records.db", lock_timeout=1)


@pytest.fixture
def log(records: Records) -> Iterator[AccessLog]:
    made = AccessLog(records)
    made.start()
    yield made
    made.close()


def written(records: Records) -> list[Any]:
    with records.database().reading() as connection:
        return list(connection.execute(ACCESSES.select().order_by(ACCESSES.c.batch, ACCESSES.c.number)))


def test_accesses_are_written_within_a_second_and_chained(log: AccessLog, records: Records) -> None:
    log.record(access())
    log.record(access(version=None, client=None, status=403, rows=0, columns=(), subject='\x00";\ud800é'))
    deadline = time.monotonic() + 10
    while not (found := records.query(kind="read")) and time.monotonic() < deadline:
        time.sleep(0.05)
    first, second = written(records)
    assert (first.at, first.product, first.version) == ("2026-03-01T12:00:30.000000+00:00", "people", 3)
    assert (first.columns, first.rows, first.status, first.milliseconds) == ('["id", "name"]', 10, 200, 3.0)
    assert (second.version, second.client, second.subject) == (None, None, '\ufffd";?é')
    (record,) = found
    assert (record.product, record.actor, record.payload["accesses"]) == ("people", "service:serve", 2)
    assert records.verify() == verify(records) == []


def test_what_waits_is_written_at_the_end(records: Records) -> None:
    log = AccessLog(records)
    log.start()
    for number in range(500):
        log.record(access(product=f"p{number % 3}"))
    log.close()
    assert len(written(records)) == 500
    assert verify(records) == []


def test_taking_an_access_costs_microseconds(records: Records) -> None:
    log = AccessLog(records)
    start = time.process_time()
    for _ in range(20_000):
        log.record(access())
    assert (time.process_time() - start) / 20_000 < 50e-6, (
        "an access is more than a sample; this is far above both"
    )
    log.close()
    assert len(written(records)) == 20_000


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("update dp_accesses set subject = 'bob' where number = 1", "were changed, removed or added"),
        ("delete from dp_accesses where number = 2", "(2 are there, 3 were written)"),
        ("update dp_accesses set milliseconds = milliseconds + 1", "were changed, removed or added"),
        ("delete from dp_accesses", "all 3 accesses of batch"),
        ("update dp_accesses set batch = 'other'", "are on no record"),
    ],
)
def test_tampering_is_found(records: Records, tmp_path: Path, statement: str, said: str) -> None:
    log = AccessLog(records)
    for _ in range(3):
        log.record(access())
    assert log.flush()
    with sqlite3.connect(tmp_path / "records.db") as connection:
        connection.execute(statement)
    connection.close()
    assert said in " ".join(verify(records))


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "update dp_accesses set subject = 'bob' where number in (3, 4)",
            "the first is number 3, now: bob (app, oauth2) at 2026-03-01 12:00:30 UTC, people.rest, version 3, 3 rows",
        ),
        ("update dp_accesses set rows = 9 where number = 0", "the first is number 0, now: ada (app, oauth2)"),
        ("delete from dp_accesses where number = 2", "the first is number 2, which is gone"),
        ("delete from dp_accesses where number = 5", "the first is number 5, which is gone"),
        (
            """insert into dp_accesses select batch, 6, at, product, port, dataset, version, 'eve', client, method,
            columns, rows, status, milliseconds, bytes from dp_accesses where number = 1""",
            "number 6 was added: eve",
        ),
    ],
    ids=["changed", "the first one", "removed", "the last one", "added"],
)
def test_the_first_access_that_does_not_hold_is_named(
    records: Records, tmp_path: Path, statement: str, said: str
) -> None:
    log = AccessLog(records)
    for number in range(6):
        log.record(access(rows=number))
    assert log.flush()
    assert verify(records) == []
    with sqlite3.connect(tmp_path / "records.db") as connection:
        connection.execute(statement)
    connection.close()
    (problem,) = verify(records)
    assert said in problem


def test_accesses_of_a_large_batch_share_marks(records: Records, tmp_path: Path) -> None:
    """So that the chain does not grow with the traffic; then the few are named among which it is."""
    log = AccessLog(records)
    for number in range(3000):
        log.record(access(rows=number))
    assert log.flush()
    assert verify(records) == []
    (record,) = records.query(kind="read")
    assert len(record.payload["marks"]) == 1000 * 4
    with sqlite3.connect(tmp_path / "records.db") as connection:
        connection.execute("update dp_accesses set rows = 1 where number = 1501")
    connection.close()
    (problem,) = verify(records)
    assert "the first is one of numbers 1500 to 1502, of which number 1500 is now: ada" in problem


def test_batches_of_older_releases_are_proven_as_ever(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no marks, and the same digest."""

    def sealed_before(rows: list[tuple[Any, ...]]) -> tuple[str, str]:
        text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest(), ""

    log = AccessLog(records)
    for number in range(2500):
        log.record(access(rows=number, subject='é"'))
    with monkeypatch.context() as patch:
        patch.setattr("dp_dagster.access.log.seal_of", sealed_before)
        assert log.flush()
    assert verify(records) == []
    with sqlite3.connect(tmp_path / "records.db") as connection:
        connection.execute("update dp_accesses set rows = 0 where number = 7")
    connection.close()
    (problem,) = verify(records)
    assert problem.endswith("(2500 are there, 2500 were written)")


def at_day(monkeypatch: pytest.MonkeyPatch, days: int) -> datetime:
    """The writer's clock, some days after a Sunday."""
    now = NOW + timedelta(days=days)
    monkeypatch.setattr("dp_dagster.access.log.time.time", now.timestamp)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # noqa: ARG003 - always UTC
            return now

    monkeypatch.setattr("dp_dagster.records.store.datetime", Clock)
    return now


def written_on_days(records: Records, monkeypatch: pytest.MonkeyPatch, *days: int) -> None:
    """Two batches of three accesses on each day."""
    for day in days:
        now = at_day(monkeypatch, day)
        log = AccessLog(records)
        for _ in range(2):
            for _ in range(3):
                log.record(access(at=now.timestamp()))
            assert log.flush()


def test_old_accesses_go_in_whole_batches_and_the_chain_says_so(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    written_on_days(records, monkeypatch, 0, 1, 9, 10)
    prune(records, timedelta(days=5), "service:serve", now=at_day(monkeypatch, 10))
    assert {row.at[:10] for row in written(records)} == {"2026-03-10", "2026-03-11"}
    assert len(written(records)) == 12
    (said,) = records.query(kind="cleaned")
    assert (said.payload["batches"], said.payload["accesses"]) == (4, 12)
    assert "altered" not in said.payload
    assert records.verify() == verify(records) == []
    with records.database().reading() as connection:
        usage = TABLES.tables["dp_access_usage"]
        assert [row.day for row in connection.execute(usage.select())] == ["2026-03-10", "2026-03-11"]
        minutes = connection.execute(sqlalchemy.select(sqlalchemy.func.sum(ROLLUPS.c.answers))).scalar_one()
    assert minutes == 24, "what they came to by minute stays"


def test_it_is_said_once_a_day_and_only_if_something_goes(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = timedelta(days=5)
    prune(records, keep, "service:serve", now=at_day(monkeypatch, 0))
    assert records.query(kind="cleaned") == []
    written_on_days(records, monkeypatch, 0, 1)
    now = at_day(monkeypatch, 8)
    for _ in range(3):
        prune(records, keep, "service:serve", now=now)
    prune(records, keep, "service:serve", now=now + timedelta(hours=20))
    assert len(records.query(kind="cleaned")) == 1
    written_on_days(records, monkeypatch, 9)
    prune(records, keep, "service:serve", now=at_day(monkeypatch, 30))
    assert [record.payload["accesses"] for record in records.query(kind="cleaned")] == [6, 12]
    assert written(records) == []
    assert records.verify() == verify(records) == []


def test_what_was_changed_before_it_went_is_told_for_good(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention washes nothing clean: neither what was changed, nor what had gone already, nor what comes later."""
    written_on_days(records, monkeypatch, 0, 1, 9)
    first, second, *_ = sorted({row.batch for row in written(records)})
    with sqlite3.connect(tmp_path / "records.db") as connection:
        connection.execute("update dp_accesses set subject = 'bob' where batch = ? and number = 1", (first,))
        connection.execute("delete from dp_accesses where batch = ?", (second,))
    connection.close()
    prune(records, timedelta(days=5), "service:serve", now=at_day(monkeypatch, 10))
    assert records.query(kind="cleaned")[0].payload["altered"] == [first, second]
    problems = verify(records)
    assert [name in problem for name, problem in zip((first, second), problems, strict=True)] == [True, True]
    with sqlite3.connect(tmp_path / "records.db") as connection:
        connection.execute("delete from dp_accesses where number = 2")
    connection.close()
    assert len(verify(records)) == 4, "of what is kept, as ever"


def test_what_a_killed_process_left_goes_with_the_next(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    written_on_days(records, monkeypatch, 0)
    now = at_day(monkeypatch, 10)
    prune(records, timedelta(days=5), "service:serve", now=now, ended=lambda: True)
    assert len(written(records)) == 6
    assert verify(records) == []
    prune(records, timedelta(days=5), "service:serve", now=now)
    assert written(records) == []
    assert len(records.query(kind="cleaned")) == 1


def test_a_log_removes_what_is_old_when_it_starts(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    written_on_days(records, monkeypatch, 0)
    monkeypatch.undo()
    log = AccessLog(records, keep=timedelta(days=1))
    log.start()
    deadline = time.monotonic() + 10
    while written(records) and time.monotonic() < deadline:
        time.sleep(0.02)
    log.close()
    assert written(records) == []


def test_what_is_not_kept_is_counted_on_the_chain(records: Records) -> None:
    log = AccessLog(records, capacity=10)
    for _ in range(25):
        log.record(access())
    log.close()
    (record,) = records.query(kind="read")
    assert (record.payload["accesses"], record.payload["not_kept"]) == (10, 15)


def test_a_database_that_is_away_holds_nobody_up(
    records: Records, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AccessLog(records)
    log.record(access())
    assert log.flush()
    blocker = sqlite3.connect(tmp_path / "records.db", isolation_level=None)
    blocker.execute("begin immediate")
    log.record(access())
    with caplog.at_level(logging.WARNING):
        assert not log.flush()
    assert "1 accesses wait to be written down" in caplog.text
    log.record(access())
    blocker.execute("commit")
    blocker.close()
    log.close()
    assert len(written(records)) == 3
    assert verify(records) == []


def test_minutes_are_counted(records: Records) -> None:
    log = AccessLog(records)
    for status, milliseconds in [
        (200, 0.5),
        (304, 1.0),
        (404, 1.1),
        (429, 99.0),
        (500, 20_000.0),
        (503, 3.0),
    ]:
        log.record(access(status=status, milliseconds=milliseconds))
    assert log.flush()
    log.record(access())
    log.record(access(at=(NOW + timedelta(minutes=1)).timestamp()))
    log.record(access(port="graphql"))
    assert log.flush()
    rollups = AccessRollups(records)
    minutes = rollups.between("people", "rest", NOW, NOW + timedelta(minutes=2))
    assert [one.minute for one in minutes] == [NOW.replace(second=0), NOW.replace(second=0, minute=1)]
    first = minutes[0].totals
    assert (first.answers, first.good) == (7, 5)
    assert first.buckets == (2, 1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1)
    assert rollups.between("people", "rest", NOW, NOW) == []
    since = {("people", "rest"): NOW, ("people", "graphql"): NOW, ("people", "other"): NOW}
    totals = rollups.totals(since, NOW + timedelta(days=1))
    assert {port: one.answers for (_, port), one in totals.items()} == {"rest": 8, "graphql": 1, "other": 0}
    late = rollups.totals({("people", "rest"): NOW + timedelta(minutes=1)}, NOW + timedelta(days=1))
    assert late["people", "rest"].answers == 1
    with pytest.raises(UsageError, match="no time zone"):
        rollups.between("people", "rest", NOW.replace(tzinfo=None), NOW)


def test_quantiles_are_never_too_good() -> None:
    empty = (0,) * (len(BOUNDS) + 1)
    assert Totals().quantile(0.95) is None
    totals = Totals(10, 10, (*(0, 9), *empty[2:-1], 1))
    assert (totals.quantile(0.5), totals.quantile(0.9), totals.quantile(0.91)) == (2.0, 2.0, float("inf"))


def test_rows_of_today_are_known(records: Records) -> None:
    first, second = AccessLog(records), AccessLog(records)
    now = time.time()
    first.record(access(at=now))
    assert first.rows_today("people", "rest", "oauth2:ada") == 10
    assert first.flush()
    assert first.rows_today("people", "rest", "oauth2:ada") == 10
    second.record(access(at=now, rows=5))
    assert second.flush()
    assert second.rows_today("people", "rest", "oauth2:ada") == 15, "with what another process gave"
    assert second.rows_today("people", "rest", "oauth2:bob") == 0


def check_killed_writers(records: Records, url: str) -> None:
    writers = [
        subprocess.Popen([sys.executable, WRITER, url, f"writer-{number}"], stdout=subprocess.PIPE, text=True)
        for number in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        deadline = time.monotonic() + 30
        while len(records.query(kind="read")) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait()
            assert writer.stdout is not None
            writer.stdout.close()
    assert records.verify() == verify(records) == []
    batches = records.query(kind="read")
    assert len(batches) >= 4
    count = sum(record.payload["accesses"] for record in batches)
    assert len(written(records)) == count
    with records.database().reading() as connection:
        answers = connection.execute(sqlalchemy.select(sqlalchemy.func.sum(ROLLUPS.c.answers))).scalar_one()
        usage = TABLES.tables["dp_access_usage"]
        rows = connection.execute(sqlalchemy.select(sqlalchemy.func.sum(usage.c.rows))).scalar_one()
    assert (int(answers), int(rows)) == (count, 2 * count), "the counts are those of the accesses"


@pytest.mark.slow
def test_killed_writers_leave_whole_batches(records: Records, tmp_path: Path) -> None:
    check_killed_writers(records, f"sqlite:///{tmp_path}/records.db")


@pytest.mark.slow
@pytest.mark.needs("postgresql")
def test_killed_writers_leave_whole_batches_in_postgresql(postgresql_url: str) -> None:
    check_killed_writers(Records(postgresql_url, lock_timeout=5), postgresql_url)
