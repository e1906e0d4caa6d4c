"""Types of databases as the store has them, and values brought to them without loss."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import uuid
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import InputError
from dp_dagster.ports.inputs.floats import is_written_as

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    import sqlalchemy

#: Where a number has no declared precision, what is kept of it; a value with more is an error, not rounded.
UNBOUNDED = "decimal(38,9)"

# PostgreSQL's types by number (they are part of its protocol), as the store has them.
_POSTGRESQL = {
    16: "bool",
    17: "binary",
    20: "int64",
    21: "int16",
    23: "int32",
    700: "float32",
    701: "float64",
    1082: "date",
    1114: "timestamp",
    1184: "timestamp(UTC)",
    18: "string",
    19: "string",
    25: "string",
    1042: "string",
    1043: "string",
    1000: "list<bool>",
    1005: "list<int16>",
    1007: "list<int32>",
    1009: "list<string>",
    1015: "list<string>",
    1016: "list<int64>",
    1021: "list<float32>",
    1022: "list<float64>",
    1115: "list<timestamp>",
    1182: "list<date>",
    1185: "list<timestamp(UTC)>",
}
_POSTGRESQL_NUMERIC = 1700


def of_postgresql(number: int, precision: int | None, scale: int | None) -> str | None:
    """The type of a column of a result; ``None`` for one that is read as the text that PostgreSQL writes."""
    if number != _POSTGRESQL_NUMERIC:
        return _POSTGRESQL.get(number)
    if precision is None or scale is None:
        return UNBOUNDED
    # PostgreSQL knows scales below zero (thousands) and above the precision (thousandths alone).
    return decimal_type(max(precision - scale, 0) + max(scale, 0), max(scale, 0))


def decimal_type(precision: int, scale: int) -> str:
    """A decimal of at most 38 digits; values that need more are errors when they come."""
    scale = min(scale, 38)
    return f"decimal({min(max(precision, scale, 1), 38)},{scale})"


def of_sqlalchemy(kind: sqlalchemy.types.TypeEngine[Any], dialect: str) -> str:  # noqa: PLR0911 one for each
    """The type of a column that SQLAlchemy has looked up."""
    from sqlalchemy import types

    if isinstance(kind, types.Boolean):
        return "bool"
    if isinstance(kind, types.Integer):
        # SQLite's INTEGER has 64 bits; others may be unsigned.
        if isinstance(kind, types.BigInteger) or dialect == "sqlite" or getattr(kind, "unsigned", False):
            return "int64"
        return "int16" if isinstance(kind, types.SmallInteger) else "int32"
    if isinstance(kind, types.Float):
        return "float64"
    if isinstance(kind, types.Numeric):
        if kind.precision is None or kind.scale is None:
            return UNBOUNDED
        return decimal_type(kind.precision, kind.scale)
    if isinstance(kind, types.DateTime):
        return "timestamp(UTC)" if kind.timezone else "timestamp"
    if isinstance(kind, types.Date):
        return "date"
    if isinstance(kind, types.LargeBinary):
        return "binary"
    return "string"


def of_values(values: Sequence[Any]) -> str:  # noqa: PLR0911 one for each
    """The type that all values have which are there; text where there is none."""
    found = {type(value) for value in values if value is not None}
    if found == {bool}:
        return "bool"
    if found and found <= {int}:
        return "int64"
    if found and found <= {int, float}:
        return "float64"
    if found and found <= {int, decimal.Decimal}:
        return UNBOUNDED
    if found == {dt.datetime}:
        zoned = {value.tzinfo is not None for value in values if value is not None}
        return "timestamp(UTC)" if zoned == {True} else "timestamp"
    if found == {dt.date}:
        return "date"
    if found and found <= {bytes, memoryview, bytearray}:
        return "binary"
    return "string"


def to_arrow(values: Sequence[Any], kind: pa.DataType, column: str, what: str) -> pa.Array:
    """Values of a column as Arrow, none of them changed.

    Raises:
        InputError: a value does not fit the type; names column, value and type.
    """
    import pyarrow as pa

    try:
        return pa.array(values, type=kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    converted = []
    for value in values:
        try:
            converted.append(None if value is None else pa.scalar(_plain(value, kind), type=kind))
        except (
            pa.ArrowException,
            TypeError,
            ValueError,
            OverflowError,
            decimal.InvalidOperation,
        ) as error:
            raise InputError(
                f"{what}: column {column}: value {_shown(value)} is no {kind}; declare under types what it is to be"
            ) from error
    return pa.array([None if scalar is None else scalar.as_py() for scalar in converted], type=kind)


def _plain(value: Any, kind: pa.DataType) -> Any:  # noqa: PLR0911 one for each
    """A value of another Python type that means the same."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        return _text(value)
    if pa.types.is_boolean(kind) and value in (0, 1):
        return bool(value)
    if pa.types.is_integer(kind) and isinstance(value, decimal.Decimal | float | str):
        return _whole(value)
    if pa.types.is_floating(kind) and isinstance(value, decimal.Decimal | int | str):
        return _float(value)
    if pa.types.is_decimal(kind) and isinstance(value, float | str):
        return decimal.Decimal(str(value))
    if pa.types.is_date(kind) and isinstance(value, str):
        return dt.date.fromisoformat(value)
    if pa.types.is_date(kind) and isinstance(value, dt.datetime):
        if value.time() != dt.time(0):
            raise ValueError("has a time of day")
        return value.date()
    if pa.types.is_timestamp(kind):
        return _moment(value, zoned=kind.tz is not None)
    if pa.types.is_binary(kind) and isinstance(value, memoryview | bytearray):
        return bytes(value)
    return value


def _whole(value: decimal.Decimal | float | str) -> int:
    number = decimal.Decimal(str(value))
    if number != number.to_integral_value():
        raise ValueError("is no whole number")
    return int(number)


def _float(value: decimal.Decimal | int | str) -> float:
    number = float(value)
    if math.isfinite(number) and not is_written_as(number, decimal.Decimal(str(value))):
        raise ValueError("has more digits than a float")
    return number


def _moment(value: Any, *, zoned: bool) -> dt.datetime:
    moment = value
    if isinstance(value, str):
        moment = dt.datetime.fromisoformat(value)
    elif not isinstance(value, dt.datetime) and isinstance(value, dt.date):
        moment = dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 - made aware below, if need be
    if not isinstance(moment, dt.datetime):
        raise TypeError("is no date and time")
    if zoned != (moment.tzinfo is not None):
        raise ValueError("has a time zone, or lacks one")
    return moment


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bytes | memoryview | bytearray):
        raise TypeError("is binary")
    if isinstance(value, uuid.UUID | decimal.Decimal | int | dt.timedelta):
        return str(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return str(value)


def _shown(value: Any) -> str:
    text = str(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
