"""Rules as SQL conditions: true or unknown for a good row, false for a bad one, as a ``CHECK`` is read.

The dialect is that of DuckDB and PostgreSQL where they agree. A rule that cannot be said so that it means the same is
refused with the reason, never approximated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.portable_patterns import anchored
from dp_dagster.contracts.type_shapes import quoted
from dp_dagster.documents.expressions import UnsaidError, expression_sql

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.contracts.model import Rule


def condition(rule: Rule, types: Mapping[str, str]) -> str:
    """What must hold of a row.

    Args:
        rule: A rule of single rows.
        types: Canonical types of the contract's columns.

    Raises:
        UnsaidError: SQL cannot say it; with the reason.
    """
    if rule.level != "row" or rule.params.get("path"):
        raise UnsaidError("it is about more, or less, than the values of one row")
    if rule.kind == "expression":
        holds = expression_sql(rule.params["expression"], types)
    elif rule.kind == "not_null":
        column = quoted(rule.columns[0])
        nan = f" AND NOT isnan({column})" if rule.params.get("nan_fails") else ""
        return f"{column} IS NOT NULL{nan}"
    else:
        holds = _of_value(rule, types)
    if rule.params.get("null_fails"):
        return f"coalesce({holds}, false)"
    return holds


def literal(value: Any, type_name: str) -> str:  # noqa: PLR0911 - one return for each type
    """A rule's value in SQL."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if type_name == "date":
        return f"DATE '{value}'"
    if type_name == "timestamp":
        return f"TIMESTAMP '{str(value).replace('T', ' ')}'"
    if type_name == "timestamp(UTC)":
        return f"TIMESTAMPTZ '{str(value).replace('T', ' ')}'"
    if type_name == "string":
        return "'" + str(value).replace("'", "''") + "'"
    if type_name == "binary":
        raise UnsaidError("values of binary columns are not written in SQL")
    if type_name.startswith("float") and (isinstance(value, str) or type_name == "float32"):
        return f"CAST('{value}' AS {'REAL' if type_name == 'float32' else 'DOUBLE'})"
    if type_name == "float64":
        return f"CAST({value!r} AS DOUBLE)"
    return str(value)


def _of_value(rule: Rule, types: Mapping[str, str]) -> str:
    name = rule.columns[0] if len(rule.columns) == 1 else ""
    type_name = types.get(name, "")
    column, params = quoted(name), rule.params
    match rule.kind:
        case "minimum" | "maximum":
            sign = (">" if rule.kind == "minimum" else "<") + ("" if params["exclusive"] else "=")
            holds = f"{column} {sign} {literal(params['value'], type_name)}"
            return f"({holds} AND NOT isnan({column}))" if type_name.startswith("float") else holds
        case "one_of" | "none_of" | "equal" | "not_equal":
            values = params.get("values", [params.get("value")])
            if not values:
                return "TRUE"
            listed = ", ".join(literal(value, type_name) for value in values)
            return f"{column} {'NOT IN' if rule.kind in ('none_of', 'not_equal') else 'IN'} ({listed})"
        case "pattern":
            return f"regexp_matches({column}, {literal(anchored(params), 'string')})"
        case "starts_with" | "ends_with":
            side = "left" if rule.kind == "starts_with" else "right"
            value = params["value"]
            return f"{side}({column}, {len(value)}) = {literal(value, 'string')}"
        case "length":
            bounds = [
                f"length({column}) {sign} {params[limit]}"
                for limit, sign in (("minimum", ">="), ("maximum", "<="))
                if params.get(limit) is not None
            ]
            return f"({' AND '.join(bounds)})"
    raise UnsaidError(f"no condition is written for {rule.kind.replace('_', ' ')}")
