from __future__ import annotations

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet
from store_helpers import (
    CONTRACT,
    ROWS,
    Publisher,
    both_stores,
    locked_by_another_process,
    number_of,
    rows_of,
    verdict_on,
    write,
)

from dp_dagster.errors import (
    ConflictError,
    LockedError,
    PublicationRefusedError,
    SettingsError,
    StoreError,
    UsageError,
)
from dp_dagster.storage import Table, input_table, quarantine_table
from dp_dagster.storage.log import Log


def test_nothing_is_there_before_the_first_publication(table: Table, publisher: Publisher) -> None:
    assert not table.exists()
    assert table.newest() is None
    assert table.history() == []
    publisher.candidate(1)
    assert not table.exists()
    assert table.newest() is None
    with pytest.raises(UsageError, match="nothing is published yet"):
        table.snapshot(0)


def test_the_first_publication_makes_the_table_with_its_rows(table: Table, publisher: Publisher) -> None:
    snapshot = publisher.publish(7)
    assert snapshot.version == 0
    assert snapshot.rows == ROWS
    assert number_of(snapshot) == 7
    assert table.newest() == snapshot
    assert [column.name for column in snapshot.columns] == ["number", "row"]
    assert snapshot.schema == pa.schema([("number", pa.int64()), ("row", pa.int64())])


@both_stores
def test_a_publication_replaces_the_version_and_keeps_the_old_one(table: Table, publisher: Publisher) -> None:
    for number in range(3):
        publisher.publish(number)
    newest = table.newest()
    assert newest is not None
    assert number_of(newest) == 2
    assert [number_of(table.snapshot(version)) for version in range(3)] == [0, 1, 2]
    assert [entry.version for entry in table.history()] == [2, 1, 0]
    assert [entry.version for entry in table.history(limit=1)] == [2]
    with pytest.raises(UsageError, match=r"no version 3; versions go from 0 to 2"):
        table.snapshot(3)


@both_stores
def test_the_commit_says_what_was_published(table: Table, publisher: Publisher) -> None:
    candidate = publisher.candidate(1)
    verdict = verdict_on(candidate)
    snapshot = table.publish(
        candidate,
        verdict,
        {"dp.product_version": "1.2.0", "dp.rows": "forged", "dp.upstream": '{"a": {"version": 3}}'},
        contract_hash=CONTRACT,
    )
    assert snapshot.metadata["dp.product_version"] == "1.2.0"
    assert snapshot.metadata["dp.rows"] == str(ROWS)
    assert json.loads(snapshot.metadata["dp.upstream"]) == {"a": {"version": 3}}
    assert snapshot.metadata["dp.verdict_id"] == verdict.id
    assert snapshot.metadata["dp.contract_hash"] == CONTRACT
    assert snapshot.metadata["dp.files_hash"] == candidate.hash
    assert snapshot.metadata["dp.run_id"] == "run-1"
    entry = table.history()[0]
    assert (entry.operation, entry.rows, entry.metadata) == ("publish", ROWS, snapshot.metadata)
    assert table.verdict(candidate) == verdict


def test_metadata_outside_our_names_is_refused(table: Table, publisher: Publisher) -> None:
    candidate = publisher.candidate(1)
    with pytest.raises(UsageError, match="keys begin with dp"):
        table.publish(candidate, verdict_on(candidate), {"timestamp": "1"}, contract_hash=CONTRACT)
    assert table.newest() is None


def test_without_a_verdict_nothing_is_published(table: Table, publisher: Publisher) -> None:
    with pytest.raises(PublicationRefusedError, match="has no verdict"):
        table.publish(publisher.candidate(1), None, {}, contract_hash=CONTRACT)
    with pytest.raises(PublicationRefusedError, match="has no contract"):
        table.publish(publisher.candidate(2), None, {}, contract_hash=None)
    assert table.newest() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decision": "held", "accepted_hash": "", "reason": "3 rows break unique"}, "is held: 3 rows break"),
        ({"contract_hash": "d" * 64}, "judged by contract dddddddddddd, in force is cccccccccccc"),
        ({"accepted_hash": "e" * 64}, "does not hold the bytes"),
        ({"rows_accepted": 1}, "has 600 rows, verdict .* accepted 1"),
    ],
)
def test_a_verdict_that_does_not_cover_the_candidate_is_refused(
    table: Table, publisher: Publisher, changes: dict[str, object], message: str
) -> None:
    publisher.publish(1)
    candidate = publisher.candidate(2)
    with pytest.raises(PublicationRefusedError, match=message):
        table.publish(candidate, verdict_on(candidate, **changes), {}, contract_hash=CONTRACT)
    newest = table.newest()
    assert newest is not None
    assert number_of(newest) == 1


@both_stores
def test_a_file_altered_after_the_audit_is_refused(table: Table, publisher: Publisher) -> None:
    publisher.publish(1)
    candidate = publisher.candidate(2)
    verdict = verdict_on(candidate)
    path = Path(candidate.paths[0])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert path.stat().st_size == candidate.files[0].size
    # The footer may be what broke; either way nothing is published.
    with pytest.raises((PublicationRefusedError, StoreError)):
        table.publish(candidate, verdict, {}, contract_hash=CONTRACT)
    newest = table.newest()
    assert newest is not None
    assert number_of(newest) == 1


def test_other_rows_of_the_same_size_are_refused(table: Table) -> None:
    def file_of(value: int, path: Path) -> None:
        rows = pa.table({"number": pa.array([value], pa.int64())})
        parquet.write_table(rows, path, compression="none", use_dictionary=False)

    draft = table.draft("run")
    path = draft.new_file()
    file_of(1, path)
    candidate = draft.seal()
    file_of(2, path)
    assert path.stat().st_size == candidate.files[0].size
    with pytest.raises(PublicationRefusedError, match="does not hold the bytes that verdict"):
        table.publish(candidate, verdict_on(candidate), {}, contract_hash=CONTRACT)
    assert table.newest() is None


def test_a_candidate_that_lies_about_its_files_is_refused(table: Table, publisher: Publisher) -> None:
    candidate = publisher.candidate(1)
    forged = dataclasses.replace(
        candidate, files=tuple(dataclasses.replace(file, rows=file.rows + 1) for file in candidate.files)
    )
    with pytest.raises(PublicationRefusedError, match="not described truly"):
        table.publish(forged, verdict_on(candidate), {}, contract_hash=CONTRACT)


def test_a_missing_file_is_an_error_and_nothing_is_published(table: Table, publisher: Publisher) -> None:
    candidate = publisher.candidate(1)
    Path(candidate.paths[0]).unlink()
    with pytest.raises(StoreError, match="is gone"):
        table.publish(candidate, verdict_on(candidate), {}, contract_hash=CONTRACT)
    assert table.newest() is None


def test_files_of_a_live_version_cannot_be_published_again(table: Table, publisher: Publisher) -> None:
    published = publisher.publish(1)
    candidate = table.candidate(published.metadata["dp.candidate_id"])
    again = dataclasses.replace(candidate, id="a" * 32, base_version=0)
    with pytest.raises(PublicationRefusedError, match="is already part of"):
        table.publish(again, verdict_on(again), {}, contract_hash=CONTRACT)


@both_stores
def test_publishing_twice_is_harmless(table: Table, publisher: Publisher) -> None:
    candidate = publisher.candidate(1)
    verdict = verdict_on(candidate)
    first = table.publish(candidate, verdict, {}, contract_hash=CONTRACT)
    assert table.publish(candidate, verdict, {}, contract_hash=CONTRACT) == first
    publisher.publish(2)
    assert table.publish(candidate, verdict, {}, contract_hash=CONTRACT) == first
    assert [entry.version for entry in table.history()] == [1, 0]


@pytest.mark.parametrize("first", [True, False])
@both_stores
def test_a_commit_that_landed_although_something_was_raised_is_recognised(
    table: Table, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, *, first: bool
) -> None:
    if not first:
        publisher.publish(1)
    candidate = publisher.candidate(2)
    real = Log._swap

    def swap(log: Log, expected: int | None, mark: str, attempt: object) -> int:
        def lost_answer() -> None:
            attempt()  # type: ignore[operator]  # the real commit
            raise OSError("the connection was lost after the commit")

        return real(log, expected, mark, lost_answer)

    monkeypatch.setattr(Log, "_swap", swap)
    snapshot = table.publish(candidate, verdict_on(candidate), {}, contract_hash=CONTRACT)
    assert number_of(snapshot) == 2
    assert snapshot.version == (0 if first else 1)


@both_stores
def test_a_commit_that_failed_is_an_error_and_can_be_tried_again(
    table: Table, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish(1)
    candidate = publisher.candidate(2)
    real = Log._swap

    def refuse() -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Log, "_swap", lambda log, expected, mark, _: real(log, expected, mark, refuse))
        with pytest.raises(StoreError, match="nothing was published: no space left"):
            table.publish(candidate, verdict_on(candidate), {}, contract_hash=CONTRACT)
    newest = table.newest()
    assert newest is not None
    assert number_of(newest) == 1
    assert number_of(table.publish(candidate, verdict_on(candidate), {}, contract_hash=CONTRACT)) == 2


@both_stores
def test_a_candidate_on_top_of_an_older_version_loses(table: Table, publisher: Publisher) -> None:
    publisher.publish(1)
    early, late = publisher.candidate(2), publisher.candidate(3)
    table.publish(late, verdict_on(late), {}, contract_hash=CONTRACT)
    with pytest.raises(
        ConflictError, match=r"version 1 was published while candidate .* on top of version 0"
    ):
        table.publish(early, verdict_on(early), {}, contract_hash=CONTRACT)
    newest = table.newest()
    assert newest is not None
    assert number_of(newest) == 3


def test_upkeep_between_draft_and_publication_is_no_conflict(table: Table, publisher: Publisher) -> None:
    publisher.publish(1)
    publisher.publish(2)
    candidate = publisher.candidate(3)
    assert table.vacuum(0)
    snapshot = table.publish(candidate, verdict_on(candidate), {}, contract_hash=CONTRACT)
    assert number_of(snapshot) == 3


def test_a_table_without_rows_can_be_published_and_replaced(table: Table, publisher: Publisher) -> None:
    empty = write(table.draft("empty"), rows_of(1, 0))
    snapshot = table.publish(empty, verdict_on(empty), {}, contract_hash=CONTRACT)
    assert snapshot.rows == 0
    assert len(snapshot.files) == 1
    assert number_of(publisher.publish(2)) == 2


def test_inputs_are_published_without_contract(tmp_path: Path) -> None:
    table = Table(input_table(str(tmp_path), "flights", "airlines"))
    candidate = write(table.draft("run"), rows_of(1))
    assert number_of(table.publish(candidate, None, {}, contract_hash=None)) == 1
    grown = write(table.draft("run"), rows_of(2))
    parquet.write_table(rows_of(2, 900), grown.paths[0])
    with pytest.raises(PublicationRefusedError, match="was altered"):
        table.publish(grown, None, {}, contract_hash=None)
    assert number_of(table.publish(write(table.draft("run"), rows_of(3)), None, {}, contract_hash=None)) == 3


def test_a_candidate_of_another_table_is_refused(table: Table, publisher: Publisher, tmp_path: Path) -> None:
    other = Table(input_table(str(tmp_path), "flights", "airlines"))
    with pytest.raises(UsageError, match="belongs to"):
        other.publish(publisher.candidate(1), None, {}, contract_hash=None)


def test_the_hash_is_of_the_bytes_and_not_of_the_names(table: Table) -> None:
    one = write(table.draft("a"), rows_of(1, 5), rows_of(2, 5))
    two = write(table.draft("b"), rows_of(2, 5), rows_of(1, 5))
    other = write(table.draft("c"), rows_of(1, 5), rows_of(3, 5))
    assert one.hash == two.hash != other.hash
    assert table.candidate(one.id) == one


def test_a_sealed_draft_takes_no_more_files(table: Table) -> None:
    draft = table.draft("run")
    with pytest.raises(StoreError, match="has no files"):
        draft.seal()
    write(draft, rows_of(1))
    with pytest.raises(UsageError, match="is sealed"):
        draft.new_file()


def test_unfinished_files_are_named(table: Table) -> None:
    draft = table.draft("run")
    draft.new_file()
    with pytest.raises(StoreError, match="is gone"):
        draft.seal()
    draft = table.draft("run")
    draft.new_file().write_bytes(b"PAR1 not really")
    with pytest.raises(StoreError, match="not a readable Parquet file"):
        draft.seal()


@both_stores
def test_a_locked_table_names_its_holder(table: Table, publisher: Publisher) -> None:
    candidate = publisher.candidate(1)
    hasty = Table(table.location, lock_timeout=0.2)
    with locked_by_another_process(table, "run-other") as other:
        with pytest.raises(
            LockedError, match=rf"by run-other \(process {other.pid} on .*gave up after 0.2 s"
        ):
            hasty.publish(candidate, verdict_on(candidate), {}, contract_hash=CONTRACT)
        assert other.poll() is None, "it gives up while the other holds the lock"
    assert number_of(hasty.publish(candidate, verdict_on(candidate), {}, contract_hash=CONTRACT)) == 1


@both_stores
def test_a_dead_holder_does_not_lock(table: Table, publisher: Publisher) -> None:
    with locked_by_another_process(table, "run-dead") as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert table.location.lock_file.with_suffix(".holder").exists()
        Publisher(Table(table.location, lock_timeout=0)).publish(1)


def test_one_thread_may_lock_twice(table: Table) -> None:
    other = Table(table.location, lock_timeout=0.1)
    with table.lock("outer"), other.lock("inner"):
        pass
    with other.lock("again"):
        pass


def test_the_quarantine_grows(tmp_path: Path) -> None:
    table = Table(quarantine_table(str(tmp_path), "flights", 1, "flights"))
    rows = pa.table({"run_id": ["a", "a"], "row": ['{"x": 1}', '{"x": 2}']})
    assert table.append(rows, {"dp.run_id": "a"}).rows == 2
    grown = table.append(rows.to_reader(), {"dp.run_id": "b"})
    assert (grown.rows, len(grown.files), grown.version) == (4, 2, 1)
    assert table.append(rows.slice(0, 0), {"dp.run_id": "c"}) == grown
    assert [(entry.operation, entry.rows) for entry in table.history()] == [("append", 4), ("append", 2)]
    with pytest.raises(PublicationRefusedError, match="columns are fixed"):
        table.append(pa.table({"other": [1]}), {"dp.run_id": "d"})
    assert table.newest() == grown
    assert table.rollback(0, {}).rows == 2
    assert table.append(rows, {"dp.run_id": "e"}).rows == 4


def test_a_quarantine_may_begin_empty(tmp_path: Path) -> None:
    table = Table(quarantine_table(str(tmp_path), "flights", 1, "flights"))
    empty = pa.table({"row": pa.array([], pa.string())})
    assert table.append(empty, {}).rows == 0
    assert table.append(pa.table({"row": ["x"]}), {}).rows == 1


def test_a_dataset_is_never_appended_to(table: Table) -> None:
    with pytest.raises(PublicationRefusedError, match="is a dataset"):
        table.append(rows_of(1), {})


@pytest.mark.parametrize("folder", ["with space", "hash#x", "ünï", "what?", "plus+and&"])
def test_any_folder_name_will_do(tmp_path: Path, folder: str) -> None:
    table = Table(input_table(str(tmp_path / folder), "flights", "airlines"))
    for number in (1, 2):
        candidate = write(table.draft("run"), rows_of(number))
        table.publish(candidate, None, {}, contract_hash=None)
    newest = table.newest()
    assert newest is not None
    assert number_of(newest) == 2
    assert list((tmp_path).iterdir()) == [tmp_path / folder]


def test_a_folder_that_the_library_misreads_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="percent sign"):
        Table(input_table(str(tmp_path / "per%20cent"), "flights", "airlines"))


def test_names_cannot_lead_out_of_the_store(tmp_path: Path) -> None:
    for product, name in [("..", "x"), ("flights", "../x"), ("a/b", "x"), ("flights", "")]:
        with pytest.raises(UsageError):
            input_table(str(tmp_path), product, name)


def test_a_store_that_was_removed_meanwhile_is_made_anew(table: Table, publisher: Publisher) -> None:
    for number in range(3):
        publisher.publish(number)
    table.draft("before")
    shutil.rmtree(Path(table.location.root))
    assert table.newest() is None
    snapshot = Publisher(Table(table.location)).publish(7)
    assert snapshot.version == 0
    stale = publisher.candidate(8)
    shutil.rmtree(table.location.directory / "_delta_log")
    with pytest.raises(ConflictError, match="version None was published"):
        table.publish(stale, verdict_on(stale), {}, contract_hash=CONTRACT)
    assert number_of(publisher.publish(9)) == 9


def test_what_a_writer_left_that_died_within_its_commit_is_no_hindrance(
    table: Table, publisher: Publisher
) -> None:
    publisher.publish(1)
    log = table.location.directory / "_delta_log"
    staged = log / f"{1:020d}.json#1"  # what the library writes and then links to the commit's name
    staged.write_text('{"commitInfo":{"dp.oper')
    newest = table.newest()
    assert newest is not None
    assert number_of(newest) == 1
    assert number_of(publisher.publish(2)) == 2
    assert table.clean(0) == []
    assert not staged.exists()
    assert number_of(publisher.publish(3)) == 3
