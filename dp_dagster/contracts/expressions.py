"""Rules as Polars expressions: what each rule means, for one row.

An expression made here is true for a *failing* row, and false or null for a good one. The meaning of each
rule, for every evaluator:

* Null passes every rule except ``not_null``, as in SQL's ``CHECK``; ``null_fails`` in a rule's parameters
  says otherwise. (``unique`` compares null as a value like any other: see :mod:`.uniqueness`.)
* NaN lies in no range: it fails ``minimum`` and ``maximum``. It equals only NaN. It is a value, not null, but
  ``not_null`` refuses it as well where the parameters say ``nan_fails``.
* Infinities are ordinary values, below or above every number. ``-0.0`` equals ``0.0``.
* Texts are compared by code point and measured in characters; a regular expression follows the syntax of
  Rust's ``regex`` crate, which takes linear time and knows neither look-around nor back-references.
* A value that a rule names is first brought to the column's type (0.1 becomes the nearest ``float32``).
"""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.literals import from_json, is_float, is_integer
from dp_dagster.contracts.row_expressions import deserialise
from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from dp_dagster.contracts.model import Rule

# Up to this many values a chain of comparisons is faster than a look-up (measured: 0.11 against 0.14 seconds
# for 8 values and 10 million rows, 0.11 against 0.08 for 16).
_CHAIN_LIMIT = 8

EXPRESSED = frozenset(
    {
        "not_null",
        "minimum",
        "maximum",
        "one_of",
        "none_of",
        "pattern",
        "length",
        "equal",
        "not_equal",
        "starts_with",
        "ends_with",
        "expression",
    }
)
"""Kinds of rules that :func:`failing` can express row by row."""


def failing(rule: Rule, types: dict[str, str]) -> pl.Expr:
    """An expression that is true for each row that fails the rule, false or null for the others.

    Args:
        rule: A rule of one of the kinds :data:`EXPRESSED`.
        types: Canonical types of the contract's columns by name.

    Raises:
        ContractError: The rule's kind cannot be expressed row by row.
    """
    import polars as pl

    if rule.kind == "expression":
        holds = deserialise(rule.params["expression"])
        failed: pl.Expr = ~holds
        if rule.params.get("null_fails"):
            failed = failed.fill_null(value=True)
        return failed
    if rule.kind not in EXPRESSED:
        raise ContractError(f"rule {rule.id}: kind {rule.kind} is not a rule of single rows")
    name = rule.columns[0]
    # pl.col("^…$") would be read as a regular expression over names, and "*" as all columns.
    column = _exact_column(name)
    type_name = types[name]
    if rule.kind == "not_null":
        null = column.is_null()
        return null | column.is_nan() if rule.params.get("nan_fails") and is_float(type_name) else null
    failed = _failing_value(rule, column, type_name, pl)
    return failed | column.is_null() if rule.params.get("null_fails") else failed


def _exact_column(name: str) -> pl.Expr:
    import polars as pl
    import polars.selectors as cs

    return cs.by_name(name).as_expr() if name == "*" or name.startswith("^") else pl.col(name)


def _failing_value(  # noqa: PLR0911 - one return for each kind
    rule: Rule, column: pl.Expr, type_name: str, polars: Any
) -> pl.Expr:
    params = rule.params
    match rule.kind:
        case "minimum" | "maximum":
            return _outside(rule, column, type_name)
        case "one_of":
            return ~_equals_any(column, params["values"], type_name)
        case "none_of":
            return _equals_any(column, params["values"], type_name)
        case "equal":
            return ~_equals_any(column, [params["value"]], type_name)
        case "not_equal":
            return _equals_any(column, [params["value"]], type_name)
        case "pattern":
            return ~column.str.contains(anchored(params["regex"], params["mode"]))
        case "starts_with":
            return ~column.str.starts_with(params["value"])
        case "ends_with":
            return ~column.str.ends_with(params["value"])
        case "length":
            length = column.str.len_chars()
            bounds = [
                *([length < params["minimum"]] if params.get("minimum") is not None else []),
                *([length > params["maximum"]] if params.get("maximum") is not None else []),
            ]
            outside: pl.Expr = functools.reduce(operator.or_, bounds, polars.lit(value=False))
            return outside
    raise ContractError(f"rule {rule.id}: kind {rule.kind} is not a rule of single rows")


def anchored(regex: str, mode: str) -> str:
    """The regular expression to search for, so that ``mode`` (match, search or full) holds."""
    match mode:
        case "search":
            return regex
        case "match":
            return f"^(?:{regex})"
        case "full":
            return rf"\A(?:{regex})\z"
    raise ContractError(f"unknown mode of a pattern: {mode!r}; one of match, search, full")


def _outside(rule: Rule, column: pl.Expr, type_name: str) -> pl.Expr:
    value, exclusive = from_json(rule.params["value"], type_name), bool(rule.params["exclusive"])
    below = rule.kind == "minimum"
    if is_integer(type_name):
        # Only whole numbers occur, so the bound can be one: no detour over floats that lose digits.
        if isinstance(value, float):
            value, exclusive = (math.ceil(value) if below else math.floor(value)), False
        bound = _typed(value, None)
    else:
        bound = _typed(value, type_name)
    if below:
        failed = column <= bound if exclusive else column < bound
    else:
        failed = column >= bound if exclusive else column > bound
    return failed | column.is_nan() if is_float(type_name) else failed


def _typed(value: Any, type_name: str | None) -> pl.Expr:
    import polars as pl

    from dp_dagster.contracts.canonical import polars_type

    if type_name is None or type_name.startswith("decimal"):
        return pl.lit(value)  # keeps all its digits: Polars compares decimals of two scales exactly
    return pl.lit(value, dtype=polars_type(type_name))


def _equals_any(column: pl.Expr, values: Sequence[Any], type_name: str) -> pl.Expr:
    """Whether the column's value is one of these; null stays null."""
    import polars as pl

    from dp_dagster.contracts.canonical import polars_type

    read = [from_json(value, type_name) for value in values]
    if is_integer(type_name):
        read = [value for value in read if not isinstance(value, float)]  # 2.5 is no whole number
    if not read:
        return pl.when(column.is_not_null()).then(pl.lit(value=False))
    if len(read) <= _CHAIN_LIMIT:
        literal_type = None if is_integer(type_name) else type_name
        return functools.reduce(operator.or_, (column == _typed(value, literal_type) for value in read))
    if is_integer(type_name):
        limit = 2 ** (int(type_name[3:]) - 1)
        read = [value for value in read if -limit <= value < limit] or [0]
    if type_name.startswith("decimal"):
        return column.is_in(read)
    return column.is_in(pl.Series(read, dtype=polars_type(type_name)))
