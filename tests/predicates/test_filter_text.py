"""Row filters written as SQL text, and values given as text."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_dagster.contracts.model import Column
from dp_dagster.predicates.binding import UnboundError, bind, references_of
from dp_dagster.predicates.conditions import condition, operators_for
from dp_dagster.predicates.model import AllOf, AnyOf, Condition, Negation, Reference
from dp_dagster.predicates.text import BadFilterError, parse_filter
from dp_dagster.predicates.values import BadValueError, read_value

TYPES = {
    "home_store": "string",
    "lifetime_value": "decimal(12,2)",
    "orders": "int32",
    "share": "float64",
    "active": "bool",
    "since": "date",
    "seen": "timestamp",
    "paid": "timestamp(UTC)",
    "odd name": "string",
    "tags": "list<string>",
    "photo": "binary",
}
COLUMNS = [Column(name, kind) for name, kind in TYPES.items()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "home_store = 'Philadelphia' and lifetime_value > 100",
            AllOf(
                (
                    Condition("home_store", "eq", "Philadelphia"),
                    Condition("lifetime_value", "gt", Decimal(100)),
                )
            ),
        ),
        ("100.50 <= lifetime_value", Condition("lifetime_value", "ge", Decimal("100.5"))),
        ("not (orders <> -5)", Negation(Condition("orders", "ne", -5))),
        (
            "orders in (1, 2) or orders is null",
            AnyOf((Condition("orders", "in", (1, 2)), Condition("orders", "is_null", True))),
        ),
        ("orders not in (1)", Negation(Condition("orders", "in", (1,)))),
        ("tags is not null", Negation(Condition("tags", "is_null", True))),
        ("home_store like 'Phil%'", Condition("home_store", "starts_with", "Phil")),
        ("home_store like '%ia'", Condition("home_store", "ends_with", "ia")),
        ("home_store not like '%hil%'", Negation(Condition("home_store", "contains", "hil"))),
        ("home_store like 'a'", Condition("home_store", "eq", "a")),
        ("home_store like '%'", Condition("home_store", "contains", "")),
        ("home_store like '%%'", Condition("home_store", "contains", "")),
        ("home_store = 'it''s {subject}'", Condition("home_store", "eq", "it's {subject}")),
        ('"odd name" = \'x\'', Condition("odd name", "eq", "x")),
        ("active = true", Condition("active", "eq", True)),
        ("since >= '2026-01-31'", Condition("since", "ge", date(2026, 1, 31))),
        ("paid < '2026-01-31T08:00:00+02:00'", Condition("paid", "lt", datetime(2026, 1, 31, 6, tzinfo=UTC))),
        ("home_store = {claim.store}", Condition("home_store", "eq", Reference("claim.store"))),
        (
            "home_store in ({claim.https://example.com/stores}, 'x')",
            Condition("home_store", "in", (Reference("claim.https://example.com/stores"), "x")),
        ),
    ],
)  # fmt: skip
def test_what_is_let_through(text: str, expected: Any) -> None:
    assert parse_filter(text, COLUMNS) == expected


@pytest.mark.parametrize(
    ("text", "said", "fix"),
    [
        ("home_stor = 'x'", "home_stor is no column", "did you mean home_store?"),
        ('home_store = "x"', "compares two columns", "single quotes"),
        ("orders = 'x'", "is a text, and orders a number", "leave the quotes out"),
        ("home_store = 5", "5 is a number, and home_store is none", "write '5'"),
        ("orders = 3000000000", "out of the range of int32", ""),
        ("orders = 1.5", "not a whole number", ""),
        ("lifetime_value = 1.005", "more than 2 decimals", ""),
        ("since = '31.01.2026'", "is not a date such as 2026-01-31", ""),
        ("seen > '2026-01-31T08:00:00Z'", "has a time zone, and the column's times have none", ""),
        ("paid > '2026-01-31T08:00:00'", "has no time zone", ""),
        ("active", "active stands alone", "active = …"),
        ("active > true", "which has no >", "use = or <>"),
        ("tags = 'a'", "has type list<string>", "null"),
        ("orders like '1%'", "has no like", "for texts"),
        ("home_store like 'a_b%'", "has % within", "like 'text%'"),
        ("home_store like 'a%b'", "has % within", ""),
        ("home_store ilike 'a%'", "is refused", "like, which compares with case"),
        ("home_store like 'a%' escape 'b'", "is refused", ""),
        ("orders between 1 and 5", "is refused", "column >= … and column <= …"),
        ("orders = null", "never true", "orders is null"),
        ("lower(home_store) = 'x'", "names no column", ""),
        ("orders + 1 = 2", "names no column", ""),
        ("orders = (select 1)", "is no value", ""),
        ("orders in (select 1)", "is refused", ""),
        ("exists (select 1)", "is refused", ""),
        ("1 = 1", "names no column", ""),
        ("orders = 1; drop table customers", "holds 2 statements", "one condition"),
        ("", "holds 0 statements", "one condition"),
        ("orders = 1 union select 2", "", ""),
        ("t.orders = 1", "is no column", ""),
        ("orders = date '2026-01-01'", "is refused", "'2026-01-01'"),
        ("orders is true", "is refused", "orders = TRUE"),
        ("orders = :dp0", "is no value", ""),
        ("orders = ?", "is no value", ""),
        ("home_store = {claim}", "is nothing that is known of who asks", "{claim.NAME}"),
        ("home_store = 'unclosed", "does not parse", ""),
        ("(" * 500 + "orders = 1" + ")" * 500, "nested too deeply", "flatten"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_to_write(text: str, said: str, fix: str) -> None:
    with pytest.raises(BadFilterError) as caught:
        parse_filter(text, COLUMNS)
    assert said in str(caught.value)
    assert fix in caught.value.fix


@given(st.text(max_size=60))
def test_no_text_fails_in_another_way(text: str) -> None:
    with contextlib.suppress(BadFilterError):
        parse_filter(text, COLUMNS)


@pytest.mark.parametrize(
    ("given", "kind", "expected"),
    [
        ("-128", "int8", -128),
        ("1e3", "float64", 1000.0),
        ("inf", "float64", math.inf),
        ("0.1", "float32", 0.10000000149011612),
        ("12.30", "decimal(4,2)", Decimal("12.3")),
        (99999999999999999999999999999999999999, "decimal(38,0)", Decimal(10**38 - 1)),
        ("-0.00", "decimal(4,2)", Decimal(0)),
        ("1e2", "decimal(4,1)", Decimal(100)),
        ("TRUE", "bool", True),
        ("2026-02-28", "date", date(2026, 2, 28)),
        ("2026-02-28T08:30", "timestamp", datetime.fromisoformat("2026-02-28T08:30")),
        ("2026-02-28 08:30:00.5z", "timestamp(UTC)", datetime(2026, 2, 28, 8, 30, 0, 500_000, UTC)),
        ("00ff", "binary", b"\x00\xff"),
        ("", "string", ""),
    ],
)
def test_values_are_read_as_the_type(given: Any, kind: str, expected: Any) -> None:
    found = read_value(given, kind)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("128", "int8"), ("1.0", "int32"), (True, "int32"), ("٣", "int32"), ("1_000", "int64"), (1.5, "int64"),
        ("0x1", "float64"), ("1e39", "float32"), (10**400, "float64"),
        ("nan", "decimal(4,2)"), ("1000", "decimal(4,1)"),
        ("1e999", "decimal(38,0)"), ("yes", "bool"), (1, "bool"), ("2026-02-30", "date"), ("2026-2-3", "date"),
        ("2026-02-28", "timestamp"), ("2026-02-28T25:00", "timestamp"),
        ("0001-01-01T00:00:00+23:00", "timestamp(UTC)"),
        ("0", "binary"), (5, "string"), ("a\x00", "string"), ("\ud800", "string"), ("[]", "list<string>"),
    ],
)  # fmt: skip
def test_what_is_no_value_of_the_type(given: Any, kind: str) -> None:
    with pytest.raises(BadValueError):
        read_value(given, kind)


def test_conditions_fit_their_column() -> None:
    assert operators_for("list<string>") == ("is_null",)
    assert "contains" not in operators_for("int32")
    assert "lt" not in operators_for("bool")
    column = Column("orders", "int32")
    assert condition(column, "in", ["1", 2]) == Condition("orders", "in", (1, 2))
    assert condition(column, "is_null", "false") == Condition("orders", "is_null", False)
    with pytest.raises(BadValueError, match="cannot be asked contains; use eq"):
        condition(column, "contains", "1")
    with pytest.raises(BadValueError, match="wants a list"):
        condition(column, "in", "12")
    with pytest.raises(BadValueError, match="at most 1000 values"):
        condition(column, "in", ["1"] * 1001)


def test_references_take_the_column_s_type_or_nothing() -> None:
    predicate = parse_filter("orders in ({claim.orders}, 7) and home_store = {subject}", COLUMNS)
    assert references_of(predicate) == {"claim.orders", "subject"}
    known: dict[str, object] = {"claim.orders": ("1", 2), "subject": "x' or '1'='1"}
    assert bind(predicate, TYPES, known.get) == AllOf(
        (Condition("orders", "in", (1, 2, 7)), Condition("home_store", "eq", "x' or '1'='1"))
    )
    for missing in (
        {},
        {**known, "claim.orders": "many"},
        {**known, "subject": ("a", "b")},
        {**known, "subject": ()},
    ):
        with pytest.raises(UnboundError):
            bind(predicate, TYPES, missing.get)
