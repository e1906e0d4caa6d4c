"""What somebody sees of changes: masks, row filters, selected columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from change_helpers import SECRET, plain

from dp_dagster.access.view import DatasetView
from dp_dagster.predicates.model import AllOf, Condition, Negation

if TYPE_CHECKING:
    from change_helpers import Dataset

    from dp_dagster.changes.model import ChangeSet

COLUMNS = ("id", "name", "salary", "region")
BEFORE = [(1, "Ada", 10, "north"), (2, "Ben", 20, "south"), (3, "Cy", 30, "north"), (4, None, 40, "south")]
AFTER = [(1, "Ada", 11, "north"), (2, "Ben", 20, "north"), (3, "Cyd", 30, "south"), (5, "Eve", 50, "north")]
NORTH = Condition("region", "eq", "north")


def table(rows: list[tuple[Any, ...]]) -> pa.Table:
    kinds = (pa.int64(), pa.string(), pa.int32(), pa.string())
    columns = list(zip(*rows, strict=True))
    return pa.table(
        {name: pa.array(values, kind) for name, values, kind in zip(COLUMNS, columns, kinds, strict=True)}
    )


@pytest.fixture
def change_set(dataset: Dataset) -> ChangeSet:
    dataset.publish(table(BEFORE))
    made = dataset.publish(table(AFTER))
    assert made is not None
    return made


def summary(dataset: Dataset, change_set: ChangeSet, view: DatasetView, **more: Any) -> list[tuple[Any, ...]]:
    return [
        (what, key["id"], *(None if side is None else tuple(side.values()) for side in sides))
        for what, key, *sides in plain(dataset.seen(change_set, view, **more))
    ]


def test_a_row_filter_makes_inserts_and_deletes_of_moves(dataset: Dataset, change_set: ChangeSet) -> None:
    assert summary(dataset, change_set, DatasetView("rows", COLUMNS, {}, NORTH)) == [
        ("updated", 1, (1, "Ada", 10, "north"), (1, "Ada", 11, "north")),
        ("inserted", 2, None, (2, "Ben", 20, "north")),
        ("deleted", 3, (3, "Cy", 30, "north"), None),
        ("inserted", 5, None, (5, "Eve", 50, "north")),
    ]


def test_a_consumers_own_filter_is_added(dataset: Dataset, change_set: ChangeSet) -> None:
    view = DatasetView("rows", COLUMNS, {}, NORTH)
    assert summary(dataset, change_set, view, where=Condition("id", "in", (1, 2))) == summary(
        dataset, change_set, DatasetView("rows", COLUMNS, {}, AllOf((NORTH, Condition("id", "lt", 3))))
    )


@pytest.mark.parametrize("method", ["null", "redact", "hash", "partial"])
def test_masks_change_what_is_an_update(dataset: Dataset, change_set: ChangeSet, method: Any) -> None:
    """A value that was masked before and after alike has not changed; and neither side shows it."""
    found = summary(dataset, change_set, DatasetView("rows", ("id", "name"), {"name": method}))
    assert [(what, key) for what, key, *_ in found] == [
        *([("updated", 3)] if method == "hash" else []),
        ("deleted", 4),
        ("inserted", 5),
    ]
    by_key = {key: sides for _, key, *sides in found}
    assert by_key[4] == [(4, SECRET.value(None, method)), None]
    assert by_key[5] == [None, (5, SECRET.value("Eve", method))]
    if method == "hash":
        assert by_key[3] == [(3, SECRET.value("Cy", method)), (3, SECRET.value("Cyd", method))]


def test_masked_numbers_are_null(dataset: Dataset, change_set: ChangeSet) -> None:
    view = DatasetView("rows", ("id", "salary"), {"salary": "null"})
    assert summary(dataset, change_set, view) == [
        ("deleted", 4, (4, None), None),
        ("inserted", 5, None, (5, None)),
    ]


def test_selected_columns_decide_as_well(dataset: Dataset, change_set: ChangeSet) -> None:
    view = DatasetView("rows", COLUMNS)
    found = summary(dataset, change_set, view, columns=("id", "region"))
    assert [(what, key) for what, key, *_ in found] == [
        ("updated", 2), ("updated", 3), ("deleted", 4), ("inserted", 5)
    ]  # fmt: skip


def test_a_filter_on_a_column_that_a_version_lacks_shows_nothing_of_it(dataset: Dataset) -> None:
    """Also where it is turned round: what cannot be judged is not shown."""
    dataset.publish(pa.table({"id": [1, 2]}))
    change_set = dataset.publish(pa.table({"id": [1, 2], "region": ["north", "south"]}))
    assert change_set is not None
    for rows, keys in ((NORTH, [1]), (Negation(NORTH), [2]), (Condition("region", "is_null", True), [])):
        view = DatasetView("rows", ("id", "region"), {}, rows)
        assert [(what, key) for what, key, *_ in summary(dataset, change_set, view)] == [
            ("inserted", key) for key in keys
        ]
