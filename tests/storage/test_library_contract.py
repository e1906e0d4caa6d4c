"""What we rely on ``deltalake`` to do, held apart from our own code: a new release that changes it shows here."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, Transaction, create_table_with_add_actions
from pyarrow import parquet

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

ROWS = pa.table({"a": pa.array([1, 2, 3], pa.int64())})
SCHEMA = Schema.from_arrow(ROWS.schema)


def add(folder: Path, name: str, rows: pa.Table = ROWS) -> AddAction:
    parquet.write_table(rows, folder / name)
    size = (folder / name).stat().st_size
    return AddAction(name, size, {}, 1, data_change=True, stats=json.dumps({"numRecords": rows.num_rows}))


def properties(mark: str = "mark", version: int = 1) -> CommitProperties:
    return CommitProperties(
        custom_metadata={"dp.operation": "publish"},
        max_commit_retries=0,
        app_transactions=[Transaction(mark, version)],
    )


def create(folder: Path, name: str, rows: pa.Table = ROWS, mark: str = "mark", **options: object) -> None:
    create_table_with_add_actions(
        str(folder),
        Schema.from_arrow(rows.schema),
        [add(folder, name, rows)],
        mode="error",
        commit_properties=properties(mark),
        **options,
    )


def overwrite(table: DeltaTable, folder: Path, name: str, mark: str = "other", version: int = 2) -> None:
    table.create_write_transaction(
        [add(folder, name)], "overwrite", SCHEMA, [], commit_properties=properties(mark, version)
    )


def files(folder: Path) -> set[str]:
    return {Path(uri).name for uri in DeltaTable(str(folder)).file_uris()}


def test_a_table_and_its_first_rows_are_one_commit(tmp_path: Path) -> None:
    create(tmp_path, "one.parquet")
    assert [path.name for path in (tmp_path / "_delta_log").glob("*.json")] == [f"{0:020d}.json"]
    table = DeltaTable(str(tmp_path))
    assert (table.version(), table.transaction_version("mark")) == (0, 1)
    with pytest.raises(DeltaError):
        create(tmp_path, "two.parquet")
    assert files(tmp_path) == {"one.parquet"}


def _race_to_create(folder: Path, number: int, barrier: Barrier, answers: Queue[bool]) -> None:
    barrier.wait()
    try:
        create(folder, f"{number}.parquet", mark=f"mark-{number}")
        answers.put(True)
    except DeltaError:
        answers.put(False)


@pytest.mark.slow
def test_of_several_creators_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for turn in range(3):
        folder = tmp_path / str(turn)
        folder.mkdir()
        barrier, answers = context.Barrier(3), context.Queue()
        racers = [
            context.Process(target=_race_to_create, args=(folder, number, barrier, answers))
            for number in range(3)
        ]
        for racer in racers:
            racer.start()
        won = [answers.get(timeout=60) for _ in racers]
        for racer in racers:
            racer.join()
        assert sorted(won) == [False, False, True]
        assert len(files(folder)) == 1


@pytest.mark.parametrize("rows", [ROWS, ROWS.slice(0, 0)], ids=["some rows", "no rows"])
def test_without_retries_a_handle_at_a_version_compares_and_swaps(tmp_path: Path, rows: pa.Table) -> None:
    create(tmp_path, "one.parquet", rows)
    stale = DeltaTable(str(tmp_path), version=0)
    overwrite(DeltaTable(str(tmp_path)), tmp_path, "two.parquet")
    with pytest.raises(CommitFailedError):
        overwrite(stale, tmp_path, "three.parquet")
    with pytest.raises(DeltaError):
        stale.restore(0, commit_properties=properties())
    assert files(tmp_path) == {"two.parquet"}


def test_marks_are_found_again_after_checkpoints(tmp_path: Path) -> None:
    create(tmp_path, "one.parquet", configuration={"delta.checkpointInterval": "2"})
    for number in range(6):
        overwrite(DeltaTable(str(tmp_path)), tmp_path, f"{number}.parquet", f"mark-{number}", number + 1)
    assert (tmp_path / "_delta_log" / "_last_checkpoint").exists()
    table = DeltaTable(str(tmp_path))
    assert [table.transaction_version(f"mark-{number}") for number in range(7)] == [1, 2, 3, 4, 5, 6, None]


def test_restore_points_to_the_old_file_and_keeps_its_count(tmp_path: Path) -> None:
    create(tmp_path, "one.parquet")
    overwrite(DeltaTable(str(tmp_path)), tmp_path, "two.parquet")
    DeltaTable(str(tmp_path)).restore(0, commit_properties=properties("back", 2))
    table = DeltaTable(str(tmp_path))
    actions = table.get_add_actions(flatten=True)
    assert actions.column("path").to_pylist() == ["one.parquet"]
    assert actions.column("num_records").to_pylist() == [3]
    assert (table.version(), table.transaction_version("back")) == (2, 2)


def test_restore_refuses_a_version_whose_file_is_gone(tmp_path: Path) -> None:
    create(tmp_path, "one.parquet")
    overwrite(DeltaTable(str(tmp_path)), tmp_path, "two.parquet")
    (tmp_path / "one.parquet").unlink()
    with pytest.raises(DeltaError, match="missing file"):
        DeltaTable(str(tmp_path)).restore(0, commit_properties=properties())
    assert files(tmp_path) == {"two.parquet"}


def test_light_vacuum_spares_uncommitted_and_restored_files(tmp_path: Path) -> None:
    create(tmp_path, "one.parquet")
    for name in ("two.parquet", "three.parquet"):
        overwrite(DeltaTable(str(tmp_path)), tmp_path, name)
    DeltaTable(str(tmp_path)).restore(0, commit_properties=properties())
    add(tmp_path, "candidate.parquet")
    DeltaTable(str(tmp_path)).vacuum(
        retention_hours=0, dry_run=False, enforce_retention_duration=False, full=False
    )
    assert {path.name for path in tmp_path.glob("*.parquet")} == {"one.parquet", "candidate.parquet"}
    assert files(tmp_path) == {"one.parquet"}


def test_the_log_is_kept_when_told_to(tmp_path: Path) -> None:
    keep = {
        "delta.checkpointInterval": "2",
        "delta.enableExpiredLogCleanup": "false",
        "delta.logRetentionDuration": "interval 36500 days",
    }
    create(tmp_path, "one.parquet", configuration=keep)
    for number in range(10):
        overwrite(DeltaTable(str(tmp_path)), tmp_path, f"{number}.parquet")
    assert len(list((tmp_path / "_delta_log").glob("*[0-9].json"))) == 11
    assert DeltaTable(str(tmp_path), version=0).version() == 0


def test_missing_statistics_are_safe(tmp_path: Path) -> None:
    create(tmp_path, "one.parquet")
    uris = DeltaTable(str(tmp_path)).file_uris()
    assert pl.scan_delta(str(tmp_path)).filter(pl.col("a") > 1).collect().height == 2
    with duckdb.connect() as connection:
        assert connection.read_parquet(uris).filter("a > 1").aggregate("count(*)").fetchall() == [(2,)]
    assert parquet.read_table(uris[0], filters=[("a", ">", 1)]).num_rows == 2


def test_custom_metadata_lies_at_the_top_of_the_commit(tmp_path: Path) -> None:
    create(tmp_path, "one.parquet")
    lines = (tmp_path / "_delta_log" / f"{0:020d}.json").read_text().splitlines()
    (info,) = [entry["commitInfo"] for entry in map(json.loads, lines) if "commitInfo" in entry]
    assert info["dp.operation"] == "publish"
    assert isinstance(info["timestamp"], int)
