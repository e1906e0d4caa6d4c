"""Values in rules: checked against the column's type, kept as JSON, read back for an evaluator.

The column's type says how a JSON value is read, so a rule's parameters stay plain and readable: numbers as
numbers, decimals and dates as text, the float values that JSON lacks as ``"NaN"``, ``"inf"`` and ``"-inf"``,
binary as hexadecimal digits.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

_INTEGER = re.compile(r"int(8|16|32|64)")
_FLOAT = re.compile(r"float(32|64)")
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


def is_integer(type_name: str) -> bool:
    """Whether the canonical type is an integer type."""
    return _INTEGER.fullmatch(type_name) is not None


def is_float(type_name: str) -> bool:
    """Whether the canonical type is a floating point type."""
    return _FLOAT.fullmatch(type_name) is not None


def is_decimal(type_name: str) -> bool:
    """Whether the canonical type is a decimal type."""
    return _DECIMAL.fullmatch(type_name) is not None


def is_nested(type_name: str) -> bool:
    """Whether the canonical type has parts: a list, struct or map."""
    return type_name.startswith(("list<", "struct<", "map<"))


def to_json(value: Any, type_name: str) -> Any:
    """Write a value of a rule on a column of that canonical type as JSON.

    Args:
        value: What the contract says: a number, text, date, …
        type_name: Canonical type of the column.

    Raises:
        ValueError: The value cannot be compared with a column of that type; the text says what would be right.
    """
    refused = ValueError(f"{value!r} cannot be compared with a column of type {type_name}")
    if is_integer(type_name):
        return _integer(value, refused)
    if is_float(type_name):
        return _float(value, refused)
    if is_decimal(type_name):
        return _decimal(value, refused)
    if type_name in ("timestamp", "timestamp(UTC)"):
        return _timestamp(value, type_name, refused)
    if type_name == "date":
        if isinstance(value, datetime) or not isinstance(value, date):
            raise refused
        return value.isoformat()
    expected = {"bool": bool, "string": str, "binary": bytes}.get(type_name)
    if expected is None or not isinstance(value, expected):
        raise refused
    return value.hex() if isinstance(value, bytes) else value


def _integer(value: Any, refused: ValueError) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)) or not math.isfinite(value):
        raise refused
    if value == int(value):
        return int(value)
    return float(value)


def _float(value: Any, refused: ValueError) -> float | str:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise refused
    number = float(value)
    return number if math.isfinite(number) else str(number).replace("nan", "NaN")


def _decimal(value: Any, refused: ValueError) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise refused
    try:
        # A float is taken as it is written: 0.1 means one tenth, not the binary fraction next to it.
        number = Decimal(str(value))
    except InvalidOperation:
        raise refused from None
    if not number.is_finite():
        raise refused
    return format(number.normalize(), "f")


def _timestamp(value: Any, type_name: str, refused: ValueError) -> str:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the zone is settled below
        if type_name == "timestamp(UTC)":
            value = value.replace(tzinfo=UTC)
    if not isinstance(value, datetime):
        raise refused
    if (value.tzinfo is None) != (type_name == "timestamp"):
        hint = "give it a time zone" if value.tzinfo is None else "leave its time zone out"
        raise ValueError(f"{refused}: {hint}")
    return value.isoformat() if value.tzinfo is None else value.astimezone(UTC).isoformat()


def from_json(value: Any, type_name: str) -> Any:
    """Read back what :func:`to_json` wrote for a column of that canonical type."""
    if is_float(type_name):
        return float(value)
    if is_decimal(type_name):
        return Decimal(str(value))
    if type_name in ("timestamp", "timestamp(UTC)"):
        # A contract that leaves open whether a column has a zone names instants in UTC.
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC if type_name == "timestamp(UTC)" else None)
    if type_name == "date":
        return date.fromisoformat(value)
    if type_name == "binary":
        return bytes.fromhex(value)
    return value
