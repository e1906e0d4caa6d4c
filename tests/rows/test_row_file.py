"""The row store's file: what is in it is found, and what is not as it was written is noticed."""

from __future__ import annotations

import itertools
import time
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from row_helpers import published

from dp_dagster.errors import StoreError, UsageError
from dp_dagster.predicates.model import Condition
from dp_dagster.rows import row_file
from dp_dagster.rows.build import build
from dp_dagster.rows.layout import Layout
from dp_dagster.rows.query import Query
from dp_dagster.rows.store import CHECK_SECONDS, Span, StoreFile

if TYPE_CHECKING:
    from pathlib import Path

TYPES = {"first": "string", "second": "int64", "other": "string", "more": "int32"}
KEYS = [(first, second) for first in ("", "a", "a\0", "b", "é") for second in (-3, 0, 5, 2**40)]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_file, "BATCH_ROWS", 3)


def table(keys: list[tuple[Any, Any]] = KEYS) -> pa.Table:
    return pa.table(
        {
            "first": pa.array([key[0] for key in keys], pa.string()),
            "second": pa.array([key[1] for key in keys], pa.int64()),
            "other": pa.array(
                [None if number % 5 == 0 else f"o{number % 3}" for number in range(len(keys))], pa.string()
            ),
            "more": pa.array([number % 4 for number in range(len(keys))], pa.int32()),
        }
    )


def written(folder: Path, keys: list[tuple[Any, Any]], **options: Any) -> Path:
    from pyarrow import parquet

    parquet.write_table(table(keys), folder / "rows.parquet")
    layout = Layout(
        tuple(TYPES.items()), ("first", "second"), (str(folder / "rows.parquet"),), texts=True, **options
    )
    build(folder / "rows.db", layout)
    return folder / "rows.db"


def test_bounds_of_keys_and_of_their_beginnings(tmp_path: Path) -> None:
    store = StoreFile(written(tmp_path, KEYS[::-1]))
    texts = ["", "\0", "a", "a\0", "a\0\0", "ab", "b", "é", "z"]
    for key in itertools.product(texts, (-4, -3, 0, 1, 2**40, 2**41)):
        assert store.bound(key) == bisect_left(KEYS, key)
        assert store.bound(key, after=True) == bisect_right(KEYS, key)
        assert (store.find(key) is not None) == (key in KEYS)
    for text in texts:
        firsts = [key[0] for key in KEYS]
        assert store.bound((text,)) == bisect_left(firsts, text)
        assert store.bound((text,), after=True) == bisect_right(firsts, text)
    assert [store.find(key) for key in KEYS] == list(range(len(KEYS)))
    assert store.keys([7, 2, 3, 19, 0]) == [KEYS[number] for number in (7, 2, 3, 19, 0)]
    with pytest.raises(UsageError, match="compared"):
        store.bound((3, "a"))


def test_both_ends_of_a_span(tmp_path: Path) -> None:
    store = StoreFile(written(tmp_path, KEYS))
    for first, end, limit in itertools.product(range(0, 20, 3), range(0, 21, 4), (1, 4, None)):
        numbers = list(range(first, end))
        assert store.select(Span(first, max(first, end)), (), limit, 60.0) == numbers[:limit]
        backward = store.select(Span(first, max(first, end)), (), limit, 60.0, backward=True)
        assert backward == numbers[::-1][:limit]


def test_rows_by_an_index_and_by_its_beginning(tmp_path: Path) -> None:
    """In the order of the key, whichever way they are found; and no row without a value."""
    types, key = TYPES, ("first", "second")
    with published(tmp_path, [table()], types, key, indexes=(("other", "more"), ("more",))) as made:
        for row_filter in (None, Condition("second", "ge", 0)):
            view = made.view() if row_filter is None else made.view(rows=row_filter)
            for by, values in (
                (("other",), [("o0",), ("o1",), ("nowhere",)]),
                (("more", "other"), [(1, "o1"), (2, "o2"), (3, "o0")]),
                (("more",), [(0,), (3,), (9,)]),
                (("first",), [("a",), ("é",)]),
            ):
                for limit in (None, 1, 2):
                    found = made.stored.lookup_many(view, by, values, made.names, limit=limit)
                    assert found == made.files.lookup_many(view, by, values, made.names, limit=limit)
                    assert found
            for where in (Condition("more", "eq", 3), Condition("other", "eq", "o1")):
                for backward in (False, True):
                    query = Query(made.names, where=where, limit=4, backward=backward)
                    page = made.stored.page(view, query)
                    assert page.rows == made.files.page(view, query).rows
                    assert page.rows
                    on = {"before": page.first} if backward else {"after": page.last}
                    further = Query(made.names, where=where, limit=4, **on)
                    assert made.stored.page(view, further).rows == made.files.page(view, further).rows


@pytest.mark.parametrize("keys", [[("a", 1), ("b", 2), ("a", 1)], [("a", 1), ("b", None)], [(None, 1)]])
@pytest.mark.parametrize("sorted_by_key", [True, False])
def test_keys_that_are_none(tmp_path: Path, keys: list[tuple[Any, Any]], sorted_by_key: bool) -> None:
    with pytest.raises(StoreError, match="key"):
        written(tmp_path, keys, sorted_by_key=sorted_by_key)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == ["rows.parquet"]


def test_rows_that_are_not_in_the_order_that_was_said(tmp_path: Path) -> None:
    store = StoreFile(written(tmp_path, KEYS[::-1], sorted_by_key=True))
    assert store.keys(range(store.rows)) == KEYS


def test_one_row(tmp_path: Path) -> None:
    assert StoreFile(written(tmp_path, KEYS[:1])).keys([0]) == KEYS[:1]


def test_no_rows(tmp_path: Path) -> None:
    with published(tmp_path, [table([])], TYPES, ("first", "second"), indexes=(("more",),)) as made:
        view = made.view()
        assert made.stored.page(view, Query(made.names)).rows == []
        assert made.stored.page(view, Query(made.names, joined=True)).joined == b""
        assert made.stored.lookup(view, ("a", 1), made.names) is None
        assert made.stored.lookup_many(view, ("more",), [(1,)], made.names) == {}
        assert made.stored.store is not None


def test_every_byte_is_watched_over(tmp_path: Path) -> None:
    """Whichever is another one: an error when the file is opened or read, and never another answer."""
    path = written(tmp_path, KEYS)
    good = path.read_bytes()
    whole = StoreFile(path)
    right = whole.values(range(len(KEYS)), ["c0", "c1", "c2", "c3"]), whole.texts(range(len(KEYS)))
    noticed = 0
    for place in range(0, len(good), 5):
        other = tmp_path / f"{place}.db"
        other.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            store = StoreFile(other)
            found = store.values(range(len(KEYS)), ["c0", "c1", "c2", "c3"]), store.texts(range(len(KEYS)))
        except StoreError as error:
            assert str(other) in str(error)  # noqa: PT017 - either is right
            noticed += 1
        else:
            # What stands between the parts means nothing.
            assert found == right
        other.unlink()
    assert noticed > len(good) // 5 * 0.8
    for size in (0, 5, 100, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:size])
        with pytest.raises(StoreError, match="damaged"):
            StoreFile(path)


def test_a_file_that_is_written_to_while_it_is_read(tmp_path: Path) -> None:
    """Nothing that was read before is trusted any more, a moment later at the latest."""
    path = written(tmp_path, KEYS)
    store = StoreFile(path)
    assert store.find(KEYS[3]) == 3
    with path.open("r+b") as file:
        file.seek(200)
        file.write(b"\xff")
    time.sleep(CHECK_SECONDS)
    with pytest.raises(StoreError, match="changed"):
        store.find(KEYS[3])


def test_a_file_that_is_removed_while_it_is_read(tmp_path: Path) -> None:
    """Who holds it goes on with it."""
    path = written(tmp_path, KEYS)
    store = StoreFile(path)
    path.unlink()
    assert store.find(KEYS[3]) == 3
