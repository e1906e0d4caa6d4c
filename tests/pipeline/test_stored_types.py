"""Types of DuckDB: stored as they are, as others that hold the same values, or refused."""

from __future__ import annotations

from typing import Any

import pytest
from one_step import failure, sql
from pipeline_helpers import Workshop, rows

from dp_dagster.errors import (
    TransformError,
)

# -- types of DuckDB -----------------------------------------------------------------------------------------


def stored(workshop: Workshop, expression: str) -> tuple[str, Any]:
    run = sql(workshop, f"select {expression} as x from source limit 1", "table").run()
    ((value,),) = rows(product_kept := run.session.transform_table("chosen").newest())
    assert product_kept is not None
    return product_kept.columns[0].type, value


@pytest.mark.parametrize(
    ("expression", "type_name", "value"),
    [
        ("12::hugeint", "int64", 12),
        ("sum(amount) over ()", "int64", 3),
        ("7::utinyint", "int16", 7),
        ("7::usmallint", "int32", 7),
        ("7::uinteger", "int64", 7),
        ("18446744073709551615::ubigint", "decimal(20,0)", 18446744073709551615),
        ("'6a2c5c1e-0d0b-4a8e-9d3b-000000000001'::uuid", "string", "6a2c5c1e-0d0b-4a8e-9d3b-000000000001"),
        ("'{\"a\": 1}'::json", "string", '{"a": 1}'),
        ("'red'::enum('red', 'green (2)')", "string", "red"),
        ("timestamp_s '2026-01-02 03:04:05'", "timestamp", "2026-01-02 03:04:05"),
        ("timestamp_ms '2026-01-02 03:04:05.5'", "timestamp", "2026-01-02 03:04:05.500000"),
        ("timestamp_ns '2026-01-02 03:04:05.123456'", "timestamp", "2026-01-02 03:04:05.123456"),
        ("timestamptz '2026-01-02 03:04:05+02'", "timestamp(UTC)", "2026-01-02 01:04:05+00:00"),
        ("'ab'::blob", "binary", b"ab"),
        ("[1::hugeint, null]", "list<int64>", [1, None]),
        ("[1, 2]::integer[2]", "list<int32>", [1, 2]),
        ("{'A b\"c': uuid_, 'n': [1::uinteger]}", 'struct<"A b\\"c": string, n: list<int64>>', None),
        ("map {'k': 1::ubigint}", "map<string, decimal(20,0)>", None),
        ("{'inner': {'e': 'x'::enum('x')}}", "struct<inner: struct<e: string>>", {"inner": {"e": "x"}}),
        ("[{'j': '1'::json}]", "list<struct<j: string>>", [{"j": "1"}]),
        ("1.50::decimal(38, 10)", "decimal(38,10)", None),
    ],
)
def test_types_that_are_stored(workshop: Workshop, expression: str, type_name: str, value: Any) -> None:
    found, kept = stored(
        workshop, expression.replace("uuid_", "'6a2c5c1e-0d0b-4a8e-9d3b-000000000001'::uuid")
    )
    assert found == type_name
    if value is not None:
        assert (str(kept) if isinstance(value, str) else kept) == value


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("time '10:00'", "column x has type TIME, which cannot be stored; cast it to VARCHAR"),
        ("timetz '10:00+01'", "TIME WITH TIME ZONE"),
        ("interval 1 day", "column x has type INTERVAL"),
        ("'101'::bit", "column x has type BIT"),
        ("union_value(a := 1)", "cast it to one of its types"),
        (
            "[time '10:00']",
            "column x has type TIME[], which cannot be stored; cast it to VARCHAR (the TIME in it)",
        ),
        ("{'a': {'b': interval 1 day}}", "the INTERVAL in it"),
        ("map {'k': time '10:00'}", "the TIME in it"),
        ("[timestamp_ns '2026-01-02']", "the TIMESTAMP_NS in it"),
        ("row(1, 2)", "name its fields"),
        ("170141183460469231731687303715884105727::hugeint", "out of range"),
        ("timestamp_ns '2026-01-02 03:04:05.123456789'", "2026-01-02 03:04:05.123456789 has nanoseconds"),
    ],
)
def test_types_that_are_refused(workshop: Workshop, expression: str, message: str) -> None:
    text = failure(sql(workshop, f"select {expression} as x from source", "table"))
    assert message in text
    assert "small/transform/chosen" in text


def test_all_columns_that_cannot_be_stored_are_named_at_once(workshop: Workshop) -> None:
    text = failure(
        sql(workshop, "select time '10:00' as a, 1 as b, interval 1 day as c from source", "table")
    )
    assert [line.split(": ")[1].split()[1] for line in text.splitlines()] == ["a", "c"]


def test_sorting_by_a_column_that_is_not_there(workshop: Workshop) -> None:
    product = workshop.product(
        datasets=[
            {
                "name": "rows",
                "from": "chosen",
                "contract": "contracts/rows.py:Rows",
                "key": ["name"],
                "sort_by": ["amount"],
            }
        ],
    )
    product.write({"transforms/chosen.sql": "select name, amount as much from source"})
    with pytest.raises(TransformError, match="small/v1/dataset/rows: Binder Error: "):
        product.run()
