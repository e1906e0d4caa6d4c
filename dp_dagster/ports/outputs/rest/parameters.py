"""The parameters of a REST port as OpenAPI describes them: filters, options, keys, and what their values look like."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.literals import is_decimal, is_nested
from dp_dagster.ports.outputs.rest.asking import OPERATOR_NAMES
from dp_dagster.ports.outputs.rest.negotiation import FORMS
from dp_dagster.ports.values import row_encoder
from dp_dagster.predicates.conditions import LIST_OPERATORS, MOST_VALUES, operators_for
from dp_dagster.predicates.values import BadValueError, read_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dp_dagster.contracts.model import Column
    from dp_dagster.ports.outputs.rest.description import PortDescription

    Json = dict[str, Any]

_IN_WORDS = {
    "eq": "equal to",
    "ne": "not equal to",
    "lt": "less than",
    "lte": "at most",
    "gt": "more than",
    "gte": "at least",
    "in": "one of several, separated by commas; a comma in a value is written `\\,`",
    "not_in": "none of several, separated by commas",
    "null": "`true` for rows without a value, `false` for rows with one",
    "contains": "holds this text, with case",
    "starts_with": "begins with this text, with case",
    "ends_with": "ends with this text, with case",
}


def page_parameters(
    port: PortDescription, columns: Mapping[str, Column], clear: Mapping[str, Column]
) -> list[Json]:
    """What pages can be asked for besides filters.

    Args:
        port: What the port is.
        columns: What the consumer sees.
        clear: What of it they may sort by.
    """
    sortable = [name for name, column in clear.items() if not is_nested(column.type)]
    return [
        fields_parameter(columns),
        {
            "name": "sort",
            "in": "query",
            "description": f"Columns to sort by, separated by commas; `-` in front turns the order. "
            f"Of {_names(sortable)}. Rows without a value come last.",
            "style": "form",
            "explode": False,
            "schema": {
                "type": "array",
                "items": {"enum": [sign + _escaped(name) for name in sortable for sign in ("", "-")]},
                "minItems": 1,
            },
        },
        {
            "name": "limit",
            "in": "query",
            "description": f"Rows of a page, or `all`. By default {port.page_size} in JSON, and all in other formats.",
            "schema": {
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": port.most_rows},
                    {"type": "string", "enum": ["all"]},
                ]
            },
        },
        {
            "name": "cursor",
            "in": "query",
            "description": "Where a page goes on; from the links of another page, with the same filters and order.",
            "schema": {"type": "string"},
        },
        as_of_parameter(),
        format_parameter(tuple(FORMS), "The form of the answer; goes before `Accept`."),
    ]


def fields_parameter(columns: Mapping[str, Column]) -> Json:
    """``fields``."""
    return {
        "name": "fields",
        "in": "query",
        "description": "Columns to give, in this order, separated by commas. By default all.",
        "style": "form",
        "explode": False,
        "schema": {
            "type": "array",
            "items": {"enum": [_escaped(name) for name in columns]},
            "minItems": 1,
            "uniqueItems": True,
        },
    }


def as_of_parameter() -> Json:
    """``as_of``."""
    return {
        "name": "as_of",
        "in": "query",
        "description": "The number of a version, or a time at which it was on show. By default the newest.",
        "schema": {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 999_999_999_999_999},
                {"type": "string", "format": "date-time"},
            ],
        },
    }


def filters(columns: Mapping[str, Column]) -> list[Json]:
    """One parameter a column, with the operators in brackets: ``amount[gte]=100``."""
    found = []
    for name, column in columns.items():
        allowed = operators_for(column.type)
        properties: Json = {}
        for written, operator in OPERATOR_NAMES.items():
            if operator not in allowed:
                continue
            if operator == "is_null":
                schema: Json = {"type": "boolean"}
            elif operator in LIST_OPERATORS:
                schema = _list_schema(column)
            else:
                schema = value_schema(column)
            properties[written] = {**schema, "description": f"{_IN_WORDS[written]}"}
        shortest = f"`{name}=…` is short for `{name}[eq]=…`" if "eq" in properties else f"`{name}[null]=true`"
        found.append(
            {
                "name": name,
                "in": "query",
                "description": f"{column.description or name} Filter: {shortest}.",
                "style": "deepObject",
                "explode": True,
                "schema": {"type": "object", "properties": properties, "additionalProperties": False},
            }
        )
    return found


def key_parameter(column: Column, example: Mapping[str, Any] | None) -> Json:
    """A column of the key, as a part of the path."""
    value = value_schema(column)
    if column.type == "string":
        # An empty part of a path is none.
        value = {**value, "minLength": 1}
    shown: Any = examples_of(column)[:1] or ([example[column.name]] if example else [])
    return {
        "name": column.name,
        "in": "path",
        "required": True,
        "description": column.description or f"Key of type {column.type}.",
        "schema": value,
        **({"example": shown[0]} if shown else {}),
    }


def format_parameter(names: Sequence[str], description: str) -> Json:
    """``format``."""
    return {
        "name": "format",
        "in": "query",
        "description": description,
        "schema": {"type": "string", "enum": list(names)},
    }


def value_schema(column: Column) -> Json:
    """A value of a column as it stands in a query."""
    kind = column.type
    if kind.startswith("int"):
        bits = int(kind.removeprefix("int"))
        return {"type": "integer", "minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}
    simple: dict[str, Json] = {
        "bool": {"type": "boolean"},
        "float32": {"type": "number"},
        "float64": {"type": "number"},
        "date": {"type": "string", "format": "date"},
        "timestamp(UTC)": {"type": "string", "format": "date-time"},
    }
    return simple.get(kind) or {"type": "string", "pattern": f"^{_pattern(kind)}$"}


def _list_schema(column: Column) -> Json:
    """Values of a column, separated by commas."""
    if column.type == "string":
        return {"type": "string", "pattern": f"^{_TEXT}$"}
    one = _pattern(column.type)
    return {"type": "string", "pattern": f"^{one}(,{one}){{0,{MOST_VALUES - 1}}}$"}


def examples_of(column: Column) -> list[Any]:
    """The values that the contract gives as examples, as JSON has them; what is no value of the column is left out."""
    write = row_encoder((column,))
    found = []
    for text in column.tags["examples"].split(", ") if "examples" in column.tags else ():
        with contextlib.suppress(BadValueError):
            value = read_value(text, column.type)
            if is_decimal(column.type):
                # With all digits of its scale, as rows have it.
                scale = int(column.type[:-1].partition(",")[2])
                value = value.quantize(Decimal(1).scaleb(-scale))
            found.append(write((value,))[column.name])
    return found


_TEXT = r"[^\u0000]*"
_DAY = r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
_CLOCK = r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
# Digits that every number of the type may have.
_DIGITS = {"int8": 2, "int16": 4, "int32": 9, "int64": 18}


def _pattern(kind: str) -> str:
    """A regular expression that values of a type keep. It may leave out a few of them."""
    if kind in _DIGITS:
        return f"-?[0-9]{{1,{_DIGITS[kind]}}}"
    if is_decimal(kind):
        precision, scale = (int(part) for part in kind[len("decimal(") : -1].split(","))
        fraction = f"(\\.[0-9]{{1,{scale}}})?" if scale else ""
        return f"-?[0-9]{{1,{precision - scale}}}{fraction}" if precision > scale else f"-?0{fraction}"
    return {
        "bool": "(true|false)",
        "float32": r"-?[0-9]{1,9}(\.[0-9]{1,9})?",
        "float64": r"-?[0-9]{1,15}(\.[0-9]{1,15})?",
        "date": _DAY,
        "timestamp": f"{_DAY}{_CLOCK}",
        "timestamp(UTC)": f"{_DAY}{_CLOCK}Z",
        "binary": "([0-9a-fA-F]{2})*",
    }.get(kind, _TEXT)


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace(",", "\\,")


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
