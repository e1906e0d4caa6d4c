"""Contracts that the tests of exports share, and random rows for them."""

from __future__ import annotations

import random
import string
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl

from dp_dagster.contracts.canonical import polars_type

EVERYTHING = '''
from typing import Annotated

import pandera.polars as pa
import polars as pl
from dp_dagster.contracts import row_check
from datetime import date, datetime, timezone


class Everything(pa.DataFrameModel):
    """All that a contract can say of a row."""

    id: int = pa.Field(unique=True, ge=1, lt=1000, description="Key")
    small: pl.Int16 = pa.Field(nullable=True, isin=[1, 2, 3])
    code: str = pa.Field(nullable=True, str_matches="[A-Z]{2}[0-9]", description="a: b # c")
    word: str = pa.Field(str_length={"min_value": 2, "max_value": 4}, notin=["no", "it's"])
    start: str = pa.Field(nullable=True, str_startswith="a.b", str_endswith="$")
    found: str = pa.Field(nullable=True, str_contains="x|y")
    flagged: str = pa.Field(nullable=True, str_matches="(?i)yes|no")
    share: float = pa.Field(nullable=True, in_range=(0, 1), metadata={"unit": "of one", "tier": "gold"})
    half: pl.Float32 = pa.Field(nullable=True, gt=0)
    price: Annotated[pl.Decimal, 8, 2] = pa.Field(nullable=True, ge=0, le=100, ne=13)
    day: pl.Date = pa.Field(nullable=True, ge=date(2020, 1, 1), metadata={"classification": "pii"})
    seen: Annotated[pl.Datetime, "us", "UTC"] = pa.Field(
        nullable=True, lt=datetime(2030, 1, 1, tzinfo=timezone.utc)
    )
    clock: Annotated[pl.Datetime, "us", None] = pa.Field(nullable=True)
    on: bool = pa.Field(nullable=True, eq=True, raise_warning=True)
    raw: pl.Binary = pa.Field(nullable=True)
    labels: pl.List = pa.Field(nullable=True, dtype_kwargs={"inner": pl.String})
    place: pl.Struct = pa.Field(nullable=True, dtype_kwargs={"fields": {"zip": pl.String, "floor": pl.Int32}})

    class Config:
        strict = True
        unique = ["code", "word"]
        metadata = {"row_count": {"minimum": 1, "maximum": 50}}

    ordered = row_check(pl.col("small") <= pl.col("id"), description="small is not above id")
    either = row_check(pl.col("code").is_not_null() | (pl.col("word") == "abc"), severity="warn")
    odd_day = row_check(pl.col("day").dt.day() < 29, description="no short months")
'''

SEVERAL = '''
from typing import Annotated

import pandera.polars as pa
import polars as pl
from dp_dagster.contracts import row_check
from datetime import date, datetime, timezone


class Several(pa.DataFrameModel):
    """Rules over several columns, and rules for which null is no excuse."""

    a: int = pa.Field(nullable=True)
    b: pl.Int32 = pa.Field(nullable=True, ge=0, ignore_na=False)
    x: float = pa.Field(nullable=True)
    y: float = pa.Field(ge=0.5)
    day: pl.Date = pa.Field(nullable=True)
    seen: Annotated[pl.Datetime, "us", "UTC"] = pa.Field(nullable=True)
    clock: Annotated[pl.Datetime, "us", None] = pa.Field(nullable=True)
    price: Annotated[pl.Decimal, 8, 2] = pa.Field(nullable=True)
    name: str = pa.Field(nullable=True)
    on: bool = pa.Field(nullable=True)

    sums = row_check(pl.col("a") + pl.col("b") * 2 - 1 <= 20)
    floats = row_check((pl.col("x") - pl.col("y")).abs() < 0.25)
    not_a_number = row_check(pl.col("x") <= pl.col("y"))
    logic = row_check((pl.col("name") == "it\'s") | pl.col("on") | ~(pl.col("a") > 3))
    both = row_check(pl.col("a").is_between(0, 3, closed="left") == pl.col("b").is_null())
    missing = row_check(pl.col("x").is_not_null() & pl.col("seen").is_not_null())
    dates = row_check(pl.col("day") > pl.lit(date(2020, 1, 1)))
    instants = row_check(pl.col("seen") != pl.lit(datetime(2030, 1, 1, tzinfo=timezone.utc)))
    clocks = row_check(pl.col("clock") < pl.lit(datetime(2030, 1, 1)))
    money = row_check(pl.col("price") >= pl.col("a"))
    negated = row_check(-pl.col("a") < 50)
'''

ROWS = 400
WORDS = [
    "",
    "AB1",
    "ab1",
    "no",
    "it's",
    "a.b$",
    "axb$",
    "xyz",
    "YES",
    "yes!",
    "abc",
    "EWR",
    "cancelled",
    "ÄÖ",
    "a\nb",
]


def values(kind: str, rng: random.Random) -> list:
    def one():  # noqa: PLR0911 - one return for each type
        if rng.random() < 0.15:
            return None
        if kind == "bool":
            return rng.random() < 0.5
        if kind.startswith("int"):
            return rng.choice([-1, 0, 1, 2, 3, 13, 50, 100, rng.randint(-(2**6), 2**6)])
        if kind.startswith("float"):
            return rng.choice(
                [0.0, -0.0, 0.5, 1.0, 1.5, 50.0, float("nan"), float("inf"), float("-inf"), rng.random()]
            )
        if kind.startswith("decimal"):
            return Decimal(rng.choice([0, 13, 100, 101, -1, rng.randint(-500, 500)])) + Decimal(
                rng.choice(["0.00", "0.10"])
            )
        if kind == "string":
            return rng.choice([*WORDS, "".join(rng.choices(string.ascii_letters, k=3))])
        if kind == "date":
            return date(2019, 12, 20) + timedelta(days=rng.randint(0, 40))
        return datetime(2029, 12, 20, tzinfo=UTC if "UTC" in kind else None) + timedelta(
            hours=rng.randint(0, 400)
        )

    return [one() for _ in range(ROWS)]


def random_rows(contract, seed: int) -> pl.DataFrame:
    rng = random.Random(seed)
    return pl.DataFrame(
        [
            pl.Series(column.name, values(column.type, rng), dtype=polars_type(column.type), strict=False)
            for column in contract.columns
        ]
    )
