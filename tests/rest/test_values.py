"""Rows as JSON: exact, and in the same form as the rest of the project writes them."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import polars as pl

from dp_dagster.contracts.model import Column
from dp_dagster.contracts.row_json import json_rows
from dp_dagster.ports.values import row_encoder

COLUMNS = (
    Column("flag", "bool"),
    Column("number", "int64"),
    Column("ratio", "float64"),
    Column("price", "decimal(20,2)"),
    Column("name", "string"),
    Column("raw", "binary"),
    Column("day", "date"),
    Column("local", "timestamp"),
    Column("instant", "timestamp(UTC)"),
)
MOMENT = datetime(2024, 2, 29, 23, 59, 59)  # noqa: DTZ001 - a column without a zone
ROWS = [
    (True, 2**63 - 1, 0.1, Decimal("0.10"),
     'it\'s "é"', b"\x00\xff", date(1, 1, 1), MOMENT, MOMENT.replace(tzinfo=UTC)),
    (False, -(2**63), math.nan, Decimal("-99999999999999999.99"), "", b"", date(9999, 12, 31),
     MOMENT + timedelta(microseconds=1), datetime(1969, 12, 31, 23, tzinfo=UTC)),
    (None, None, -math.inf, None, None, None, None, None, None),
]  # fmt: skip


def test_rows_are_written_as_the_project_writes_them() -> None:
    encode = row_encoder(COLUMNS)
    schema = {
        "flag": pl.Boolean,
        "number": pl.Int64,
        "ratio": pl.Float64,
        "price": pl.Decimal(20, 2),
        "name": pl.String,
        "raw": pl.Binary,
        "day": pl.Date,
        "local": pl.Datetime("us"),
        "instant": pl.Datetime("us", "UTC"),
    }
    expected = [json.loads(text) for text in json_rows(pl.DataFrame(ROWS, schema=schema, orient="row"))]
    assert [encode(row) for row in ROWS] == expected


def test_instants_are_told_in_universal_time() -> None:
    encode = row_encoder((Column("at", "timestamp(UTC)"),))
    paris = timezone(timedelta(hours=1))
    assert encode((datetime(2024, 1, 1, tzinfo=paris),)) == {"at": "2023-12-31T23:00:00.000000+00:00"}


def test_a_masked_value_stays_what_the_mask_made_of_it() -> None:
    encode = row_encoder((Column("price", "decimal(4,2)"), Column("name", "string")), {"price"})
    assert encode(("•••", "ada")) == {"price": "•••", "name": "ada"}


def test_decimals_keep_their_digits() -> None:
    encode = row_encoder((Column("price", "decimal(38,10)"),))
    assert encode((Decimal("1E-10"),)) == {"price": "0.0000000001"}
    assert encode((Decimal("0E-10"),)) == {"price": "0.0000000000"}
