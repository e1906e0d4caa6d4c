"""What a query says, and what is wrong with it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_dagster.contracts.model import Column
from dp_dagster.ports.outputs.rest.asking import (
    OPERATOR_NAMES,
    Readable,
    moment_or_version,
    page_limit,
    read_parameters,
    split,
)
from dp_dagster.ports.problems import Problem, RequestError
from dp_dagster.predicates.model import OPERATORS, AllOf, Condition
from dp_dagster.rows.query import Sort

COLUMNS = {
    column.name: column
    for column in (
        Column("name", "string"),
        Column("secret", "string"),
        Column("number", "int32"),
        Column("price", "decimal(12,2)"),
        Column("at", "timestamp(UTC)"),
        Column("limit", "int64"),
        Column("odd[eq]", "string"),
        Column("-dash", "string"),
        Column("a,b", "string"),
        Column("parts", "list<string>"),
        Column("flag", "bool"),
    )
}
READABLE = Readable(COLUMNS, frozenset(COLUMNS) - {"secret"})


def where(query: bytes) -> tuple[Any, ...]:
    predicate = READABLE.where(read_parameters(query).filters)
    assert isinstance(predicate, AllOf)
    return predicate.parts


def refusal(call: Any, *arguments: Any) -> Problem:
    with pytest.raises(RequestError) as caught:
        call(*arguments)
    return caught.value.problem


def problem_or_none(call: Any) -> Problem | None:
    try:
        call()
    except RequestError as error:
        return error.problem
    return None


def test_every_operator_has_one_name() -> None:
    assert sorted(OPERATOR_NAMES.values()) == sorted(OPERATORS)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"name=ada", Condition("name", "eq", "ada")),
        (b"name[eq]=ada", Condition("name", "eq", "ada")),
        (b"name%5Beq%5D=a%20b+c", Condition("name", "eq", "a b c")),
        (b"name=", Condition("name", "eq", "")),
        (b"name[ne]=%C3%A9", Condition("name", "ne", "é")),
        (b"number[gte]=-3", Condition("number", "ge", -3)),
        (b"price[lt]=12.5", Condition("price", "lt", Decimal("12.5"))),
        (b"name[in]=a,b\\,c,\\\\", Condition("name", "in", ("a", "b,c", "\\"))),
        (b"number[not_in]=1,2", Condition("number", "not_in", (1, 2))),
        (b"name[null]=true", Condition("name", "is_null", value=True)),
        (b"parts[null]=false", Condition("parts", "is_null", value=False)),
        (b"name[contains]=%25_", Condition("name", "contains", "%_")),
        (b"limit[eq]=3", Condition("limit", "eq", 3)),
        (b"odd[eq]=x", Condition("odd[eq]", "eq", "x")),
        (b"odd[eq][ne]=x", Condition("odd[eq]", "ne", "x")),
        (b"at[gte]=2024-01-01T00:00:00Z", Condition("at", "ge", datetime(2024, 1, 1, tzinfo=UTC))),
        (b"at[gte]=2024-01-01T01:00:00+01:00", Condition("at", "ge", datetime(2024, 1, 1, tzinfo=UTC))),
        (b"at[in]=2024-01-01T01:00:00+01:00", Condition("at", "in", (datetime(2024, 1, 1, tzinfo=UTC),))),
    ],
)
def test_a_filter(query: bytes, expected: Condition) -> None:
    assert where(query) == (expected,)


def test_all_filters_hold() -> None:
    assert where(b"number[gte]=1&number[lt]=5&&name=x") == (
        Condition("number", "ge", 1),
        Condition("number", "lt", 5),
        Condition("name", "eq", "x"),
    )


@pytest.mark.parametrize(
    ("query", "status", "name", "parameter", "said"),
    [
        (b"nmae=x", 400, "unknown-column", "nmae", "name, secret, number"),
        (b"nothing[gte]=x", 400, "unknown-column", "nothing[gte]", "price"),
        (b"nothing[like]=x", 400, "unknown-column", "nothing[like]", "price"),
        (b"name[like]=x", 400, "unknown-operator", "name[like]", "starts_with"),
        (b"number[contains]=1", 400, "wrong-operator", "number[contains]", "gte"),
        (b"flag[gt]=true", 400, "wrong-operator", "flag[gt]", "eq, ne, in"),
        (b"parts=x", 400, "wrong-operator", "parts", "null"),
        (b"number=1.5", 400, "invalid-value", "number", "whole number"),
        (b"number=2147483648", 400, "invalid-value", "number", "int32"),
        (b"price=0.001", 400, "invalid-value", "price", "2 decimals"),
        (b"at=2024-01-01T00:00:00", 400, "invalid-value", "at", "time zone"),
        (b"name[null]=maybe", 400, "invalid-value", "name[null]", "true or false"),
        (b"name[in]=" + b"x," * 2000, 400, "invalid-value", "name[in]", "1000"),
        (b"name=%00", 400, "invalid-value", "name", "null character"),
        (b"secret=x", 403, "masked-column", "secret", "masked"),
        (b"secret[null]=true", 403, "masked-column", "secret[null]", "masked"),
    ],
)
def test_a_filter_that_is_refused(query: bytes, status: int, name: str, parameter: str, said: str) -> None:
    problem = refusal(where, query)
    assert (problem.status, problem.name, problem.parameter) == (status, name, parameter)
    assert said in f"{problem.detail} {problem.fix}"


def test_a_masked_column_is_refused_whatever_the_value() -> None:
    assert len({refusal(where, query).document() for query in (b"secret=a", b"secret=b", b"secret=%00")}) == 1


@pytest.mark.parametrize(
    ("query", "status", "name"),
    [
        (b"limit=1&limit=2", 400, "repeated-parameter"),
        (b"name=%ff", 400, "not-utf-8"),
        (b"%ff=x", 400, "not-utf-8"),
        (b"a=b&" * 101, 400, "too-many-parameters"),
        (b"name=" + b"x" * 20_000, 414, "query-too-long"),
    ],
)
def test_a_query_that_cannot_be_read(query: bytes, status: int, name: str) -> None:
    problem = refusal(read_parameters, query)
    assert (problem.status, problem.name) == (status, name)


def test_an_option_that_an_address_lacks() -> None:
    problem = refusal(read_parameters, b"cursor=x", ("as_of",))
    assert problem.parameter == "cursor"
    assert "as_of" in problem.fix


def test_sorting() -> None:
    assert READABLE.order("-price,name") == (Sort("price", descending=True), Sort("name"))
    assert READABLE.order("--dash,a\\,b") == (Sort("-dash", descending=True), Sort("a,b"))
    assert READABLE.order("-dash") == (Sort("-dash"),)
    assert READABLE.order("name,-name,price") == (Sort("name"), Sort("price"))
    assert READABLE.order(None) == ()


@pytest.mark.parametrize(
    ("sort", "status", "name"),
    [
        ("secret", 403, "masked-column"),
        ("-secret", 403, "masked-column"),
        ("nothing", 400, "unknown-column"),
        ("", 400, "unknown-column"),
        ("name,", 400, "unknown-column"),
        ("parts", 400, "no-order"),
    ],
)
def test_sorting_that_is_refused(sort: str, status: int, name: str) -> None:
    problem = refusal(READABLE.order, sort)
    assert (problem.status, problem.name, problem.parameter) == (status, name, "sort")


def test_selection() -> None:
    assert READABLE.selection(None) == tuple(COLUMNS)
    assert READABLE.selection("price,secret,a\\,b") == ("price", "secret", "a,b")
    assert refusal(READABLE.selection, "price,price").name == "repeated-column"
    assert refusal(READABLE.selection, "nothing").parameter == "fields"


def test_keys() -> None:
    assert READABLE.key_value("number", "7") == 7
    assert refusal(READABLE.key_value, "number", "x").name == "invalid-key"
    assert refusal(READABLE.key_value, "secret", "x").status == 403


def test_limits() -> None:
    assert page_limit(None, 100, 1000) == 100
    assert page_limit(None, 100, 10) == 10
    assert page_limit("1000", 100, 1000) == 1000
    assert page_limit("all", 100, 1000) is None
    for text in ("0", "-1", "1001", "1e3", "", "٣", "999999999999999999999"):
        problem = refusal(page_limit, text, 100, 1000)
        assert (problem.status, problem.parameter) == (400, "limit")
        assert "limit=all" in problem.fix


def test_versions_and_times() -> None:
    assert moment_or_version("12") == 12
    assert moment_or_version("2024-01-01T01:00:00 01:00") == datetime(2024, 1, 1, tzinfo=UTC)
    for text in ("2024-01-01T00:00:00", "yesterday", "-1", "1.0", "", "9" * 30):
        assert refusal(moment_or_version, text).parameter == "as_of"


@given(st.lists(st.text(), min_size=1))
def test_parts_are_kept_apart(parts: list[str]) -> None:
    escaped = [part.replace("\\", "\\\\").replace(",", "\\,") for part in parts]
    assert split(",".join(escaped)) == parts


@given(st.binary(max_size=200) | st.text("name[]=gteq&%0123456789,\\-+ .", max_size=60).map(str.encode))
def test_any_query_is_read_or_refused(query: bytes) -> None:
    """A refusal is a document; nothing else is raised."""

    def read() -> None:
        parameters = read_parameters(query)
        READABLE.where(parameters.filters)
        READABLE.order(parameters.options.get("sort"))
        READABLE.selection(parameters.options.get("fields"))
        page_limit(parameters.options.get("limit"), 100, 1000)

    problem = problem_or_none(read)
    if problem is not None:
        assert problem.status in {400, 403, 414}
        assert problem.document().isascii()
