"""Expressions of row checks, which are kept in Polars' own form, as SQL conditions where both mean the same."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.type_shapes import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COMPARISONS = {"Eq": "=", "NotEq": "<>", "Lt": "<", "LtEq": "<=", "Gt": ">", "GtEq": ">="}
_ARITHMETIC = {"Plus": "+", "Minus": "-", "Multiply": "*"}
_LOGIC = {"And": "AND", "LogicalAnd": "AND", "Or": "OR", "LogicalOr": "OR"}
_BOOLEAN: dict[str, Callable[[str], str]] = {
    "IsNull": "({} IS NULL)".format,
    "IsNotNull": "({} IS NOT NULL)".format,
    "Not": "(NOT {})".format,
}


class UnsaidError(ValueError):
    """A rule that a format cannot say. The text is the reason."""


def expression_sql(text: str, types: Mapping[str, str]) -> str:
    """A kept expression as a SQL condition.

    Comparisons, sums, differences, products and absolute values of columns and literals, logic and tests for null are
    translated. What SQL engines compute differently from Polars (division, rounding, dates' parts, ``float32``) is not.

    Args:
        text: The expression, as a contract keeps it.
        types: Canonical types of the contract's columns.

    Raises:
        UnsaidError: a part has no counterpart; names it.
    """
    return _sql(json.loads(text), types)


def _sql(node: Any, types: Mapping[str, str]) -> str:
    kind, content = next(iter(node.items()))
    match kind:
        case "Column":
            type_name = types.get(content, "")
            if type_name.startswith(("float32", "list", "struct", "map")):
                raise UnsaidError(f"SQL engines differ on {type_name.partition('<')[0]} columns ({content})")
            return quoted(content)
        case "Alias":
            return _sql(content[0], types)
        case "Literal":
            return _literal(content)
        case "BinaryExpr":
            operator = content["op"]
            sign = {**_COMPARISONS, **_ARITHMETIC, **_LOGIC}.get(
                operator if isinstance(operator, str) else ""
            )
            if sign is None:
                raise UnsaidError(f"{operator} has no counterpart in SQL that means the same")
            return f"({_sql(content['left'], types)} {sign} {_sql(content['right'], types)})"
        case "Function":
            return _function(content, types)
    raise UnsaidError(f"{kind} has no counterpart in SQL that means the same")


def _function(content: Any, types: Mapping[str, str]) -> str:
    function, inputs = content["function"], content["input"]
    name = function.get("Boolean") if isinstance(function, dict) else None
    if name in ("IsNull", "IsNotNull") and "Column" in inputs[0]:
        return _BOOLEAN[name](quoted(inputs[0]["Column"]))  # null is null in a column of any type
    if isinstance(name, str) and name in _BOOLEAN:
        return _BOOLEAN[name](_sql(inputs[0], types))
    if isinstance(name, dict) and "IsBetween" in name:
        low, high = {
            "Both": (">=", "<="), "Left": (">=", "<"), "Right": (">", "<="), "None": (">", "<"),
        }[name["IsBetween"]["closed"]]  # fmt: skip
        value, lower, upper = (_sql(part, types) for part in inputs)
        return f"({value} {low} {lower} AND {value} {high} {upper})"
    if function in ("Abs", "Negate"):
        return f"{'abs' if function == 'Abs' else '-'}({_sql(inputs[0], types)})"
    label = function if isinstance(function, str) else next(iter(function.values()))
    label = label if isinstance(label, str) else next(iter(label))
    raise UnsaidError(f"{label} has no counterpart in SQL that means the same")


def _literal(content: Any) -> str:  # noqa: PLR0911 - one return for each kind
    kind, value = next(iter(content.items()))
    if kind == "Dyn":
        kind, value = next(iter(value.items()))
        if kind == "Int":
            return str(value)
        if kind == "Float" and isfinite(value):
            return f"CAST({value!r} AS DOUBLE)"
    elif isinstance(value, dict):
        kind, value = next(iter(value.items()))
        match kind:
            case "Null":
                return "NULL"
            case "Boolean":
                return "TRUE" if value else "FALSE"
            case "String":
                return "'" + str(value).replace("'", "''") + "'"
            case "Date":
                return f"DATE '{date(1970, 1, 1) + timedelta(days=value)}'"
            case "Int8" | "Int16" | "Int32" | "Int64":
                return str(value)
            case "Float64" if isinstance(value, float) and isfinite(value):
                return f"CAST({value!r} AS DOUBLE)"
            case "Datetime" if isinstance(value, list) and value[1] == "Microseconds":
                moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value[0])
                text = moment.strftime("%Y-%m-%d %H:%M:%S.%f")
                return f"TIMESTAMPTZ '{text}+00:00'" if value[2] else f"TIMESTAMP '{text}'"
    raise UnsaidError(f"a literal of kind {kind} is not written in SQL")
