from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet
from store_helpers import (
    CONTRACT,
    Publisher,
    both_stores,
    data_files,
    locked_by_another_process,
    named_by_history,
    number_of,
    rows_of,
    verdict_on,
    write,
)

from dp_dagster.errors import ConflictError, LockedError, StoreError, UsageError
from dp_dagster.storage import Table
from dp_dagster.storage.log import Log

if TYPE_CHECKING:
    from dp_dagster.storage.log import View


def newest_number(table: Table) -> int:
    newest = table.newest()
    assert newest is not None
    return number_of(newest)


@both_stores
def test_rollback_is_a_new_commit_that_points_to_old_files(table: Table, publisher: Publisher) -> None:
    for number in range(3):
        publisher.publish(number)
    old = table.snapshot(0)
    back = table.rollback(0, {"dp.run_id": "operator", "dp.published_at": "2100-01-01T00:00:00+00:00"})
    assert back.version == 3
    assert set(back.files) == set(old.files)
    assert back.rows == old.rows
    assert number_of(back) == 0
    assert table.newest() == back
    assert back.metadata["dp.operation"] == "rollback"
    assert back.metadata["dp.rolled_back_to"] == "0"
    assert back.metadata["dp.run_id"] == "operator"
    for kept in ("dp.contract_hash", "dp.verdict_id", "dp.files_hash", "dp.candidate_id", "dp.rows"):
        assert back.metadata[kept] == old.metadata[kept]
    assert [entry.operation for entry in table.history()] == ["rollback", "publish", "publish", "publish"]
    assert number_of(publisher.publish(9)) == 9
    assert number_of(table.rollback(3, {})) == 0


def test_rollback_makes_nothing_fresher(table: Table, publisher: Publisher) -> None:
    first = publisher.publish(0)
    publisher.publish(1)
    back = table.rollback(0, {})
    assert back.published_at == first.published_at
    assert back.committed_at > first.committed_at


def test_what_cannot_be_rolled_back_to(table: Table, publisher: Publisher) -> None:
    with pytest.raises(UsageError, match="nothing is published yet"):
        table.rollback(0, {})
    for number in range(3):
        publisher.publish(number)
    with pytest.raises(UsageError, match="no version 7; versions go from 0 to 2"):
        table.rollback(7, {})
    with pytest.raises(UsageError, match="nothing to roll back"):
        table.rollback(2, {})
    table.rollback(1, {})
    with pytest.raises(UsageError, match="nothing to roll back"):
        table.rollback(1, {})
    assert newest_number(table) == 1


@both_stores
def test_a_vacuumed_version_is_refused(table: Table, publisher: Publisher) -> None:
    for number in range(3):
        publisher.publish(number)
    table.rollback(1, {})
    removed = table.vacuum(0)
    assert len(removed) == 4
    assert newest_number(table) == 1
    for version in (0, 2):
        with pytest.raises(UsageError, match=r"2 of its 2 files were vacuumed; versions .* read: 3, 1$"):
            table.rollback(version, {})
    assert newest_number(table) == 1


def test_old_files_that_were_altered_are_not_served(table: Table, publisher: Publisher) -> None:
    old = publisher.publish(0)
    publisher.publish(1)
    parquet.write_table(rows_of(5, 300), old.files[0])
    with pytest.raises(StoreError, match="no longer holds the bytes"):
        table.rollback(0, {})
    assert newest_number(table) == 1


def test_rollback_compares_and_swaps(
    table: Table, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish(0)
    publisher.publish(1)
    real = Log.restore

    def overtaken(log: Log, expected: View, *arguments: object) -> int:
        monkeypatch.setattr(Log, "restore", real)
        publisher.publish(2)  # as a writer on a machine that does not share the lock would
        return real(log, expected, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Log, "restore", overtaken)
    with pytest.raises(ConflictError, match="version 2 was committed first, version 1 was expected"):
        table.rollback(0, {})
    assert newest_number(table) == 2


def test_rollback_waits_for_the_lock(table: Table, publisher: Publisher) -> None:
    publisher.publish(0)
    publisher.publish(1)
    hasty = Table(table.location, lock_timeout=0.1)
    with (
        locked_by_another_process(table, "run-other"),
        pytest.raises(LockedError, match="run-other"),
    ):
        hasty.rollback(0, {})
    assert number_of(table.rollback(0, {})) == 0


def test_vacuum_leaves_what_is_served_what_is_recent_and_what_is_not_yet_published(
    table: Table, publisher: Publisher
) -> None:
    assert table.vacuum(0) == []
    for number in range(3):
        publisher.publish(number)
    candidate = publisher.candidate(3)
    assert table.vacuum(1) == []
    assert newest_number(table) == 2
    before = table.newest()
    assert len(table.vacuum(0)) == 4
    assert table.newest() == before  # the same version, in spite of vacuum's own commits
    assert table.vacuum(0) == []
    assert number_of(table.publish(candidate, verdict_on(candidate), {}, contract_hash=CONTRACT)) == 3
    with pytest.raises(UsageError, match="give 0 or more"):
        table.vacuum(-1)


def age_removals(table: Table, version: int) -> None:
    """Make a commit say that it removed its files in 1970."""
    log = table.location.directory / "_delta_log" / f"{version:020d}.json"
    text, changes = re.subn(r'"deletionTimestamp":\d+', '"deletionTimestamp":1', log.read_text())
    assert changes
    log.write_text(text)


def test_vacuum_counts_from_when_files_were_last_served(table: Table, publisher: Publisher) -> None:
    publisher.publish(0)
    publisher.publish(1)
    age_removals(table, 1)
    pinned = table.rollback(0, {})
    publisher.publish(2)
    # The files were removed long ago, served again by the rollback, and removed a moment ago.
    assert table.vacuum(24) == []
    assert number_of(pinned) == 0
    assert len(table.vacuum(0)) == 4


def test_vacuum_deletes_what_was_served_before_the_retention(table: Table, publisher: Publisher) -> None:
    for number in range(4):
        publisher.publish(number)
    for version in (1, 2, 3):
        age_removals(table, version)
    for version in (0, 1, 2):
        log = table.location.directory / "_delta_log" / f"{version:020d}.json"
        log.write_text(re.sub(r'"timestamp":\d+', '"timestamp":1', log.read_text(), count=1))
    # Version 2 was newest at the beginning of the last 24 hours, 0 and 1 were not.
    assert len(table.vacuum(24)) == 4
    assert [number_of(table.snapshot(version)) for version in (2, 3)] == [2, 3]
    with pytest.raises(UsageError, match="vacuumed"):
        table.snapshot(1)


def test_vacuum_finds_files_removed_before_many_checkpoints(table: Table, publisher: Publisher) -> None:
    for number in range(50):
        publisher.publish(number, rows=10)
    assert len(list((table.location.directory / "_delta_log").glob("*.checkpoint.parquet"))) >= 2
    assert len(table.history()) == 50
    assert number_of(table.snapshot(0)) == 0
    assert len(table.vacuum(0)) == 98
    assert len(data_files(table)) == 2
    assert newest_number(table) == 49
    assert len(table.history()) == 50


def test_clean_removes_what_dead_and_held_candidates_left(table: Table, publisher: Publisher) -> None:
    publisher.publish(0)
    publisher.publish(1)
    live = data_files(table)
    abandoned = table.draft("dead")
    parquet.write_table(rows_of(5), abandoned.new_file())
    unwritten = table.draft("dead earlier")
    unwritten.new_file()
    held = publisher.candidate(6)
    table.record_verdict(held, verdict_on(held, decision="held", accepted_hash=""))
    (table.location.candidates_directory / f".{held.id}.json.0123.tmp").write_text("{")
    staged = table.location.directory / "_delta_log" / f"{2:020d}.json#1"
    staged.write_text("{")

    assert table.clean(3600) == []
    assert len(data_files(table)) == len(live) + 3
    assert len(table.clean(0)) == 3
    assert data_files(table) == live == named_by_history(table)
    assert not staged.exists()
    assert not list(table.location.candidates_directory.glob(".*"))
    # Evidence of what was judged stays; a draft that nobody judged is forgotten.
    assert table.verdict(held) is not None
    assert len(list(table.location.candidates_directory.glob("*.json"))) == 6
    assert table.clean(0) == []
    with pytest.raises(StoreError, match="is gone"):
        table.publish(held, verdict_on(held), {}, contract_hash=CONTRACT)
    assert newest_number(publisher.table) == 1


@both_stores
def test_clean_spares_a_publication_whose_writer_died_before_its_note(
    table: Table, publisher: Publisher
) -> None:
    snapshot = publisher.publish(0)
    record = table._registry.find(snapshot.metadata["dp.candidate_id"])
    assert record is not None
    record.mark("sealed")
    publisher.publish(1)
    assert table.clean(0) == []
    assert number_of(table.snapshot(0)) == 0
    record = table._registry.find(snapshot.metadata["dp.candidate_id"])
    assert record is not None
    assert record.state == "published"


def test_clean_never_touches_what_a_damaged_record_names(table: Table, publisher: Publisher) -> None:
    snapshot = publisher.publish(0)
    live = Path(snapshot.files[0])
    draft = table.draft("run")
    draft.new_file()
    record = table.location.candidates_directory / f"{draft.id}.json"
    text = record.read_text()
    record.write_text(text.replace(draft._names[0], live.name))
    assert table.clean(0) == []
    assert newest_number(table) == 0
    outside = table.location.directory.parent / "part.parquet"
    outside.write_text("precious")
    record.write_text(text.replace(draft._names[0], "../part.parquet"))
    with pytest.raises(StoreError, match="is damaged"):
        table.clean(0)
    assert outside.exists()
    record.write_text(text[: len(text) // 2])
    with pytest.raises(StoreError, match="is damaged"):
        table.clean(0)


@both_stores
def test_discarded_drafts_and_candidates_leave_nothing(table: Table, publisher: Publisher) -> None:
    draft = table.draft("run")
    parquet.write_table(rows_of(1), draft.new_file())
    draft.discard()
    assert data_files(table) == set()
    candidate = write(table.draft("run"), rows_of(2))
    table.discard(candidate)
    table.discard(candidate)
    assert data_files(table) == set()
    published = table.candidate(publisher.publish(3).metadata["dp.candidate_id"])
    with pytest.raises(UsageError, match="was published"):
        table.discard(published)
    assert newest_number(table) == 3
