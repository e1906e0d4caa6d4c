"""Values of conditions: read from text or JSON as the type of the column that they are compared with."""

from __future__ import annotations

import math
import re
import struct
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Any

from dp_dagster.contracts.literals import is_decimal, is_float, is_integer, is_nested

_WHOLE_NUMBER = re.compile(r"[-+]?[0-9]{1,40}\Z")
_NUMBER = re.compile(r"[-+]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][-+]?[0-9]{1,3})?\Z")
_SPECIAL = {"nan": math.nan, "inf": math.inf, "infinity": math.inf, "-inf": -math.inf, "-infinity": -math.inf}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)"
    r"(Z|z|[-+][0-9]{2}:?[0-9]{2})?\Z"
)
_HEXADECIMAL = re.compile(r"([0-9a-fA-F]{2})*\Z")
_EXACT = Context(prec=200)
_LONGEST_SHOWN = 60


class BadValueError(ValueError):
    """A value cannot be compared with a column; the text says what would be right, not where it stood."""


def read_value(value: object, type_name: str) -> Any:  # noqa: PLR0911 - one return for each type
    """A value as the column's type.

    Texts are what a query parameter or an SQL literal holds; other values are what JSON holds. Nothing is rounded
    or guessed, with one exception: a value for a ``float32`` column is the ``float32`` next to it, as the column's
    own values are.

    Args:
        value: Text, number or bool.
        type_name: Canonical type of the column.

    Raises:
        BadValueError: it is no value of that type, or not exactly one.
    """
    if is_nested(type_name):
        raise BadValueError(f"a column of type {type_name} can only be asked whether it is null")
    if is_integer(type_name):
        return _integer(value, type_name)
    if is_float(type_name):
        return _float(value, type_name)
    if is_decimal(type_name):
        return _decimal(value, type_name)
    if type_name == "bool":
        return _bool(value)
    if type_name == "date":
        return _date(value)
    if type_name in {"timestamp", "timestamp(UTC)"}:
        return _timestamp(value, type_name)
    if type_name == "binary":
        return _binary(value)
    if type_name == "string" and isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise BadValueError("the text holds half of a surrogate pair; write the whole character")
        if "\x00" in value:
            raise BadValueError("the text holds a null character, which no column can")
        return value
    raise _refused(value, "a text")


def _refused(value: object, wanted: str) -> BadValueError:
    return BadValueError(f"{_shown(value)} is not {wanted}")


def _shown(value: object) -> str:
    text = (
        repr(value)
        if isinstance(value, str)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def _integer(value: object, type_name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _refused(value, "a whole number")
    if isinstance(value, str) and not _WHOLE_NUMBER.match(value):
        raise _refused(value, "a whole number")
    number = int(value)
    bits = int(type_name.removeprefix("int"))
    if not -(2 ** (bits - 1)) <= number < 2 ** (bits - 1):
        raise BadValueError(f"{_shown(value)} is out of the range of {type_name}")
    return number


def _float(value: object, type_name: str) -> float:
    if isinstance(value, str):
        special = _SPECIAL.get(value.lower().removeprefix("+"))
        if special is None and not _NUMBER.match(value):
            raise _refused(value, "a number")
        number = special if special is not None else float(value)
    elif isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise _refused(value, "a number")
    else:
        try:
            number = float(value)
        except OverflowError:
            raise BadValueError(f"{_shown(value)} is out of the range of {type_name}") from None
    if type_name == "float32":
        try:
            return float(struct.unpack("<f", struct.pack("<f", number))[0])
        except OverflowError:
            raise BadValueError(f"{_shown(value)} is out of the range of float32") from None
    return number


def _decimal(value: object, type_name: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise _refused(value, "a number")
    # A float is taken as it is written: 0.1 means one tenth.
    text = str(value)
    if not _NUMBER.match(text):
        raise _refused(value, "a number")
    precision, scale = (int(part) for part in type_name[8:-1].split(","))
    number = Decimal(text)
    sign, digits, exponent = number.normalize(_EXACT).as_tuple()
    assert isinstance(exponent, int)
    if -exponent > scale:
        raise BadValueError(
            f"{_shown(value)} has more than {scale} decimals, which is all that {type_name} holds"
        )
    if number and len(digits) + exponent > precision - scale:
        raise BadValueError(f"{_shown(value)} is out of the range of {type_name}")
    # Exact: no rounding to the context's precision, and no sign on zero.
    plain = Decimal((sign if number else 0, digits, exponent))
    return Decimal(format(plain, "f"))


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise _refused(value, "true or false")


def _date(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if isinstance(value, str) and _DATE.match(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise _refused(value, "a date such as 2026-01-31")


def _timestamp(value: object, type_name: str) -> datetime:
    has_zone = type_name == "timestamp(UTC)"
    example = "2026-01-31T08:30:00Z" if has_zone else "2026-01-31T08:30:00"
    wanted = f"a time such as {example}"
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, str):
        if _DATE.match(value):
            raise BadValueError(f"{_shown(value)} is a date; write {wanted}")
        if not _MOMENT.match(value):
            raise _refused(value, wanted)
        try:
            moment = datetime.fromisoformat(value.upper())
        except ValueError:
            raise _refused(value, wanted) from None
    else:
        raise _refused(value, wanted)
    if (moment.tzinfo is not None) != has_zone:
        problem = (
            "has no time zone, and the column's times have one"
            if has_zone
            else ("has a time zone, and the column's times have none")
        )
        raise BadValueError(f"{_shown(value)} {problem}; write {wanted}")
    try:
        return moment.astimezone(UTC) if has_zone else moment
    except OverflowError:
        raise BadValueError(f"{_shown(value)} is out of the range of times") from None


def _binary(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str) and _HEXADECIMAL.match(value):
        return bytes.fromhex(value)
    raise _refused(value, "binary data in hexadecimal digits")
