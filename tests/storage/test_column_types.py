"""Types: what is let through reads back alike everywhere, what is not is refused with a way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from store_helpers import Publisher, write

from dp_dagster.errors import PublicationRefusedError, StoreError
from dp_dagster.storage import Table, input_table
from dp_dagster.storage.types import (
    arrow_schema,
    columns_of,
    columns_of_delta,
    delta_schema_json,
    needs_timestamp_without_zone,
)

if TYPE_CHECKING:
    from pathlib import Path

    from dp_dagster.storage import Draft, Snapshot

# Expression in DuckDB and its canonical type; the writers of most candidates are DuckDB.
FROM_DUCKDB = {
    "true": "bool",
    "1::tinyint": "int8",
    "1::smallint": "int16",
    "1::integer": "int32",
    "1::bigint": "int64",
    "1.5::float": "float32",
    "1.5::double": "float64",
    "12.34::decimal(9, 2)": "decimal(9,2)",
    "12.34::decimal(38, 10)": "decimal(38,10)",
    "'text'": "string",
    "'text'::enum('text', 'other')": "string",
    "'\\xAA'::blob": "binary",
    "date '2026-01-02'": "date",
    "timestamp '2026-01-02 03:04:05.678901'": "timestamp",
    "timestamptz '2026-01-02 03:04:05.678901+00'": "timestamp(UTC)",
    "[1, null]::bigint[]": "list<int64>",
    "{'a': 1::bigint, 'b c': 'x'}": 'struct<a: int64, "b c": string>',
    "map {'k': 1::bigint}": "map<string, int64>",
    "[{'at': timestamp '2026-01-02 03:04:05', 'tags': ['x']}]": "list<struct<at: timestamp, tags: list<string>>>",
}

REFUSED_FROM_DUCKDB = {
    "1::utinyint": "BIGINT",
    "1::ubigint": "DECIMAL",
    "uuid()": "VARCHAR",
    "time '03:04:05'": "VARCHAR",
    "interval 1 day": "cast it to",
    "timestamp_ns '2026-01-02 03:04:05.123456789'": "cast it to TIMESTAMP",
    "timestamp_ms '2026-01-02 03:04:05.123'": "cast it to TIMESTAMP",
    "[uuid()]": "VARCHAR",
    "{'a': 1::uinteger}": "BIGINT",
}


def from_duckdb(draft: Draft, query: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"copy ({query}) to '{draft.new_file()}' (format parquet)")


def read_everywhere(snapshot: Snapshot) -> list[list[dict[str, object]]]:
    """The same version by DuckDB and Polars over its files, pyarrow, and Polars as a Delta table."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        by_duckdb = connection.read_parquet(list(snapshot.files)).to_arrow_table()
    return [
        table.cast(snapshot.schema).to_pylist(maps_as_pydicts="strict")
        for table in (
            by_duckdb,
            pa.concat_tables([parquet.read_table(path) for path in snapshot.files]),
            _without_views(pl.read_parquet(list(snapshot.files))),
            _without_views(
                pl.read_delta(snapshot.location.uri, version=snapshot.version),
            ),
        )
    ]


def _without_views(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


@pytest.mark.parametrize(("expression", "canonical"), FROM_DUCKDB.items())
def test_what_duckdb_writes_reads_back_alike_everywhere(
    tmp_path: Path, expression: str, canonical: str
) -> None:
    table = Table(input_table(str(tmp_path), "flights", "sample"))
    draft = table.draft("run")
    from_duckdb(draft, f"select {expression} as value union all select null")
    candidate = draft.seal()
    assert [(column.name, column.type) for column in candidate.columns] == [("value", canonical)]
    snapshot = table.publish(candidate, None, {}, contract_hash=None)
    assert [column.type for column in snapshot.columns] == [canonical]
    if canonical.startswith("map"):  # Polars reads a map as a list of pairs
        with duckdb.connect() as connection:
            rows = connection.read_parquet(list(snapshot.files)).fetchall()
        assert rows == [({"k": 1},), (None,)]
        assert parquet.read_table(snapshot.files[0])["value"].to_pylist() == [[("k", 1)], None]
        assert pl.read_delta(snapshot.location.uri).height == 2
        return
    first, *others = read_everywhere(snapshot)
    assert first[1] == {"value": None}
    assert first[0]["value"] is not None
    assert all(other == first for other in others)


@pytest.mark.parametrize(("expression", "fix"), REFUSED_FROM_DUCKDB.items())
def test_what_some_reader_breaks_on_is_refused_by_name(tmp_path: Path, expression: str, fix: str) -> None:
    table = Table(input_table(str(tmp_path), "flights", "sample"))
    draft = table.draft("run")
    from_duckdb(draft, f"select 1::bigint as good, {expression} as bad")
    with pytest.raises(PublicationRefusedError, match="column 'bad' has type") as refused:
        draft.seal()
    assert fix in str(refused.value)
    assert "good" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "fix"),
    [
        (pa.null(), "meant to have"),
        (pa.float16(), "FLOAT"),
        (pa.decimal256(40, 2), "38 digits"),
        (pa.timestamp("us", "Europe/Berlin"), "UTC"),
        (pa.timestamp("us", "Etc/UTC"), "spelt exactly so"),
        (pa.binary(4), "VARCHAR"),
        (pa.list_(pa.int64(), 2), "without a fixed size"),
        (pa.duration("us"), "number of seconds"),
        (pa.date64(), "DATE"),
        (pa.struct([]), "cast it"),
        (pa.struct([("a", pa.int8()), ("A", pa.int8())]), "differ at most in case"),
    ],
)
def test_what_other_writers_can_make_is_refused_as_well(kind: pa.DataType, fix: str) -> None:
    with pytest.raises(PublicationRefusedError, match="column 'bad' has type") as refused:
        columns_of(pa.schema([("bad", kind)]))
    assert fix in str(refused.value)


def test_all_bad_columns_are_named_at_once() -> None:
    with pytest.raises(PublicationRefusedError) as refused:
        columns_of(pa.schema([("a", pa.uint8()), ("b", pa.time64("us")), ("x", pa.int8()), ("X", pa.int8())]))
    lines = str(refused.value).splitlines()
    assert len(lines) == 3
    assert "column 'a'" in lines[0]
    assert "column 'b'" in lines[1]
    assert "'x' and 'X' differ at most in case" in lines[2]


@pytest.mark.parametrize("names", [["a", "A"], ["a", "a"], ["ß", "SS"], [""], [" "], []])
def test_names_that_readers_mix_up_are_refused(names: list[str]) -> None:
    with pytest.raises(PublicationRefusedError):
        columns_of(pa.schema([pa.field(name, pa.int8()) for name in names]))


def test_what_polars_writes_is_let_through(table: Table) -> None:
    draft = table.draft("run")
    pl.DataFrame(
        {"text": ["a"], "kind": pl.Series(["a"], dtype=pl.Categorical), "parts": [["x"]], "raw": [b"x"]}
    ).write_parquet(draft.new_file())
    assert [column.type for column in draft.seal().columns] == ["string", "string", "list<string>", "binary"]


def test_files_with_different_columns_are_refused(table: Table) -> None:
    with pytest.raises(PublicationRefusedError, match="differ in their columns"):
        write(table.draft("run"), pa.table({"a": [1]}), pa.table({"a": ["x"]}))
    with pytest.raises(PublicationRefusedError, match="order"):
        write(table.draft("run"), pa.table({"a": [1], "b": [1]}), pa.table({"b": [1], "a": [1]}))


def test_nullability_is_that_of_the_loosest_file(table: Table) -> None:
    strict = pa.table({"a": [1]}, schema=pa.schema([pa.field("a", pa.int64(), nullable=False)]))
    assert [column.nullable for column in write(table.draft("run"), strict).columns] == [False]
    candidate = write(table.draft("run"), strict, pa.table({"a": pa.array([None], pa.int64())}))
    assert [column.nullable for column in candidate.columns] == [True]


@pytest.mark.parametrize(
    "changed",
    [
        pa.table({"number": pa.array([1], pa.int64()), "row": pa.array([0], pa.int64()), "new": ["x"]}),
        pa.table({"number": pa.array([1], pa.int64())}),
        pa.table({"number": ["text now"], "row": pa.array([0], pa.int64())}),
        pa.table({"renamed": pa.array([1], pa.int64()), "row": pa.array([0], pa.int64())}),
        pa.table({"Number": pa.array([1], pa.int64()), "row": pa.array([0], pa.int64())}),
        pa.table({"number": pa.array([1], pa.int64()), "at": pa.array([0], pa.timestamp("us"))}),
        pa.table({"number": pa.array([1], pa.int64()), "at": pa.array([[0]], pa.list_(pa.timestamp("us")))}),
    ],
    ids=[
        "added",
        "dropped",
        "retyped",
        "renamed",
        "recased",
        "zoneless timestamp",
        "nested zoneless timestamp",
    ],
)
def test_columns_change_in_the_same_commit_as_the_rows(tmp_path: Path, changed: pa.Table) -> None:
    table = Table(input_table(str(tmp_path), "flights", "sample"))
    before = pa.table({"number": pa.array([7], pa.int64()), "row": pa.array([0], pa.int64())})
    first = table.publish(write(table.draft("run"), before), None, {}, contract_hash=None)
    second = table.publish(write(table.draft("run"), changed), None, {}, contract_hash=None)
    assert second.schema.names == changed.schema.names
    for snapshot, rows in ((first, before), (second, changed)):
        assert all(read == rows.to_pylist() for read in read_everywhere(snapshot))
    assert table.newest() == second
    back = table.rollback(first.version, {})
    assert all(read == before.to_pylist() for read in read_everywhere(back))
    assert [entry.operation for entry in table.history()] == ["rollback", "publish", "publish"]


SCALARS = (
    "bool int8 int16 int32 int64 float32 float64 string binary date timestamp timestamp(UTC) decimal(38,0) "
    "decimal(5,3)"
)
scalars = st.sampled_from(SCALARS.split())
fields = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3, unique_by=str.casefold).filter(
    lambda names: all(name.strip() for name in names)
)


def to_arrow(canonical: str) -> pa.DataType:
    return arrow_schema(columns_of_delta(delta_schema_json([column("x", canonical)]))).field(0).type


def column(name: str, canonical: str):
    from dp_dagster.contracts.model import Column

    return Column(name=name, type=canonical)


nested = st.recursive(
    scalars.map(to_arrow),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        st.builds(pa.map_, scalars.map(to_arrow), inner),
        fields.flatmap(
            lambda names: st.tuples(*[inner] * len(names)).map(
                lambda kinds: pa.struct(list(zip(names, kinds, strict=True)))
            )
        ),
    ),
    max_leaves=6,
)


@given(nested)
def test_a_type_survives_the_way_through_its_canonical_name_and_delta(kind: pa.DataType) -> None:
    (found,) = columns_of(pa.schema([("x", kind)]))
    (read,) = columns_of_delta(delta_schema_json([found]))
    assert read.type == found.type
    assert arrow_schema([read]).field(0).type == kind
    assert needs_timestamp_without_zone([found]) == ("timestamp[us]" in str(kind).replace("tz=", ""))


@pytest.mark.parametrize(
    "text", ["uint8", "list<int8", "int8>", "struct<a: >", "map<int8>x", "decimal(1)", "", "list<int8;int8>"]
)
def test_a_name_that_is_no_type_is_an_error(text: str) -> None:
    with pytest.raises(StoreError, match="not understood"):
        delta_schema_json([column("x", text)])


def test_publishing_leaves_no_statistics_but_the_count(table: Table, publisher: Publisher) -> None:
    publisher.publish(1)
    log = (table.location.directory / "_delta_log" / f"{0:020d}.json").read_text()
    assert '\\"numRecords\\"' in log
    assert "minValues" not in log
    assert "nullCount" not in log
