"""The row store and the published files give the same answers, whatever is asked; Polars says what is right."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any

import orjson
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from row_helpers import COUNT, EVERY_TYPE, NAMES, VALUES, every_type_frame

from dp_dagster.contracts.model import Column
from dp_dagster.errors import AccessDeniedError, UsageError
from dp_dagster.ports.values import row_encoder
from dp_dagster.predicates.conditions import operators_for
from dp_dagster.predicates.expressions import to_polars
from dp_dagster.predicates.model import EVERYTHING, AllOf, AnyOf, Condition, Negation, Predicate
from dp_dagster.rows import store as store_module
from dp_dagster.rows.query import Query, Sort
from dp_dagster.rows.store import StoreFile, TooSlowError
from dp_dagster.rows.wanted import wanted_rows

if TYPE_CHECKING:
    from row_helpers import Rows

    from dp_dagster.access.view import DatasetView
    from dp_dagster.rows.version import PublishedVersion

COMPARED = [(NAMES[kind], kind) for kind in VALUES]
# Of the keys, too, by which rows are found without looking at them.
FILTERED = [*COMPARED, ("id", "int64"), ("group", "string"), ("id", "int64"), ("group", "string")]
FRAME = every_type_frame()
_ZERO = re.compile(r"-0\.0(?![0-9])")
AGREE = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    name, kind = draw(st.sampled_from(FILTERED))
    operator = draw(st.sampled_from(operators_for(kind)))
    if operator == "is_null":
        return Condition(name, operator, draw(st.booleans()))
    values = st.sampled_from(
        {"id": [0, 7, 30, 59, 2**40], "group": ["B", "b", "b\0"]}.get(name, VALUES[kind])
    )
    if operator in {"in", "not_in"}:
        return Condition(name, operator, tuple(draw(st.lists(values, max_size=3))))
    return Condition(name, operator, draw(values))


PREDICATES: st.SearchStrategy[Predicate] = st.recursive(
    conditions(),
    lambda part: st.one_of(
        st.lists(part, max_size=3).map(lambda parts: AllOf(tuple(parts))),
        st.lists(part, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
        part.map(Negation),
    ),
    max_leaves=4,
)
SORTS = st.lists(
    st.tuples(st.sampled_from([name for name, _ in COMPARED] + ["id", "group"]), st.booleans()),
    max_size=2,
    unique_by=lambda one: one[0],
).map(lambda found: tuple(Sort(*one) for one in found))


def same(first: Any, second: Any) -> bool:
    """Equal by their texts, in which NaN is itself. DuckDB's windows make 0.0 of -0.0."""
    return _ZERO.sub("0.0", repr(first)) == _ZERO.sub("0.0", repr(second))


def ids(found: PublishedVersion, view: DatasetView, query: Query) -> list[int]:
    return [row[0] for row in found.page(view, query).rows]


@AGREE
@given(where=PREDICATES, own=st.one_of(st.just(EVERYTHING), PREDICATES), sort=SORTS)
def test_filters_orders_and_row_filters(
    rows: Rows, where: Predicate, own: Predicate, sort: tuple[Sort, ...]
) -> None:
    view = rows.view(rows=own)
    query = Query(("id", *rows.names), where=where, sort=sort, limit=None)
    stored = rows.stored.page(view, query)
    assert same(stored.rows, rows.files.page(view, query).rows)
    both = to_polars(AllOf((where, own)), EVERY_TYPE)
    right = FRAME.filter(both)
    assert sorted(row[0] for row in stored.rows) == sorted(right["id"].to_list())
    assert rows.stored.count(view, where) == rows.files.count(view, where) == right.height


@AGREE
@given(where=st.one_of(st.just(EVERYTHING), PREDICATES), sort=SORTS, limit=st.integers(7, 30))
def test_pages_forward_and_backward(rows: Rows, where: Predicate, sort: tuple[Sort, ...], limit: int) -> None:
    """Walking from page to page, in turn with either engine, meets each row once, in order."""
    view = rows.view()
    query = Query(("id",), where=where, sort=sort, limit=limit)
    whole = ids(rows.files, view, replace(query, limit=None))
    for backward in (False, True):
        met: list[int] = []
        step = replace(query, backward=backward)
        for number in range(COUNT + 1):
            found = (rows.stored, rows.files)[number % 2].page(view, step)
            numbers = [row[0] for row in found.rows]
            met = numbers + met if backward else met + numbers
            if not found.has_more:
                break
            step = replace(query, before=found.first) if backward else replace(query, after=found.last)
        assert met == whole


def test_sorted_as_said(rows: Rows) -> None:
    """By code point and by value, nulls last in either direction, NaN above all."""
    view = rows.view()
    for name, kind in COMPARED:
        for descending in (False, True):
            query = Query((name,), sort=(Sort(name, descending),), limit=None)
            found = [row[0] for row in rows.stored.page(view, query).rows]
            values = [value for value in FRAME[name].to_list() if value is not None]
            values.sort(key=lambda value: _rank(value, kind), reverse=descending)
            assert [_rank(value, kind) for value in found if value is not None] == [
                _rank(value, kind) for value in values
            ]
            assert all(value is None for value in found[len(values) :])


def _rank(value: Any, kind: str) -> Any:
    if kind.startswith("float"):
        return (value != value, 0.0 if value != value else value)  # noqa: PLR0124 - NaN
    return value.encode() if isinstance(value, str) else value


def test_every_position_goes_on_where_it_says(rows: Rows) -> None:
    view = rows.view()
    for sort in (
        (),
        (Sort("of float64", descending=True),),
        (Sort("text"), Sort("of date", descending=True)),
    ):
        query = Query(("id",), sort=sort, limit=None, positions=True)
        page = rows.stored.page(view, query)
        numbers = [row[0] for row in page.rows]
        assert page.positions == rows.files.page(view, query).positions
        for place, position in list(enumerate(page.positions))[::7]:
            assert ids(rows.stored, view, replace(query, after=position)) == numbers[place + 1 :]
            assert ids(rows.files, view, replace(query, before=position)) == numbers[:place]


def test_looking_up(rows: Rows) -> None:
    view = rows.view(rows=Condition("id", "lt", 50))
    columns = ("id", "text", "of float64", "map")
    by = rows.stored.key or ("id",)
    for row in FRAME.head(12).select(*by, pl.col("id").alias("number")).iter_rows():
        key, number = row[: len(by)], row[-1]
        if rows.stored.key:
            found = rows.stored.lookup(view, key, columns)
            assert same(found, rows.files.lookup(view, key, columns))
            assert (found is None) == (number >= 50)
    texts = [("a",), ("a\0b",), ("",), ("nowhere",)]
    for limit in (None, 2):
        many = rows.stored.lookup_many(view, ("text",), texts, columns, limit=limit)
        assert same(many, rows.files.lookup_many(view, ("text",), texts, columns, limit=limit))
        for (text,), group in many.items():
            right = FRAME.filter((pl.col("text") == text) & (pl.col("id") < 50))["id"].to_list()
            assert {row[0] for row in group} <= set(right)
            assert len(group) == (len(right) if limit is None else min(limit, len(right)))
        assert set(many) == {("a",), ("a\0b",), ("",)}


@pytest.mark.parametrize(
    ("query", "named"),
    [
        (Query(("id", "text")), "text"),
        (Query(("id",), where=Condition("text", "eq", "a")), "text"),
        (Query(("id",), sort=(Sort("text"),)), "text"),
        (Query(("id",), where=Negation(AnyOf((Condition("of date", "is_null", True),)))), "of date"),
        (Query(("id",), sort=(Sort("of date"),)), "of date"),
        (Query(("no such column",)), "no such column"),
    ],
)
def test_what_is_not_granted_or_masked_is_refused(rows: Rows, query: Query, named: str) -> None:
    """In the selection only what is not granted; in filter and order also what is masked."""
    view = rows.view(columns=("id", "group", "of date"), masks={"of date": "null"})
    for found in (rows.stored, rows.files):
        with pytest.raises(AccessDeniedError, match=named):
            found.page(view, query)
        with pytest.raises(AccessDeniedError, match=named):
            found.export(view, query, "csv")
    if query.where != EVERYTHING:
        with pytest.raises(AccessDeniedError, match=named):
            rows.stored.count(view, query.where)
    with pytest.raises(AccessDeniedError, match="of date"):
        rows.stored.lookup_many(view, ("of date",), [(None,)], ("id",))


def test_masks(rows: Rows) -> None:
    view = rows.view(masks={"text": "hash", "of date": "null", "list": "null"})
    query = Query(("id", "text", "of date", "list"), limit=None)
    stored, files = rows.stored.page(view, query).rows, rows.files.page(view, query).rows
    assert stored == files
    clear = dict(FRAME.select("id", "text").iter_rows())
    for number, text, day, numbers in stored:
        assert day is None
        assert numbers is None
        assert (text is None) == (clear[number] is None)
        assert text is None or (len(text) == 32 and text != clear[number])


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (Query(("id",), where=Condition("list", "eq", "x")), "list"),
        (Query(("id",), sort=(Sort("struct"),)), "struct"),
        (Query(("id",), where=Condition("of int64", "eq", "x")), "of int64"),
        (Query(("id",), where=Condition("of date", "eq", "2024-13-01")), "of date"),
        (Query(("id",), where=Condition("text", "contains", "\ud800")), "text"),
        (Query(("id",), where=Condition("of int64", "starts_with", "1")), "of int64"),
        (Query(("id",), sort=(Sort("id"), Sort("id"))), "twice"),
        (Query(("id",), limit=0), "limit"),
        (Query(("id",), where=Condition("of int64", "eq", 2**63)), "of int64"),
        (Query(("id",), where=Condition("of timestamp", "eq", datetime(2024, 1, 1, tzinfo=UTC))), "zone"),
        (Query(("id",), where=Condition("of decimal(9,2)", "eq", Decimal("0.001"))), "places"),
        (Query(("id",), where=Condition("of binary", "eq", "x")), "of binary"),
        (Query(("id",), where=Condition("id", "in", tuple(range(10_001)))), "too many"),
    ],
)
def test_what_cannot_be_asked(rows: Rows, query: Query, said: str) -> None:
    for found in (rows.stored, rows.files):
        with pytest.raises(UsageError, match=said):
            found.page(rows.view(), query)


def test_a_position_of_another_query(rows: Rows) -> None:
    page = rows.stored.page(rows.view(), Query(("id",), sort=(Sort("text"), Sort("of date")), limit=5))
    for found in (rows.stored, rows.files):
        with pytest.raises(UsageError, match="another query"):
            found.page(rows.view(), Query(("id",), after=page.last))


def test_a_column_that_an_older_version_lacks(rows: Rows) -> None:
    view = rows.view(columns=("id", "group", "newer"))
    with pytest.raises(UsageError, match="newer"):
        rows.stored.page(view, Query(("newer",)))


def test_nested_columns_can_be_asked_for_null(rows: Rows) -> None:
    query = Query(("id",), where=Condition("map", "is_null", True), limit=None)
    wanted = sorted(FRAME.filter(pl.col("map").is_null())["id"].to_list())
    assert (
        sorted(ids(rows.stored, rows.view(), query)) == sorted(ids(rows.files, rows.view(), query)) == wanted
    )


def test_what_a_contract_calls_its_columns_meets_nothing_of_ours(tmp_path: Any) -> None:
    """Names of the row store's own columns, and of DuckDB's."""
    import pyarrow as pa
    from row_helpers import published

    types = {"c1": "int64", "c0": "int64", "n": "string", 'a "b"': "float64", "key": "int64", "line": "date"}
    table = pa.table(
        {
            "c1": [3, 1, 2],
            "c0": [1, 2, 3],
            "n": ["x", "y", "z"],
            'a "b"': [float("nan"), None, 1.0],
            "key": [1, 1, 1],
            "line": pa.array([1, 2, 3], pa.date32()),
        }
    )
    with published(tmp_path, [table], types, ("c1",), indexes=(("n",),)) as made:
        query = Query(tuple(types), limit=None)
        found = made.stored.page(made.view(), query)
        assert same(found.rows, made.files.page(made.view(), query).rows)
        assert [row[0] for row in found.rows] == [1, 2, 3]
        assert Column("c1", "int64") in made.stored.columns


def test_values_as_json_has_them(rows: Rows) -> None:
    """The same as the served kinds make of Python values."""
    encode = row_encoder(rows.stored.columns)
    view = rows.view(masks={"text": "partial", "of decimal(38,2)": "null"})
    query = Query(rows.names, limit=None)
    plain = rows.stored.page(view, query).rows
    for found in (rows.stored, rows.files):
        encoded = found.page(view, replace(query, encoded=True)).rows
        assert same(encoded, [tuple(encode(row).values()) for row in plain])


def test_empty_texts(rows: Rows) -> None:
    """They hold, begin and end with no other text, which is false and not unknown."""
    for operator in ("contains", "starts_with", "ends_with"):
        none_of = Negation(Condition("text", operator, "a"))
        query = Query(("text",), where=AllOf((none_of, Condition("text", "le", ""))), limit=None)
        found = rows.stored.page(rows.view(), query).rows
        assert {row[0] for row in found} == {""}, operator
        assert found == rows.files.page(rows.view(), query).rows


def test_rows_as_texts(rows: Rows) -> None:
    """Kept in the row store for whole views; made of values for all others. Always the same objects."""
    masked = rows.view(masks={"text": "partial", "of decimal(38,2)": "null"})
    sorts = ((), (Sort("id", descending=True),), (Sort("group"),))
    for view, names, sort in product((rows.view(), masked), (rows.names, ("text", "id")), sorts):
        query = Query(names, sort=sort, limit=7, positions=True)
        encoded = rows.stored.page(view, replace(query, encoded=True))
        objects = [dict(zip(names, row, strict=True)) for row in encoded.rows]
        for found in (rows.stored, rows.files):
            page = found.page(view, replace(query, texts=True))
            assert not page.rows
            assert same([orjson.loads(text) for text in page.texts], objects)
            assert replace(page, texts=[]) == replace(encoded, rows=[])
            joined = found.page(view, replace(query, joined=True))
            assert same(orjson.loads(b"[%b]" % joined.joined), objects)
            assert replace(joined, joined=b"") == replace(page, texts=[])
            assert joined.count == len(objects) == 7
            if rows.stored.key:
                keys = rows.stored.page(view, replace(query, columns=rows.stored.key)).rows
                texts = [asyncio.run(found.fetch_text(view, key, names)) for key in keys]
                assert [orjson.loads(text) for text in texts if text] == objects
                nobody = tuple(COUNT if name == "id" else "B" for name in rows.stored.key)
                assert asyncio.run(found.fetch_text(view, nobody, names)) is None


def test_a_filter_that_takes_too_long_is_left_to_the_files_for_a_while(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that one, and not for good: with other values it may be quick."""
    asked: list[int] = []
    store = rows.stored.store
    assert store is not None
    is_slow = True

    def answer(*arguments: Any, **options: Any) -> list[int]:
        asked.append(arguments[4] or 0)
        if is_slow:
            raise TooSlowError
        return StoreFile.select(store, *arguments, **options)

    monkeypatch.setattr(store, "select", answer)
    query = Query(("id",), where=Condition("text", "ne", "B"), limit=5)

    def tries(count: int, asked_for: Query = query) -> int:
        asked.clear()
        for _ in range(count):
            assert len(asyncio.run(rows.stored.fetch_page(rows.view(), asked_for)).rows) == 5
        return len(asked)

    # At once again, then after one, after three and ever after seven that went to the files.
    assert [tries(count) for count in (1, 1, 2, 4, 8, 8)] == [1] * 6
    is_slow = False
    assert tries(2, replace(query, where=Condition("text", "ge", "B"))) == 2
    assert tries(8) == 1
    assert tries(3) == 3
    assert min(asked) > 0


def test_what_is_looked_at_is_bounded(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    store = rows.stored.store
    assert store is not None
    layout = rows.stored.source.layout
    wanted = wanted_rows(store, layout, Condition("text", "eq", "nowhere"), Condition("id", "ne", 1))
    assert wanted.span.first == wanted.span.end
    wanted = wanted_rows(store, layout, EVERYTHING, Condition("text", "contains", "nowhere"))
    assert store.select(wanted.span, wanted.matches, 5, 60.0, COUNT) == []
    with pytest.raises(TooSlowError):
        store.select(wanted.span, wanted.matches, 5, 60.0, COUNT - 1)
    monkeypatch.setattr(store_module, "_UNTIMED_ROWS", 30)
    with pytest.raises(TooSlowError):
        store.select(wanted.span, wanted.matches, 5, -1.0)
