from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_dagster.errors import LockedError, SettingsError, StoreError, UsageError
from dp_dagster.records import KINDS, Record, Records

if TYPE_CHECKING:
    from collections.abc import Callable

WRITER = Path(__file__).with_name("record_writer.py")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store' / 'records.db'}"


@pytest.fixture
def records(url: str) -> Records:
    return Records(url, lock_timeout=5)


def add(records: Records, number: int = 0, kind: Any = "published", product: str = "flights") -> Record:
    return records.append(kind, product, "v1/dataset/flights", "tester", f"run-{number}", {"version": number})


def tamper(url: str, *statements: str) -> None:
    """Change the database behind the chain's back, its guards removed."""
    with sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool).begin() as connection:
        for action in ("update", "delete"):
            of_table = " on dp_records" if connection.dialect.name == "postgresql" else ""
            connection.exec_driver_sql(f"drop trigger dp_records_no_{action}{of_table}")
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_records_are_read_as_they_were_written(records: Records, url: str) -> None:
    assert records.query() == []
    assert records.verify() == []
    written = [add(records, number) for number in range(3)]
    assert [record.id for record in written] == [1, 2, 3]
    assert [record.previous_hash for record in written[1:]] == [record.hash for record in written[:-1]]
    assert records.query() == written[::-1]
    assert Records(url).query() == written[::-1]
    assert records.verify() == []


def test_questions(records: Records) -> None:
    first = add(records, 1, "audited")
    second = add(records, 2, "held", product="shops")
    third = add(records, 3, "published")
    assert records.query(product="flights") == [third, first]
    assert records.query(kind="held") == [second]
    assert records.query(subject="v1/dataset/flights", product="shops") == [second]
    assert records.query(subject="nothing") == []
    assert records.query(limit=1) == [third]
    assert records.query(limit=0) == []
    assert records.query(since=datetime.fromisoformat(second.at)) == [third, second]
    assert records.query(since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert records.query(product="x' or '1'='1") == []
    with pytest.raises(UsageError, match="no time zone"):
        records.query(since=datetime(2026, 1, 1))  # noqa: DTZ001 that is the mistake
    with pytest.raises(UsageError, match="give 0 or more"):
        records.query(limit=-1)


def test_only_known_kinds_and_json_are_recorded(records: Records) -> None:
    for kind in KINDS:
        add(records, kind=kind)
    with pytest.raises(UsageError, match="'sold' are unknown; use one of audited, published"):
        add(records, kind="sold")
    for payload in ({"at": datetime.now(UTC)}, {"x": float("nan")}, {"x": {1, 2}}):
        with pytest.raises(UsageError, match="must be JSON"):
            records.append("published", "flights", "s", "a", "r", payload)
    assert len(records.query()) == len(KINDS)
    assert records.verify() == []


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=10)
payloads = st.dictionaries(
    texts,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KINDS), texts, payloads), min_size=1, max_size=4))
def test_whatever_is_recorded_is_kept_and_proves_true(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[Any, str, dict[str, Any]]]
) -> None:
    records = Records(f"sqlite:///{tmp_path_factory.mktemp('records')}/records.db")
    for kind, subject, payload in entries:
        records.append(kind, "flights", subject, "a", "r", payload)
    found = records.query()[::-1]
    assert [(record.kind, record.subject, record.payload) for record in found] == entries
    assert records.verify() == []


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("update dp_records set payload = '{\"version\":9}' where id = 2", "record 2 was changed"),
        ("update dp_records set payload = '{\"version\": 2}' where id = 2", "record 2 was changed"),
        ("update dp_records set payload = 'nonsense' where id = 2", "record 2 was changed"),
        ("update dp_records set actor = 'somebody' where id = 3", "record 3 was changed"),
        ("update dp_records set at = '2020-01-01' where id = 1", "record 1 was changed"),
        ("delete from dp_records where id = 2", "records 2 to 2 are missing"),
        ("delete from dp_records where id = 1", "records 1 to 1 are missing"),
        ("delete from dp_records where id = 4", "the chain ends at record 3, but 4 records were written"),
        ("delete from dp_records", "the chain ends at record 0, but 4 records were written"),
        ("update dp_records set hash = 'x' where id = 2", "record 3 does not follow"),
    ],
)
def test_what_was_changed_behind_our_back_shows(
    records: Records, url: str, statement: str, problem: str
) -> None:
    for number in range(1, 5):
        add(records, number)
    tamper(url, statement)
    problems = records.verify()
    assert any(problem in found for found in problems), problems


def test_records_cannot_be_changed_by_accident(records: Records, tmp_path: Path) -> None:
    add(records)
    connection = sqlite3.connect(tmp_path / "store" / "records.db")
    try:
        for statement in ("update dp_records set actor = 'x'", "delete from dp_records"):
            with pytest.raises(sqlite3.IntegrityError, match="only ever appended"):
                connection.execute(statement)
    finally:
        connection.close()
    assert records.verify() == []


def test_writers_that_share_an_object_keep_one_chain(records: Records) -> None:
    threads = [
        threading.Thread(target=lambda: [add(records, number) for number in range(10)]) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(records.query()) == 50
    assert records.verify() == []


def test_a_writer_that_never_ends_is_an_error_that_says_so(
    records: Records, tmp_path: Path, url: str
) -> None:
    add(records)
    connection = sqlite3.connect(tmp_path / "store" / "records.db", isolation_level=None)
    try:
        connection.execute("begin immediate")
        with pytest.raises(LockedError, match=r"for more than 0.1 s; try again later"):
            add(Records(url, lock_timeout=0.1))
        assert len(records.query()) == 1  # readers do not wait
        assert records.verify() == []
    finally:
        connection.close()
    add(records)


@pytest.mark.parametrize(
    "wrong", ["mysql://user:secret@host/db", "records.db", "oracle://user:secret@host/db", ""]
)
def test_other_databases_are_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="sqlite:///") as refused:
        Records(wrong).query()
    assert "secret" not in str(refused.value)


def test_a_database_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="cannot be made"):
        Records(f"sqlite:///{tmp_path / 'file' / 'records.db'}").query()
    (tmp_path / "broken.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="file is not a database"):
        Records(f"sqlite:///{tmp_path / 'broken.db'}").query()
    with pytest.raises(StoreError) as failed:
        Records("postgresql://user:secret@127.0.0.1:1/none").query()
    assert "secret" not in str(failed.value)


def test_the_module_is_light() -> None:
    script = "import sys, dp_dagster.records; print('sqlalchemy' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert output == "False\n"


# -- real processes ----------------------------------------------------------------------------------------


def start(url: str, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WRITER), url, name, str(count)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_concurrent_writers(url: str) -> None:
    writers = [start(url, f"writer{number}", 20) for number in range(4)]
    acknowledged: list[str] = []
    for writer in writers:
        output, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
        acknowledged += output.splitlines()
    records = Records(url)
    assert records.verify() == []
    assert sorted(record.hash for record in records.query()) == sorted(acknowledged)
    assert len(acknowledged) == 80


def check_killed_writers(url: str, rounds: int) -> None:
    acknowledged: list[str] = []
    records = Records(url, lock_timeout=5)
    for turn in range(rounds):
        with start(url, f"victim{turn}", 1_000_000) as victim:
            assert victim.stdout is not None
            acknowledged += [victim.stdout.readline().strip() for _ in range(1 + turn % 7)]
            victim.kill()
            acknowledged += [line.strip() for line in victim.stdout if line.endswith("\n")]
        acknowledged.append(add(records, turn).hash)  # nobody is blocked
        assert records.verify() == []
    kept = {record.hash for record in records.query()}
    assert set(acknowledged) <= kept
    # At most one record a kill was written and not yet acknowledged.
    assert len(kept) <= len(acknowledged) + rounds


@pytest.mark.slow
def test_concurrent_processes_keep_one_chain(url: str) -> None:
    check_concurrent_writers(url)


@pytest.mark.slow
def test_what_was_acknowledged_survives_kill_9(url: str) -> None:
    check_killed_writers(url, rounds=20)


@pytest.mark.slow
@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    "check",
    [check_concurrent_writers, lambda url: check_killed_writers(url, rounds=8)],
    ids=["concurrent", "killed"],
)
def test_postgresql_keeps_the_same_promises(postgresql_url: str, check: Callable[[str], None]) -> None:
    check(postgresql_url)


@pytest.mark.slow
@pytest.mark.needs("postgresql")
def test_postgresql_answers_alike(postgresql_url: str) -> None:
    records = Records(postgresql_url)
    written = [add(records, number) for number in range(1, 4)]
    assert records.query() == written[::-1]
    assert records.query(kind="held") == []
    assert records.query(since=datetime.fromisoformat(written[1].at), limit=1) == [written[2]]
    assert records.verify() == []
    engine = sqlalchemy.create_engine(postgresql_url, poolclass=sqlalchemy.NullPool)
    for statement in ("update dp_records set actor = 'x'", "delete from dp_records"):
        with (
            engine.begin() as connection,
            pytest.raises(sqlalchemy.exc.DBAPIError, match="only ever appended"),
        ):
            connection.execute(sqlalchemy.text(statement))
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("select pg_advisory_xact_lock(:key)"),
            {"key": int.from_bytes(b"dp_dagst", "big")},
        )
        with pytest.raises(LockedError, match=r"for more than 0.2 s"):
            add(Records(postgresql_url, lock_timeout=0.2))
        assert len(records.query()) == 3
    tamper(postgresql_url, "update dp_records set actor = 'x' where id = 2")
    assert records.verify() == ["record 2 was changed after it was written"]
