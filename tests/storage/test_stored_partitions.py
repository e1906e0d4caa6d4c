"""Tables with partitions: a commit replaces some of them and leaves the files of the others alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from pyarrow import parquet
from store_helpers import CONTRACT, verdict_on

from dp_dagster.errors import ConflictError, PublicationRefusedError, StoreError, UsageError
from dp_dagster.sla.kept import KnownArrivals
from dp_dagster.storage import Candidate, Snapshot, Table
from dp_dagster.storage.arrivals import first_arrivals
from dp_dagster.storage.log import Log
from dp_dagster.storage.partitions import read_set_aside, rows_set_aside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MADE = "0123456789abcdef"


def rows(*values: int) -> pa.Table:
    return pa.table({"value": pa.array(values, pa.int64())})


def candidate(
    table: Table, content: Mapping[str, pa.Table], *, whole: bool = False, made: str = MADE
) -> Candidate:
    draft = table.draft("run", None if whole else content)
    for key, content_rows in content.items():
        parquet.write_table(content_rows, draft.new_file(key, made))
    return draft.seal()


def publish(
    table: Table, content: Mapping[str, pa.Table], *, whole: bool = False, made: str = MADE
) -> Snapshot:
    made_candidate = candidate(table, content, whole=whole, made=made)
    return table.publish(made_candidate, verdict_on(made_candidate), {}, contract_hash=CONTRACT)


def actions(table: Table, version: int, kind: str) -> list[str]:
    """Paths of the add or remove actions of one commit, as the log has them."""
    commit = table.location.directory / "_delta_log" / f"{version:020d}.json"
    entries = [json.loads(line) for line in commit.read_text().splitlines()]
    return [entry[kind]["path"] for entry in entries if kind in entry]


def values(snapshot: Snapshot) -> list[int]:
    return [value for file in snapshot.files for value in parquet.read_table(file)["value"].to_pylist()]


def test_one_partition_is_replaced_and_no_other_file_is_named(table: Table) -> None:
    first = publish(table, {"2013-02": rows(2, 22), "2013-01": rows(1), "2013-03": rows(3)}, whole=True)
    assert values(first) == [1, 2, 22, 3]  # in order of time, whatever the order of writing
    old = first.partitions["2013-02"]
    second = publish(table, {"2013-02": rows(20)}, made="f" * 16)
    assert values(second) == [1, 20, 3]
    assert actions(table, second.version, "remove") == list(old.files)
    assert actions(table, second.version, "add") == list(second.partitions["2013-02"].files)
    for key in ("2013-01", "2013-03"):
        assert second.partitions[key] == first.partitions[key], "not even its time has changed"
    changed = second.partitions["2013-02"]
    assert (changed.rows, changed.made_from) == (1, "f" * 16)
    assert changed.published_at > old.published_at
    assert second.rows == 3
    assert (second.metadata["dp.rows"], second.metadata["dp.rows_added"]) == ("3", "1")
    # Whoever reads the Delta table by other means sees the same.
    assert sorted(pl.read_delta(str(table.location.directory))["value"]) == [1, 3, 20]
    assert DeltaTable(table.location.uri).to_pyarrow_table().num_rows == 3


def test_a_partition_is_added_and_one_is_emptied(table: Table) -> None:
    publish(table, {"2013-01": rows(1)}, whole=True)
    added = publish(table, {"2013-02": rows(2)})
    assert actions(table, added.version, "remove") == []
    emptied = publish(table, {"2013-01": rows()})
    assert values(emptied) == [2]
    assert emptied.partitions["2013-01"].rows == 0


def test_rollback_brings_back_the_files_of_each_partition(table: Table) -> None:
    publish(table, {"2013-01": rows(1), "2013-02": rows(2)}, whole=True)
    second = publish(table, {"2013-02": rows(20)}, made="a" * 16)
    publish(table, {"2013-01": rows(10)}, made="b" * 16)
    back = table.rollback(second.version, {})
    assert values(back) == [1, 20]
    assert back.partitions == second.partitions, "nothing looks fresher"


def test_bytes_that_were_exchanged_are_found_before_a_rollback(table: Table) -> None:
    publish(table, {"2013-01": rows(1), "2013-02": rows(2)}, whole=True)
    second = publish(table, {"2013-02": rows(20)})
    publish(table, {"2013-02": rows(200)})
    # A file of a partition that was not part of that commit is looked at, too.
    parquet.write_table(rows(7), second.files[0])
    with pytest.raises(StoreError, match="no longer holds the bytes"):
        table.rollback(second.version, {})


def test_publishing_the_same_candidate_twice_is_recognised(table: Table) -> None:
    publish(table, {"2013-01": rows(1), "2013-02": rows(2)}, whole=True)
    made = candidate(table, {"2013-02": rows(20)})
    first = table.publish(made, verdict_on(made), {}, contract_hash=CONTRACT)
    assert table.publish(made, verdict_on(made), {}, contract_hash=CONTRACT).version == first.version
    assert table.candidate(made.id) == made


def test_a_candidate_on_an_older_version_is_refused(table: Table) -> None:
    publish(table, {"2013-01": rows(1), "2013-02": rows(2)}, whole=True)
    late = candidate(table, {"2013-02": rows(20)})
    publish(table, {"2013-01": rows(10)})
    with pytest.raises(ConflictError, match="run again"):
        table.publish(late, verdict_on(late), {}, contract_hash=CONTRACT)
    newest = table.newest()
    assert newest is not None
    assert values(newest) == [10, 2]


def test_what_does_not_fit_to_the_other_partitions_is_refused(table: Table) -> None:
    publish(table, {"2013-01": rows(1), "2013-02": rows(2)}, whole=True)
    other = pa.table({"value": pa.array([1.5])})
    made = candidate(table, {"2013-02": other})
    with pytest.raises(PublicationRefusedError, match=r"value float64.*publish all of them"):
        table.publish(made, verdict_on(made), {}, contract_hash=CONTRACT)
    with pytest.raises(UsageError, match="replaces 2013-02, not 2013-03"):
        table.draft("run", ["2013-02"]).new_file("2013-03", MADE)
    for key, made_from in (("../2013", MADE), ("2013-01", "made"), ("2013-01", "")):
        with pytest.raises(UsageError, match="is refused"):
            table.draft("run").new_file(key, made_from)


def test_a_table_from_before_it_had_partitions_is_replaced_as_a_whole(table: Table) -> None:
    draft = table.draft("run")
    parquet.write_table(rows(1, 2), draft.new_file())
    old = draft.seal()
    assert table.publish(old, verdict_on(old), {}, contract_hash=CONTRACT).partitions == {}
    made = candidate(table, {"2013-02": rows(20)})
    with pytest.raises(PublicationRefusedError, match="before it had partitions"):
        table.publish(made, verdict_on(made), {}, contract_hash=CONTRACT)
    table.discard(made)
    assert values(publish(table, {"2013-01": rows(1), "2013-02": rows(2)}, whole=True)) == [1, 2]


def test_checkpoints_and_a_vacuum_keep_the_partitions(table: Table) -> None:
    publish(table, {f"2013-{month:02}": rows(month) for month in range(1, 13)}, whole=True)
    for number in range(25):
        last = publish(table, {"2013-06": rows(100 + number)})
    table.vacuum(0)
    found = Table(table.location).newest()
    assert found is not None
    assert found.partitions == last.partitions
    assert values(found) == [1, 2, 3, 4, 5, 124, 7, 8, 9, 10, 11, 12]


def test_commits_tell_which_partitions_came_and_which_came_again(table: Table) -> None:
    publish(table, {"2013-01": rows(1), "2013-02": rows(2)}, whole=True)
    publish(table, {"2013-02": rows(22), "2013-03": rows(3)})
    table.rollback(0, {})
    publish(table, {"2013-03": rows(33)})
    publish(table, {"2013-01": rows(1), "2013-02": rows(2), "2013-03": rows(4)}, whole=True)
    newest = table.newest()
    assert newest is not None
    found = list(table.arrivals(newest.version))
    assert [(one.version, sorted(one.made), sorted(one.new)) for one in found] == [
        (4, ["2013-01", "2013-02", "2013-03"], []),
        (3, ["2013-03"], ["2013-03"]),
        (1, ["2013-02", "2013-03"], ["2013-03"]),
        (0, ["2013-01", "2013-02"], ["2013-01", "2013-02"]),
    ]
    assert [one.version for one in table.arrivals(1)] == [1, 0]
    came = first_arrivals(found)
    assert came == {"2013-01": found[3].at, "2013-02": found[3].at, "2013-03": found[2].at}
    # What came before the time that is looked at did not come in it, whatever was published again.
    assert first_arrivals(found[:1]) == {}


def test_commits_say_how_many_rows_of_the_newest_partitions_were_set_aside() -> None:
    first = {"dp.rows_set_aside": rows_set_aside({}, None, {"2013-01": 3, "2013-02": 0})}
    assert read_set_aside(first) == {"2013-01": 3, "2013-02": 0}
    second = {"dp.rows_set_aside": rows_set_aside(first, ["2013-02"], {"2013-02": 5})}
    assert read_set_aside(second) == {"2013-01": 3, "2013-02": 5}
    whole = {"dp.rows_set_aside": rows_set_aside(second, None, {"2013-02": 0})}
    assert read_set_aside(whole) == {"2013-02": 0}
    gone = {"dp.rows_set_aside": rows_set_aside(second, ["2013-01", "2013-03"], {"2013-03": 1})}
    assert read_set_aside(gone) == {"2013-02": 5, "2013-03": 1}
    assert read_set_aside({}) == {}, "an earlier release says nothing"
    many = {f"20{year:02}-{month:02}": year for year in range(50) for month in range(1, 13)}
    kept = read_set_aside({"dp.rows_set_aside": rows_set_aside({}, None, many)})
    assert (len(kept), max(kept), kept["2049-12"]) == (32, "2049-12", 49)


def test_arrivals_are_read_on_from_where_the_last_round_stopped(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    entries = Log.entries

    def counted(log: Log, version: int) -> Iterator[dict[str, Any]]:
        read.append(version)
        return entries(log, version)

    publish(table, {"2013-01": rows(1)}, whole=True)
    for month in range(2, 9):
        publish(table, {f"2013-{month:02}": rows(month), "2013-01": rows(month)})
    monkeypatch.setattr(Log, "entries", counted)
    since, known = datetime(2000, 1, 1, tzinfo=UTC), KnownArrivals()
    assert [one.version for one in known.up_to(table, 7, since)] == list(range(7, -1, -1))
    read.clear()
    assert len(known.up_to(table, 7, since)) == 8
    assert read == [], "nothing was published"
    monkeypatch.setattr(Log, "entries", entries)
    publish(table, {"2013-01": rows(9)})
    monkeypatch.setattr(Log, "entries", counted)
    found = known.up_to(table, 8, since)
    assert [one.version for one in found] == list(range(8, -1, -1))
    assert read == [8, 7], "the new one, and the one that is known"
    # What is older than anybody asks for goes, and is read again where somebody does.
    assert [one.version for one in known.up_to(table, 8, found[1].at)] == [8, 7]
    assert len(known.up_to(table, 8, since)) == 9
    read.clear()
    assert [one.version for one in KnownArrivals().up_to(table, 8, found[1].at)] == [8, 7]
    assert read == [8, 7, 6], "no further back than asked for"
