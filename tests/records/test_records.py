from __future__ import annotations

import contextlib
import json
import multiprocessing
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st
from record_writer import write

from dp_dagster.errors import LockedError, SettingsError, StoreError, UsageError
from dp_dagster.records import KINDS, Anchor, Record, Records, append_within
from dp_dagster.records.model import hash_of
from dp_dagster.records.verification import read_anchors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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


def test_pages(records: Records) -> None:
    written = [add(records, number, product="flights" if number % 2 else "shops") for number in range(9)]
    flights = [record for record in written if record.product == "flights"]
    assert records.query(product="flights", limit=2) == flights[:1:-1]
    assert records.query(product="flights", limit=2, before=flights[2].id) == flights[1::-1]
    assert records.query(oldest_first=True, limit=2) == written[:2]
    assert records.query(oldest_first=True, limit=2, after=written[1].id) == written[2:4]
    assert records.query(until=datetime.fromisoformat(written[3].at)) == written[2::-1]
    assert records.query(actor="tester", limit=1) == written[:7:-1]
    assert records.query(actor="nobody") == []


def test_the_log_is_read_in_pages_of_constant_size(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    written = [add(records, number) for number in range(7)]
    monkeypatch.setattr("dp_dagster.records.store._PAGE", 3)
    assert list(records.stream()) == written[::-1]
    assert list(records.stream(oldest_first=True)) == written
    assert list(records.stream(oldest_first=True, limit=4)) == written[:4]
    assert list(records.stream(limit=3, product="flights")) == written[:3:-1]
    assert list(records.stream(product="shops")) == []
    found = records.stream(oldest_first=True)
    first = [next(found) for _ in range(4)]
    later = add(records, 8)  # no transaction is open between pages
    assert [*first, *found] == [*written, later]


def plan(url: str, where: str) -> str:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("set enable_seqscan = off")
        explain = "explain query plan" if connection.dialect.name == "sqlite" else "explain"
        rows = connection.exec_driver_sql(
            f"{explain} select * from dp_records {where} order by id desc limit 50"
        )
        return " ".join(str(row) for row in rows)


@pytest.mark.parametrize("column", ["product", "actor", "kind"])
def test_questions_read_an_index_in_its_order(records: Records, url: str, column: str) -> None:
    add(records)
    said = plan(url, f"where {column} = 'x'")
    assert f"USING INDEX dp_records_by_{column}" in said
    assert "TEMP B-TREE" not in said


def test_a_database_of_an_earlier_release_gets_the_indexes(records: Records, url: str) -> None:
    add(records)
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("drop index dp_records_by_actor")
    assert len(Records(url).query()) == 1
    assert "dp_records_by_actor" in plan(url, "where actor = 'x'")


def test_what_says_the_same_again_is_not_recorded(records: Records) -> None:
    def say(findings: list[int], subject: str = "policies") -> Record | None:
        return records.append_if_changed("checked", "flights", subject, "tester", "r", {"findings": findings})

    assert say([1]) is not None
    assert say([1]) is None
    assert say([1], "others") is not None
    assert say([2]) is not None
    assert say([1]) is not None
    assert say([1]) is None
    assert len(records.query()) == 4
    assert records.verify() == []


def test_a_record_stands_or_falls_with_what_it_is_written_with(records: Records) -> None:
    first = add(records)
    database = records.database()
    with contextlib.suppress(ZeroDivisionError), database.writing() as connection:
        append_within(database, connection, "alert_opened", "flights", "lag", "tester", "", {})
        raise ZeroDivisionError
    assert records.query() == [first]
    with database.writing() as connection:
        second = append_within(database, connection, "alert_opened", "flights", "lag", "tester", "", {})
    assert records.query() == [second, first]
    assert records.verify() == []


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
        ("delete from dp_records where id = 2", "record 2 is missing"),
        ("delete from dp_records where id = 1", "record 1 is missing"),
        ("delete from dp_records where id = 4", "the chain ends at record 3, but 4 records were written"),
        ("delete from dp_records", "the chain ends at record 0, but 4 records were written"),
        ("update dp_records set hash = 'x' where id = 2", "record 2 was changed"),
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


MOVE = "update dp_records set id = {} where id = {}"
SWAP = [MOVE.format(-1, 2), MOVE.format(2, 4), MOVE.format(4, -1)]
MOVED_AWAY = [MOVE.format(4, 3)]
INSERTED = (
    "insert into dp_records select {}, at, kind, product, subject, actor, run_id, payload, '{}', hash "
    "from dp_records where id = {}"
)


@pytest.mark.parametrize(
    ("statements", "problems"),
    [
        (
            ["update dp_records set actor = 'x' where id between 2 and 4"],
            ["records 2 to 4 were changed after"],
        ),
        (["delete from dp_records where id in (2, 3)"], ["records 2 to 3 are missing"]),
        (SWAP, ["record 4 was moved: it stands at place 2", "record 2 was moved: it stands at place 4"]),
        (
            ["delete from dp_records where id = 2", *(MOVE.format(one - 1, one) for one in (3, 4, 5, 6))],
            [
                "records 3 to 6 stand at places 2 to 5: 1 before them removed",
                "the chain ends at record 5, but 6 records were written",
            ],
        ),
        (
            [*(MOVE.format(one + 1, one) for one in (6, 5, 4)), INSERTED.format(4, "x" * 64, 2)],
            [
                "record 4 was changed after it was written",
                "records 4 to 6 stand at places 5 to 7: 1 before them slipped in",
                "the chain ends at record 7, but 6 records were written",
            ],
        ),
        ([INSERTED.format(0, "x" * 64, 2)], ["record 0 was slipped in before record 1"]),
        (
            [INSERTED.format(7, "x" * 64, 2)],
            ["record 7 was changed after", "the chain ends at record 7, but 6 records were written"],
        ),
        (["delete from dp_records where id > 4"], ["the chain ends at record 4, but 6 records were written"]),
        (["delete from dp_records_head"], ["the chain has 0 heads instead of one"]),
        (
            ["update dp_records_head set hash = 'x'"],
            ["the chain does not end with the hash that record 6 was"],
        ),
    ],
)
def test_each_record_that_was_tampered_with_is_named(
    records: Records, url: str, statements: list[str], problems: list[str]
) -> None:
    for number in range(1, 7):
        add(records, number)
    tamper(url, *statements)
    found = records.verify()
    assert len(found) == len(problems), found
    for message, start in zip(found, problems, strict=True):
        assert message.startswith(start), found


def test_a_record_in_another_ones_place_is_named(records: Records, url: str) -> None:
    """Somebody who knows how hashes are made changes one record, and its hash."""
    for number in range(1, 4):
        add(records, number)
    forged = records.query()[1]
    digest = hash_of(2, forged.at, "held", "flights", forged.subject, "x", "r", "{}", forged.previous_hash)
    tamper(
        url,
        f"update dp_records set kind = 'held', actor = 'x', run_id = 'r', payload = '{{}}', hash = '{digest}' "
        "where id = 2",
    )
    assert records.verify() == [
        "record 3 does not follow the one before it: record 2 was exchanged, or record 3 slipped in"
    ]


def rewrite(url: str, first: int, count: int) -> None:
    """Make the chain anew from some record on, hashes, head and all, as who can write the database may."""
    records = Records(url).query(oldest_first=True)[:count]
    statements = [f"delete from dp_records where id > {count}"]
    previous = records[first - 2].hash
    for record in records[first - 1 :]:
        digest = hash_of(
            record.id, record.at, record.kind, record.product, record.subject, "nobody", record.run_id,
            json.dumps(record.payload, separators=(",", ":")), previous,
        )  # fmt: skip
        statements.append(
            f"update dp_records set actor = 'nobody', previous_hash = '{digest[:3]}{record.id}' where id = {record.id}"
        )
        statements.append(
            f"update dp_records set previous_hash = '{previous}', hash = '{digest}' where id = {record.id}"
        )
        previous = digest
    tamper(url, *statements, f"update dp_records_head set count = {count}, hash = '{previous}'")


def test_an_anchor_shows_what_the_chain_alone_cannot(records: Records, url: str, tmp_path: Path) -> None:
    empty = records.anchor()
    for number in range(1, 4):
        add(records, number)
    early = records.anchor()
    for number in range(4, 7):
        add(records, number)
    late = records.anchor()
    file = tmp_path / "anchors.jsonl"
    file.write_text("".join(f"{one.to_json()}\n" for one in (empty, early, late)))
    assert read_anchors(file) == (empty, early, late)
    add(records, 7)
    verified = records.verification(read_anchors(file))
    assert (verified.is_whole, verified.count, verified.anchors) == (True, 7, 3)
    rewrite(url, 5, 7)
    assert records.verify() == []
    [problem] = records.verification([empty, early, late]).problems
    assert str(problem) == (
        f"the anchor of {late.at} does not hold: record 6, or one before it, was rewritten since"
    )


def test_an_anchor_shows_records_that_are_gone_from_the_end(records: Records, url: str) -> None:
    for number in range(1, 6):
        add(records, number)
    anchor = records.anchor()
    rewrite(url, 3, 3)
    assert records.verify() == []
    [problem] = records.verification([anchor]).problems
    assert str(problem) == f"record 5, with which the anchor of {anchor.at} ends, is gone"


def test_no_anchor_is_made_of_a_broken_end(records: Records, url: str) -> None:
    for number in range(1, 4):
        add(records, number)
    tamper(url, "delete from dp_records where id = 3")
    with pytest.raises(StoreError, match="so it is no anchor; see dp audit verify"):
        records.anchor()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no anchor; make one with dp audit anchor"),
        ("nonsense", "anchors:1 is no anchor"),
        ('{"count": 1}', "anchors:1 is no anchor"),
        ('{"count": "1", "hash": "x", "at": "now"}', "wants a count and a hash of 64 digits"),
    ],
)
def test_what_is_no_anchor_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "anchors").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_anchors(tmp_path / "anchors")
    with pytest.raises(UsageError, match="cannot be read"):
        read_anchors(tmp_path / "nothing")


def test_a_rewritten_chain_is_told_in_few_sentences(records: Records, url: str) -> None:
    for number in range(1, 151):
        add(records, number)
    tamper(url, "update dp_records set actor = 'x' where id > 1", "delete from dp_records where id % 20 = 0")
    verified = records.verification()
    assert "records 2 to 19 were changed after they were written" in records.verify()
    assert "records 141 to 150 were changed after they were written" in records.verify()
    assert (len(verified.problems), verified.further) == (8 + 7, 0)


def test_problems_beyond_the_first_thousand_are_counted(
    records: Records, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 41):
        add(records, number)
    tamper(url, "delete from dp_records where id % 2 = 1")
    monkeypatch.setattr("dp_dagster.records.verification.MAX_PROBLEMS", 12)
    verified = records.verification()
    assert (len(verified.problems), verified.further) == (12, 8)
    assert not verified.is_whole


@given(st.lists(texts, min_size=6, max_size=6), payloads, st.integers(1, 2**31))
def test_the_hash_is_that_of_the_canonical_json(
    fields: list[str], payload: dict[str, Any], number: int
) -> None:
    at, product, subject, actor, run_id, previous = fields
    record = Record(number, at, "published", product, subject, actor, run_id, payload, previous, "")
    content = {name: value for name, value in asdict(record).items() if name != "hash"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    facts = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hash_of(number, at, "published", product, subject, actor, run_id, facts, previous)
    assert digest == sha256(text.encode()).hexdigest()


def test_anchors_are_lines(records: Records) -> None:
    add(records)
    anchor = records.anchor()
    assert Anchor(**json.loads(anchor.to_json())) == anchor
    assert "\n" not in anchor.to_json()


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

# Children of a server that has imported everything: a writer starts in milliseconds, and is a process to kill.
FACTORY = multiprocessing.get_context("forkserver")
FACTORY.set_forkserver_preload(["record_writer", "dp_dagster.records_database", "psycopg"])


@dataclass
class Writer:
    """A process that appends records, and the hashes that it was told are kept."""

    url: str
    name: str
    count: int = 1_000_000
    acknowledged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pipe, told = FACTORY.Pipe(duplex=False)
        self.process = FACTORY.Process(target=write, args=(self.url, self.name, self.count, told))
        self.process.start()
        told.close()

    def listen(self, count: int | None = None) -> None:
        """Take what is acknowledged: ``count`` records, or all until the process is gone."""
        with contextlib.suppress(EOFError, ConnectionResetError):
            while count is None or count > 0:
                self.acknowledged.append(self.pipe.recv_bytes().decode())
                count = None if count is None else count - 1

    def end(self) -> int | None:
        self.listen()
        self.process.join(60)
        self.pipe.close()
        return self.process.exitcode


def check_concurrent_writers(url: str) -> None:
    writers = [Writer(url, f"writer{number}", 20) for number in range(4)]
    assert [writer.end() for writer in writers] == [0] * 4
    acknowledged = [digest for writer in writers for digest in writer.acknowledged]
    records = Records(url)
    assert records.verify() == []
    assert sorted(record.hash for record in records.query()) == sorted(acknowledged)
    assert len(acknowledged) == 80


def check_killed_writers(url: str, rounds: int) -> None:
    """Three writers at once, killed one after another at different moments, round after round."""
    acknowledged: list[str] = []
    records = Records(url, lock_timeout=5)
    for turn in range(rounds):
        writers = [Writer(url, f"victim{turn}.{number}") for number in range(3)]
        for number, writer in enumerate(writers):
            writer.listen(1 + (turn + number) % 5)
            writer.process.kill()
        assert [writer.end() for writer in writers] == [-signal.SIGKILL] * 3
        acknowledged += [digest for writer in writers for digest in writer.acknowledged]
        acknowledged.append(add(records, turn).hash)  # nobody is blocked
        assert records.verify() == []
    kept = {record.hash for record in records.query()}
    assert set(acknowledged) <= kept
    # At most one record a kill was written and not yet acknowledged.
    assert len(kept) <= len(acknowledged) + 3 * rounds


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
    [check_concurrent_writers, lambda url: check_killed_writers(url, rounds=20)],
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
    assert "dp_records_by_actor" in plan(postgresql_url, "where actor = 'x'")
    anchor = records.anchor()
    assert records.verification([anchor]).is_whole
    assert list(records.stream(oldest_first=True, limit=2)) == written[:2]
    tamper(postgresql_url, "update dp_records set actor = 'x' where id = 2", *MOVED_AWAY)
    assert records.verify() == [
        "record 2 was changed after it was written",
        "record 3 is missing",
        "record 3 was moved: it stands at place 4",
        "the chain ends at record 4, but 3 records were written",
    ]
