"""Whole answers in every format: the same rows as a page has, made once, kept within bounds, stopped in time."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import threading
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from row_helpers import COUNT, EVERY_TYPE, every_type, published

from dp_dagster.contracts.model import Column
from dp_dagster.errors import QueryLimitError, StoreError, VersionGoneError
from dp_dagster.predicates.model import EVERYTHING, AllOf, Condition
from dp_dagster.rows import export, formats, row_file
from dp_dagster.rows.query import Query, Sort
from dp_dagster.rows.stored_arrow import write_stored
from dp_dagster.storage.types import arrow_schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import duckdb
    from row_helpers import Rows

    from dp_dagster.access.view import DatasetView
    from dp_dagster.rows.conditions import Sql
    from dp_dagster.rows.formats import Put
    from dp_dagster.rows.pages import PagePlan
    from dp_dagster.rows.query import Format
    from dp_dagster.rows.store import StoreFile
    from dp_dagster.rows.version import PublishedVersion

FORMS: tuple[Format, ...] = ("json", "ndjson", "csv", "arrow", "parquet")


def exported(
    rows: Rows, view: DatasetView, query: Query, form: Format, version: PublishedVersion | None = None
) -> bytes:
    async def collect() -> bytes:
        given = (version or rows.stored).export(view, query, form)
        data = b"".join([piece async for piece in given])
        await all_kept(rows)
        return data

    return asyncio.run(collect())


async def all_kept(rows: Rows) -> None:
    """What was given is kept a moment later."""
    async with asyncio.timeout(60):
        while rows.exports.running:  # noqa: ASYNC110 - nothing tells of its end
            await asyncio.sleep(0.001)


def from_json(data: bytes) -> list[list[Any]]:
    return [list(row.values()) for row in json.loads(data)]


def from_ndjson(data: bytes) -> list[list[Any]]:
    return [list(json.loads(line).values()) for line in data.splitlines()]


def from_arrow(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()


def from_parquet(data: bytes) -> pa.Table:
    return parquet.read_table(io.BytesIO(data))


def as_text(value: Any) -> str:
    """What stands in a CSV field."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return (
        json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        if isinstance(value, list | dict)
        else str(value)
    )


QUERIES: list[Callable[[tuple[str, ...]], Query]] = [
    lambda names: Query(names, limit=None),
    lambda names: Query(names, where=Condition("id", "ge", 30), limit=None),
    lambda names: Query(names, sort=(Sort("of float64", descending=True),), limit=17),
    lambda _: Query(("text", "id"), where=Condition("id", "lt", -1), limit=None),
]


@pytest.mark.parametrize("asked", QUERIES)
def test_every_format_has_the_rows_of_a_page(rows: Rows, asked: Callable[[tuple[str, ...]], Query]) -> None:
    view = rows.view(rows=Condition("id", "ne", 7), masks={"text": "partial", "of date": "null"})
    query = asked(rows.names)
    page = [list(row) for row in rows.stored.page(view, replace(query, encoded=True)).rows]
    assert from_json(exported(rows, view, query, "json")) == page
    assert from_ndjson(exported(rows, view, query, "ndjson")) == page
    text = exported(rows, view, query, "csv").decode()
    header, *lines = csv.reader(io.StringIO(text, newline=""))
    assert header == list(query.columns)
    floats = [number for number, name in enumerate(query.columns) if EVERY_TYPE[name].startswith("float")]
    for line, row in zip(lines, page, strict=True):
        for number, (found, value) in enumerate(zip(line, row, strict=True)):
            if number in floats and value is not None and not isinstance(value, str):
                assert float(found) == value
            else:
                assert found == as_text(value)
    wanted = arrow_schema([Column(name, EVERY_TYPE[name]) for name in query.columns])
    for table in (
        from_arrow(exported(rows, view, query, "arrow")),
        from_parquet(exported(rows, view, query, "parquet")),
    ):
        assert table.schema.names == wanted.names
        assert [str(one).split("<")[0] for one in table.schema.types] == [
            str(one).split("<")[0] for one in wanted.types
        ]
        assert table.num_rows == len(page)
        assert table["id"].to_pylist() == [row[query.columns.index("id")] for row in page]


def test_null_and_an_empty_text_are_told_apart_in_csv(rows: Rows) -> None:
    text = exported(rows, rows.view(), Query(("text",), sort=(Sort("text"),), limit=None), "csv").decode()
    assert text.startswith('text\r\n""\r\n')
    assert text.endswith("\r\n\r\n")


def test_no_row_at_all(rows: Rows) -> None:
    query = Query(("id",), where=Condition("id", "lt", 0), limit=None)
    assert exported(rows, rows.view(), query, "json") == b"[]"
    assert exported(rows, rows.view(), query, "ndjson") == b""
    assert exported(rows, rows.view(), query, "csv") == b"id\r\n"


def kept(rows: Rows) -> set[str]:
    return {path.name for path in (rows.folder / "exports").iterdir()}


@pytest.fixture
def one_file(tmp_path: Path) -> Any:
    """A version in one file, in the order of its key."""
    table = every_type().sort_by("id")
    with published(tmp_path, [table], EVERY_TYPE, ("id",), room=400_000, largest=90_000) as made:
        yield made


def test_an_answer_is_kept_for_who_sees_the_same(one_file: Rows) -> None:
    query = Query(("id", "text"), limit=None)
    first = exported(one_file, one_file.view(), query, "csv")
    (name,) = kept(one_file)
    # What is kept is what is given.
    path = one_file.folder / "exports" / name
    path.write_bytes(first + b"kept")
    assert exported(one_file, one_file.view(), query, "csv") == first + b"kept"
    masked = exported(one_file, one_file.view(masks={"text": "null"}), query, "csv")
    assert b"kept" not in masked
    assert exported(one_file, one_file.view(), replace(query, limit=3), "csv").count(b"\r\n") == 4
    assert len(kept(one_file)) == 3


@pytest.mark.parametrize("form", FORMS)
def test_size_and_rows_of_an_answer(one_file: Rows, form: Format) -> None:
    """Rows are counted while it is made; the size is known of what was kept."""
    where = Condition("id", "ge", 20)
    query = Query(("id", "text"), where=where, limit=None)

    async def read() -> tuple[int | None, int | None, int]:
        pieces = one_file.stored.export(one_file.view(), query, form)
        given = sum([len(piece) async for piece in pieces])
        await all_kept(one_file)
        return pieces.size, pieces.rows, given

    size, rows, given = asyncio.run(read())
    assert (size, rows) == (None, COUNT - 20)
    assert one_file.stored.count(one_file.view(), where) == COUNT - 20
    assert asyncio.run(read()) == (given, COUNT - 20, given)


def _between(first: int, end: int) -> AllOf:
    return AllOf((Condition("id", "ge", first), AllOf((Condition("id", "lt", end),))))


@pytest.mark.parametrize("key", [("id",), ("group", "id"), ()], ids=["key", "two columns", "no key"])
def test_arrow_from_the_row_store_is_what_duckdb_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: tuple[str, ...]
) -> None:
    table = every_type()
    flat = tuple(name for name, kind in EVERY_TYPE.items() if "<" not in kind and "38" not in kind)
    large = table.schema.get_field_index("text")
    table = table.set_column(large, "text", table.column("text").cast(pa.large_string()))
    asked = [
        EVERYTHING,
        _between(7, 45),
        _between(45, 7),
        _between(-(2**63), 2**63 - 1),
        Condition("id", "gt", 2**63 - 1),
        Condition("id", "le", 30),
        Condition("id", "eq", 30),
        Condition("id", "ne", 30),
        AllOf((Condition("id", "ge", 30), Condition("group", "eq", "B"))),
        Condition("text", "eq", "a"),
        Condition("of float64", "ge", float("nan")),
        Condition("group", "eq", "nowhere"),
    ]
    by_store: list[PagePlan] = []

    def write(store: StoreFile, plan: PagePlan, put: Put) -> None:
        by_store.append(plan)
        write_stored(store, plan, put)

    monkeypatch.setattr(export, "write_stored", write)
    monkeypatch.setattr(row_file, "BATCH_ROWS", 7)
    with published(tmp_path, [table], EVERY_TYPE, key, room=1, indexes=(("text",),)) as made:
        position = made.stored.page(made.view(), Query(("id",), limit=9)).last
        views = (made.view(), made.view(rows=_between(1, 50)))
        for where, columns, after, view in product(asked, (flat, ("text", "group")), (None, position), views):
            query = Query(columns, where=where, limit=None, after=after)
            found = from_arrow(exported(made, view, query, "arrow"))
            right = from_arrow(exported(made, view, query, "arrow", made.files))
            assert found.schema == right.schema
            assert str(found.to_pylist()) == str(right.to_pylist()), where
        assert len(by_store) == 2 * 2 * 2 * len(asked)
        # What is masked, nested, or in another order is DuckDB's.
        by_store.clear()
        query = Query(("id", "text"), limit=None)
        exported(made, made.view(masks={"text": "redact"}), query, "arrow")
        for other in (
            replace(query, sort=(Sort("text"),)),
            replace(query, sort=(Sort("id", descending=True),)),
            replace(query, limit=5),
            replace(query, columns=("id", "map")),
            replace(query, columns=("of decimal(38,2)",)),
        ):
            exported(made, made.view(), other, "arrow")
        assert by_store == []
        # Rows whose files were removed live on nowhere.
        made.stored.published_files()[0].unlink()
        with pytest.raises(VersionGoneError):
            exported(made, made.view(), query, "arrow")
        assert len(by_store) == 1


def test_arrow_from_a_row_store_that_is_damaged(tmp_path: Path) -> None:
    """Is broken off, and read from the files from then on."""
    with published(tmp_path, [every_type()], EVERY_TYPE, ("id",), room=1) as made:
        with (tmp_path / "store.db").open("r+b") as file:
            file.seek(200)
            file.write(b"\xff")
        query = Query(("id", "text"), limit=None)
        with pytest.raises(StoreError, match="damaged"):
            exported(made, made.view(), query, "arrow")
        assert made.stored.store is None
        assert from_arrow(exported(made, made.view(), query, "arrow")).num_rows == COUNT


def test_what_is_kept_stays_within_its_room(tmp_path: Path) -> None:
    with published(tmp_path, [every_type()], EVERY_TYPE, ("id",), room=8_000) as made:
        for limit in range(1, 60):
            exported(made, made.view(), Query(("id", "text"), limit=limit), "json")
        sizes = {path: path.stat().st_size for path in (tmp_path / "exports").iterdir()}
        assert sum(sizes.values()) <= 8_000
        # What would push out all others is not kept, and is given all the same.
        before = kept(made)
        assert len(exported(made, made.view(), Query(made.names, limit=None), "json")) > 2_000
        assert kept(made) == before


def test_too_large_and_too_slow(tmp_path: Path) -> None:
    with (
        published(tmp_path, [every_type()], EVERY_TYPE, ("id",), largest=500) as made,
        pytest.raises(QueryLimitError, match="larger than 500 bytes"),
    ):
        exported(made, made.view(), Query(made.names, limit=None), "json")
    assert list((tmp_path / "exports").iterdir()) == []
    slow = tmp_path / "slow"
    slow.mkdir()
    with (
        published(slow, [every_type()], EVERY_TYPE, ("id",), seconds=0.000_001) as made,
        pytest.raises(QueryLimitError, match="longer than"),
    ):
        exported(made, made.view(), Query(made.names, limit=None), "json")


def test_what_is_stopped_in_the_middle_is_told_as_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow's interface hands an interrupt on as the text of an OSError."""
    rows = 3 * 4_096
    table = pa.table({"id": range(rows), "text": ["a text"] * rows})
    pieces = 0

    def write(cursor: duckdb.DuckDBPyConnection, sql: Sql, put: Put) -> None:
        def then_stop(data: Any, count: int = 0) -> None:
            nonlocal pieces
            put(data, count)
            pieces += 1
            cursor.interrupt()

        formats.write_ndjson(cursor, sql, then_stop)

    monkeypatch.setattr(export, "writer_of", lambda *_: write)
    with (
        published(tmp_path, [table], {"id": "int64", "text": "string"}, ("id",)) as made,
        pytest.raises(StoreError, match="was stopped"),
    ):
        exported(made, made.view(), Query(made.names, limit=None), "ndjson")
    assert pieces == 1
    assert list((tmp_path / "exports").iterdir()) == []


def test_two_who_ask_the_same_share_the_work(one_file: Rows) -> None:
    query = Query(one_file.names, limit=None)

    async def both() -> list[bytes]:
        async def collect() -> bytes:
            return b"".join(
                [piece async for piece in one_file.stored.export(one_file.view(), query, "ndjson")]
            )

        first = asyncio.ensure_future(collect())
        second = asyncio.ensure_future(collect())
        # Both begin before the thread that makes the answer can have told the loop anything.
        await asyncio.sleep(0)
        assert len(one_file.exports.running) == 1
        return list(await asyncio.gather(first, second))

    first, second = asyncio.run(both())
    assert first == second
    assert len(first.splitlines()) == 60


def test_no_reader_waits_until_the_answer_is_kept(
    one_file: Rows, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    may_keep = threading.Event()

    def keep(*_: object) -> None:
        assert may_keep.wait(60)
        raise OSError("the disk is full")

    monkeypatch.setattr(one_file.exports, "keep", keep)

    async def read() -> list[bytes]:
        texts = []
        query = Query(one_file.names, limit=None)
        async with asyncio.timeout(30):
            # The second one finds it made and not yet kept.
            for _ in range(2):
                pieces = one_file.stored.export(one_file.view(), query, "ndjson")
                texts.append(b"".join([piece async for piece in pieces]))
        assert len(one_file.exports.running) == 1
        may_keep.set()
        await all_kept(one_file)
        return texts

    first, second = asyncio.run(read())
    assert first == second
    assert len(first.splitlines()) == 60
    # It was given whole; that the next one waits longer is the operator's to know.
    assert "cannot be kept: the disk is full" in caplog.text
    assert kept(one_file) == set()


def test_a_reader_who_leaves_stops_the_work(one_file: Rows) -> None:
    async def leave() -> None:
        pieces = one_file.stored.export(one_file.view(), Query(one_file.names, limit=None), "ndjson")
        await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]  # an asynchronous generator
        async with asyncio.timeout(30):
            # Its thread tells the loop when it has stopped.
            while one_file.exports.running or any("unfinished" in name for name in kept(one_file)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    asyncio.run(leave())


def test_parquet_of_a_whole_view_is_the_published_file(one_file: Rows, tmp_path: Path) -> None:
    query = Query(one_file.names, limit=None)
    layout = replace(one_file.stored.source.layout, sorted_by_key=True)
    one_file.stored.source = replace(one_file.stored.source, layout=layout)
    (file,) = one_file.stored.published_files()
    assert exported(one_file, one_file.view(), query, "parquet") == file.read_bytes()
    assert kept(one_file) == set()
    for other in (
        one_file.view(masks={"text": "null"}),
        one_file.view(rows=Condition("id", "lt", 5)),
    ):
        assert exported(one_file, other, query, "parquet") != file.read_bytes()
    assert not one_file.stored.hands_out_files(one_file.view(columns=("id",)))


def test_files_that_are_gone(one_file: Rows) -> None:
    for file in one_file.stored.published_files():
        file.unlink()
    with pytest.raises(VersionGoneError, match="start again"):
        exported(one_file, one_file.view(), Query(("id",), limit=None), "json")
    with pytest.raises(VersionGoneError, match="start again"):
        one_file.files.page(one_file.view(), Query(("id",)))
