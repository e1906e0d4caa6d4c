"""What Snowflake's types can hold."""

from __future__ import annotations

from dp_dagster.ports.outputs.sql.holding import Holding

_YEARS = ("0001-01-01", "9999-12-31")

HOLDING = Holding(
    server="Snowflake",
    names={
        "bool": "boolean",
        "int8": "number(3,0)",
        "int16": "number(5,0)",
        "int32": "number(10,0)",
        "int64": "number(19,0)",
        "float32": "float",
        "float64": "float",
        "string": "varchar",
        "binary": "binary",
        "date": "date",
        "timestamp": "timestamp_ntz(6)",
        "timestamp(UTC)": "timestamp_tz(6)",
    },
    decimal="number({precision},{scale})",
    ranges={
        "date": _YEARS,
        "timestamp": (f"{_YEARS[0]} 00:00:00", f"{_YEARS[1]} 23:59:59.999999"),
        "timestamp(UTC)": (f"{_YEARS[0]} 00:00:00+00", f"{_YEARS[1]} 23:59:59.999999+00"),
    },
    longest_name=255,
    longest={"string": 16_777_216, "binary": 8_388_608},
    holds_infinite_dates=False,
)
