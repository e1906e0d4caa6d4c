"""Changes between versions, compared with what plain Python says of the same rows."""

from __future__ import annotations

import json
import math
import random
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest
from change_helpers import Dataset, plain

from dp_dagster.changes.compare import compare
from dp_dagster.contracts.row_json import json_rows
from dp_dagster.errors import StoreError, VersionGoneError
from dp_dagster.storage import Table

if TYPE_CHECKING:
    from pathlib import Path

#: Types, and values that are easily taken for one another.
VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "flag": (pa.bool_(), [True, False, None]),
    "big": (pa.int64(), [2**53, 2**53 + 1, -(2**63), None]),
    "double": (pa.float64(), [0.0, -0.0, math.nan, math.inf, -math.inf, 0.1, None]),
    "single": (pa.float32(), [0.0, -0.0, math.nan, None]),
    "money": (pa.decimal128(38, 2), [Decimal("999999999999999999999999999999999999.99"), Decimal("0.10"), None]),
    "small": (pa.decimal128(18, 18), [Decimal("0.000000000000000001"), Decimal("-0.100000000000000000"), None]),
    "text": (pa.string(), ["", "a", "A", "é", "e\u0301", "a\0b", "'\"\\\n", "null", None]),
    "bytes": (pa.binary(), [b"", b"\0\xff", None]),
    "day": (pa.date32(), [date(2024, 2, 29), date(1969, 12, 31), None]),
    "moment": (pa.timestamp("us"), [datetime(2024, 2, 29, 23, 59, 59, 999999), None]),  # noqa: DTZ001 no zone
    "instant": (pa.timestamp("us", "UTC"), [datetime(1969, 1, 1, tzinfo=UTC), None]),
    "list": (pa.list_(pa.float64()), [[], [0.0], [-0.0], [math.nan, None], None]),
    "struct": (pa.struct([("a", pa.int64()), ("b", pa.string())]), [{"a": None, "b": ""}, {"a": 1, "b": None}, None]),
    "map": (pa.map_(pa.string(), pa.int64()), [[("a", 1), ("b", 2)], [("b", 2), ("a", 1)], [], None]),
}  # fmt: skip


def some_rows(chance: random.Random, keys: list[tuple[int, str]]) -> pa.Table:
    columns = {
        "id": pa.array([key[0] for key in keys], pa.int64()),
        "part": pa.array([key[1] for key in keys]),
    }
    for name, (kind, values) in VALUES.items():
        columns[name] = pa.array([chance.choice(values) for _ in keys], kind)
    return pa.table(columns)


def mixed(before: pa.Table, chance: random.Random) -> pa.Table:
    """Most rows as they were, some with one value changed, some gone, some new."""
    rows = before.to_pylist()
    kept = []
    for row in rows:
        what = chance.random()
        if what < 0.1:
            continue
        if what < 0.5:
            name = chance.choice(list(VALUES))
            row[name] = chance.choice(VALUES[name][1])
        kept.append(row)
    chance.shuffle(kept)
    added = some_rows(chance, [(1000 + number, "new") for number in range(5)]).to_pylist()
    return pa.Table.from_pylist([*kept, *added], schema=before.schema)


def texts(rows: pa.Table) -> dict[tuple[int, str], str]:
    lines = json_rows(pl.DataFrame(rows)).to_list() if "map" not in rows.column_names else _with_maps(rows)
    found = {}
    for line in lines:
        row = json.loads(line)
        found[row["id"], row["part"]] = json.dumps(row)
    return found


def _with_maps(rows: pa.Table) -> list[str]:
    """Polars has no maps."""
    plain_lines = json_rows(pl.DataFrame(rows.drop_columns(["map"]))).to_list()
    maps = rows.column("map").to_pylist()
    return [
        json.dumps(
            {
                **json.loads(line),
                "map": None if value is None else [{"key": key, "value": one} for key, one in value],
            }
        )
        for line, value in zip(plain_lines, maps, strict=True)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_every_change_of_every_type_is_found_and_no_other(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    dataset = Dataset(tmp_path, ("id", "part"))
    keys = [(number // 2 - 20, "ab"[number % 2]) for number in range(80)]
    before = some_rows(chance, keys)
    after = mixed(before, chance)
    dataset.publish(before)
    change_set = dataset.publish(after)
    assert change_set is not None

    old, new = texts(before), texts(after)
    expected = []
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            what = "inserted" if key not in old else "deleted" if key not in new else "updated"
            expected.append((what, {"id": key[0], "part": key[1]}, old.get(key), new.get(key)))
    found = [
        (what, key, *(None if side is None else json.dumps(side) for side in sides))
        for what, key, *sides in plain(dataset.seen(change_set))
    ]
    assert found == expected
    assert {what for what, *_ in found} == {"inserted", "updated", "deleted"}
    counts = change_set.counts
    assert (counts.inserted, counts.updated, counts.deleted) == tuple(
        sum(one[0] == what for one in expected) for what in ("inserted", "updated", "deleted")
    )


def test_the_first_version_has_no_file_and_says_so(dataset: Dataset) -> None:
    first = dataset.publish(pa.table({"id": [1, 2], "name": ["a", "b"]}))
    assert first is not None
    assert (first.kind, first.previous, first.file, first.counts.inserted) == ("first", None, None, 2)


def test_nothing_changed_without_a_file(dataset: Dataset) -> None:
    rows = pa.table({"id": [1, 2], "name": ["a", None]})
    dataset.publish(rows)
    change_set = dataset.publish(rows)
    assert change_set is not None
    assert (change_set.kind, change_set.file, change_set.counts.total) == ("changes", None, 0)


def test_a_column_that_comes_changes_rows_where_it_has_a_value(dataset: Dataset) -> None:
    dataset.publish(
        pa.table({"id": [1, 2], "gone": [None, "x"]}, schema=pa.schema({"id": "int64", "gone": "string"}))
    )
    change_set = dataset.publish(
        pa.table({"id": [1, 2], "new": [5, None]}, schema=pa.schema({"id": "int64", "new": "int32"}))
    )
    assert change_set is not None
    assert plain(dataset.seen(change_set)) == [
        ("updated", {"id": 1}, {"id": 1, "gone": None}, {"id": 1, "new": 5}),
        ("updated", {"id": 2}, {"id": 2, "gone": "x"}, {"id": 2, "new": None}),
    ]
    assert plain(dataset.seen(change_set, columns=("id", "new"))) == [
        ("updated", {"id": 1}, {"id": 1}, {"id": 1, "new": 5})
    ]


def test_a_type_that_changes_is_compared_as_consumers_see_it(dataset: Dataset) -> None:
    types = ("int32", pa.decimal128(5, 1)), ("int64", pa.decimal128(6, 2))
    for number, money in types:
        schema = pa.schema({"id": number, "size": number, "money": money})
        values = {"id": [1, 2], "size": [7, 7], "money": [None, Decimal("1.5")]}
        change_set = dataset.publish(pa.table(values, schema=schema))
    assert change_set is not None
    assert plain(dataset.seen(change_set)) == [
        ("updated", {"id": 2}, {"id": 2, "size": 7, "money": "1.5"}, {"id": 2, "size": 7, "money": "1.50"})
    ]


def test_another_key_is_a_break(dataset: Dataset) -> None:
    rows = pa.table({"id": [1, 2], "name": ["a", "b"]})
    dataset.publish(rows)
    dataset.key = ("name",)
    change_set = dataset.publish(rows)
    assert change_set is not None
    assert (change_set.kind, change_set.file) == ("break", None)
    assert "id" in change_set.reason
    with pytest.raises(VersionGoneError, match="snapshot=newest"):
        dataset.changes.between(0, 1)


def test_a_row_without_a_key_is_refused(dataset: Dataset) -> None:
    dataset.publish(pa.table({"id": [1, 2]}))
    with pytest.raises(StoreError, match="have no id, which is their key"):
        dataset.publish(pa.table({"id": [1, None]}))
    assert [path.name for path in dataset.changes.folder.iterdir() if path.suffix == ".json"] == ["0.json"]


def test_publications_in_between_are_made_good(dataset: Dataset) -> None:
    for number in range(4):
        dataset.publish(pa.table({"id": [1, 2], "n": [number, 0]}), compare=number == 0)
    dataset.compared()
    found = dataset.changes.between(0, 3)
    assert [(one.previous, one.version, one.counts.updated) for one in found] == [
        (0, 1, 1),
        (1, 2, 1),
        (2, 3, 1),
    ]
    assert dataset.changes.between(3, 3) == []


def test_a_port_that_is_new_begins_with_the_newest(dataset: Dataset) -> None:
    for number in range(3):
        dataset.publish(pa.table({"id": [1], "n": [number]}), compare=False)
    dataset.compared()
    assert [one.version for one in dataset.changes.between(1, 2)] == [2]
    with pytest.raises(VersionGoneError):
        dataset.changes.between(0, 2)


def test_a_rollback_is_a_publication(dataset: Dataset) -> None:
    dataset.publish(pa.table({"id": [1, 2], "n": [0, 0]}))
    dataset.publish(pa.table({"id": [1, 3], "n": [1, 0]}))
    dataset.newest = Table(dataset.changes.location).rollback(0, {"dp.run_id": "x"})
    back = dataset.compared()
    assert back.operation == "rollback"
    assert [one[0] for one in plain(dataset.seen(back))] == ["updated", "inserted", "deleted"]


def test_changes_go_with_the_version_before_them(dataset: Dataset) -> None:
    """They hold its rows: after a vacuum nobody is told them, and the next projection removes them."""
    for number in range(3):
        dataset.publish(pa.table({"id": [1], "n": [number]}))
    changes = dataset.changes
    one = changes.of(1)
    assert one is not None
    file = changes.path(one)
    Table(changes.location).vacuum(0)
    assert file.exists()
    assert changes.of(1) is None
    with pytest.raises(VersionGoneError):
        changes.between(0, 2)
    last = dataset.publish(pa.table({"id": [1], "n": [9]}))
    assert last is not None
    assert not file.exists()
    assert changes.between(2, last.version) == [last]


def test_what_a_killed_writer_left_is_removed(dataset: Dataset) -> None:
    dataset.publish(pa.table({"id": [1], "n": [0]}))
    dataset.publish(pa.table({"id": [1], "n": [1]}))
    left = [
        dataset.changes.folder / name for name in (".building-2-x.parquet", "2-x.parquet", ".2.json.1.tmp")
    ]
    for path in left:
        path.write_bytes(b"half")
    dataset.publish(pa.table({"id": [1], "n": [2]}))
    assert not any(path.exists() for path in left)
    assert [one.version for one in dataset.changes.between(0, 2)] == [1, 2]


def test_files_of_both_versions_are_not_read(dataset: Dataset, tmp_path: Path) -> None:
    from dataclasses import replace

    dataset.publish(pa.table({"id": list(range(10)), "n": [0] * 10}), files=2)
    first = dataset.newest
    dataset.publish(pa.table({"id": list(range(10)), "n": [1] * 10}), files=2)
    second = dataset.newest
    assert first is not None
    assert second is not None
    shared = str(tmp_path / "vanished.parquet")
    before = replace(first, paths=(shared, first.files[1]))
    after = replace(second, paths=(shared, second.files[1]))
    assert compare(before, after, ("id",), tmp_path / "out.parquet").updated == 5
    assert compare(before, replace(before), ("id",), tmp_path / "none.parquet").total == 0
    assert not (tmp_path / "none.parquet").exists()
    assert (
        compare(replace(before, paths=first.files[1:]), first, ("id",), tmp_path / "added.parquet").inserted
        == 5
    )
    assert (
        compare(first, replace(before, paths=first.files[1:]), ("id",), tmp_path / "removed.parquet").deleted
        == 5
    )
