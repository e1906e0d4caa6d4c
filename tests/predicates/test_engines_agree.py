"""One meaning in DuckDB, PostgreSQL and Polars: random rows, random predicates, the same rows found."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dp_dagster.contracts.model import Column
from dp_dagster.engines.duckdb import prepare
from dp_dagster.predicates.conditions import operators_for
from dp_dagster.predicates.expressions import to_polars
from dp_dagster.predicates.model import AllOf, AnyOf, Condition, Negation, Predicate
from dp_dagster.predicates.sql import to_sql

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES: dict[str, list[Any]] = {
    "bool": [True, False],
    "int8": [-128, 0, 127],
    "int32": [-(2**31), 0, 1, 2**31 - 1],
    "int64": [-(2**63), 2**53, 2**53 + 1, 2**63 - 1],
    "float32": [-math.inf, -0.0, 0.0, 0.10000000149011612, math.inf, math.nan],
    "float64": [-math.inf, -0.0, 0.1, 1e300, math.inf, math.nan],
    "decimal(38,2)": [
        Decimal("-0.01"), Decimal(0), Decimal("0.10"), Decimal("999999999999999999999999999999999999.99"),
    ],
    "string": ["", "a", "A", "ab", "é", "e\u0301", "ß", "ss",
        "Z", "~", "\uffff", "\U0001f600", "%", "_", "a%b", "x'y", '"'],
    "binary": [b"", b"\x00", b"\xff"],
    "date": [date(1, 1, 1), date(1970, 1, 1), date(9999, 12, 31)],
    "timestamp": [
        datetime.fromisoformat(text) for text in ("0001-01-01", "2026-03-29T02:30", "2026-03-29T02:30:00.000001")
    ],
    "timestamp(UTC)": [datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)],
}  # fmt: skip
COLUMNS = [Column(f'c "{number}" %', kind) for number, kind in enumerate(VALUES)]
TYPES = {column.name: column.type for column in COLUMNS}
SQL_TYPES = {
    "int8": "smallint", "int32": "integer", "int64": "bigint", "float32": "real", "float64": "double precision",
    "string": "text", "binary": "bytea", "timestamp(UTC)": "timestamptz",
}  # fmt: skip


def in_turn(values: list[Any], number: int) -> Any:
    """Null and the values, one after the other."""
    return [None, *values][number % (len(values) + 1)]


ROWS = [(number, *(in_turn(values, number) for values in VALUES.values())) for number in range(37)]


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    column = draw(st.sampled_from(COLUMNS))
    operator = draw(st.sampled_from(operators_for(column.type)))
    if operator == "is_null":
        return Condition(column.name, operator, draw(st.booleans()))
    values = st.sampled_from(VALUES[column.type])
    if operator in {"in", "not_in"}:
        return Condition(column.name, operator, tuple(draw(st.lists(values, max_size=3))))
    return Condition(column.name, operator, draw(values))


PREDICATES: st.SearchStrategy[Predicate] = st.recursive(
    conditions(),
    lambda part: st.one_of(
        st.lists(part, max_size=3).map(lambda parts: AllOf(tuple(parts))),
        st.lists(part, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
        part.map(Negation),
    ),
    max_leaves=4,
)


def definitions(types: dict[str, str]) -> str:
    quoted = (
        f'"{column.name.replace(chr(34), chr(34) * 2)}" {types.get(column.type, column.type)}'
        for column in COLUMNS
    )
    return ", ".join(("id integer", *quoted))


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        prepare(connection)
        connection.execute("set TimeZone = 'America/New_York'")
        types = {
            "int8": "tinyint",
            "float64": "double",
            "string": "varchar",
            "binary": "blob",
            "timestamp(UTC)": "timestamptz",
        }
        connection.execute(f"create table t ({definitions({**types, 'float32': 'float'})})")
        connection.executemany(f"insert into t values ({', '.join('?' * (len(COLUMNS) + 1))})", ROWS)
        yield connection


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    kinds: dict[str, Any] = {
        "bool": pl.Boolean, "int8": pl.Int8, "int32": pl.Int32, "int64": pl.Int64, "float32": pl.Float32,
        "float64": pl.Float64,
        "decimal(38,2)": pl.Decimal(38, 2), "string": pl.String, "binary": pl.Binary, "date": pl.Date,
        "timestamp": pl.Datetime("us"), "timestamp(UTC)": pl.Datetime("us", "UTC"),
    }  # fmt: skip
    schema = {"id": pl.Int32, **{column.name: kinds[column.type] for column in COLUMNS}}
    return pl.DataFrame(ROWS, schema=schema, orient="row")


def of_duckdb(connection: duckdb.DuckDBPyConnection, predicate: Predicate) -> list[int]:
    condition = to_sql(predicate, TYPES, "duckdb")
    rows = connection.execute(f"select id from t where {condition.text} order by id", condition.parameters)
    return [row[0] for row in rows.fetchall()]


@settings(max_examples=200, deadline=None)
@given(predicate=PREDICATES)
def test_polars_finds_what_duckdb_finds(
    duck: duckdb.DuckDBPyConnection, frame: pl.DataFrame, predicate: Predicate
) -> None:
    found = frame.filter(to_polars(predicate, TYPES))["id"].to_list()
    assert found == of_duckdb(duck, predicate)


@pytest.mark.needs("postgresql")
@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(predicate=PREDICATES)
def test_postgresql_finds_what_duckdb_finds(
    duck: duckdb.DuckDBPyConnection, postgres: Any, predicate: Predicate
) -> None:
    condition = to_sql(predicate, TYPES, "postgres")
    rows = postgres.execute(f"select id from t where {condition.text} order by id", condition.parameters)
    assert [row[0] for row in rows.fetchall()] == of_duckdb(duck, predicate)


@pytest.fixture(scope="module")
def postgres(postgresql_server: str) -> Iterator[Any]:
    import psycopg

    address = postgresql_server.replace("+psycopg", "") + "/postgres"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("set timezone = 'Asia/Tokyo'")
        connection.execute(f"create temporary table t ({definitions(SQL_TYPES)})")
        with connection.cursor() as cursor:
            cursor.executemany(f"insert into t values ({', '.join(['%s'] * (len(COLUMNS) + 1))})", ROWS)
        yield connection
