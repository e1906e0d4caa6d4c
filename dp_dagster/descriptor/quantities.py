"""Quantities as people write them in a descriptor: spans of time, shares, days, hours of a week.

Each reader says what is wrong without the value, which may come from the environment, and carries the JSON Schema
of what it takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Any, Generic, TypeVar

from dp_dagster.descriptor.refresh import (
    RefreshRate,
    RefreshRateError,
    check_cron,
    check_zone,
    parse,
    parse_duration,
)

QuantityT = TypeVar("QuantityT")

_AMOUNT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(ms|s|min|h|d|w|y)\Z")
_YEARS = re.compile(r"P([0-9]{1,3})Y\Z")
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}
_PERCENT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,12})?)\s*%\Z")
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])\Z")
_SPAN = re.compile(
    r"(?P<first>[a-z]{3})(?:\s*-\s*(?P<last>[a-z]{3}))?\s+(?P<start>[0-9:]{4,5})\s*-\s*(?P<end>[0-9:]{4,5})\Z"
)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONGEST = timedelta(days=100 * 365)
_DAY_MINUTES = 24 * 60
_REFERENCE = r"|\$\{"


class QuantityError(ValueError):
    """A quantity that cannot be read: what is wrong with it, and what would be right."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True)
class Reader(Generic[QuantityT]):
    """How a value of a descriptor is read, and what its JSON Schema is."""

    read: Callable[[Any], QuantityT]
    schema: dict[str, Any]


# -- spans of time ----------------------------------------------------------------------------------------


def read_span(value: Any) -> timedelta:
    """``200ms``, ``15min``, ``6h``, ``30d``, ``3y`` (years of 365 days) or ISO 8601 (``PT6H``, ``P3Y``).

    Raises:
        QuantityError: it is none, is zero, or is longer than a hundred years.
    """
    fix = "write a span such as 200ms, 15min, 6h, 30d, 3y or PT6H"
    if not isinstance(value, str):
        raise QuantityError("is no span of time", fix)
    text = value.strip()
    amount, years = _AMOUNT.match(text), _YEARS.match(text)
    if amount:
        span = timedelta(
            microseconds=round(float(amount.group(1)) * (_UNITS[amount.group(2)] / timedelta(microseconds=1)))
        )
    elif years:
        span = int(years.group(1)) * _UNITS["y"]
    else:
        try:
            span = parse_duration(text)
        except (RefreshRateError, OverflowError):
            raise QuantityError("is no span of time", fix) from None
    if not timedelta(0) < span <= _LONGEST:
        raise QuantityError("is out of range", "give more than nothing and at most 100 years")
    return span


SPAN = Reader(
    read_span,
    {
        "type": "string",
        "pattern": r"^[0-9.]+\s*(ms|s|min|h|d|w|y)$|^P" + _REFERENCE,
        "examples": ["15min", "6h", "30d", "PT6H"],
    },
)

# -- shares -------------------------------------------------------------------------------------------------


def _percent(value: Any, what: str, fix: str) -> Fraction:
    match = _PERCENT.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise QuantityError(f"is no {what}", fix)
    return Fraction(match.group(1)) / 100


def read_availability(value: Any) -> Fraction:
    """A percentage of up to 100, as text: ``99.9%``.

    Raises:
        QuantityError: it is none.
    """
    fix = 'write a percentage of up to 100, such as "99.9%"'
    share = _percent(value, "availability", fix)
    if not 0 < share <= 1:
        raise QuantityError("is no availability", fix)
    return share


def read_share(value: Any) -> Fraction:
    """A percentage from 0 to 100, as text.

    Raises:
        QuantityError: it is none.
    """
    fix = 'write a percentage from 0 to 100, such as "0.5%"'
    share = _percent(value, "percentage", fix)
    if share > 1:
        raise QuantityError("is more than everything", fix)
    return share


def read_tolerance(value: Any) -> Fraction:
    """A percentage, which may be above 100: a table may be allowed to double.

    Raises:
        QuantityError: it is none.
    """
    return _percent(value, "tolerance", 'write a percentage, such as "20%"')


def read_percentile(value: Any) -> float:
    """A percentile as a number: 50 to below 100.

    Raises:
        QuantityError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < 100:
        raise QuantityError(
            "is no percentile", "write a number of at least 1 and below 100, such as 95 or 99.9"
        )
    return float(value)


_PERCENT_SCHEMA: dict[str, Any] = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*%$" + _REFERENCE}
AVAILABILITY = Reader(read_availability, _PERCENT_SCHEMA)
SHARE = Reader(read_share, _PERCENT_SCHEMA)
TOLERANCE = Reader(read_tolerance, _PERCENT_SCHEMA)
PERCENTILE = Reader(read_percentile, {"type": "number", "minimum": 1, "exclusiveMaximum": 100})

# -- numbers, names, choices --------------------------------------------------------------------------------


def read_count(value: Any) -> int:
    """A whole number from 0.

    Raises:
        QuantityError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise QuantityError("is no count", "write a whole number such as 1000")
    return int(value)


def read_versions(value: Any) -> int:
    """How many versions to look back: 1 to 100.

    Raises:
        QuantityError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100:
        raise QuantityError("is no number of versions", "write a whole number from 1 to 100")
    return int(value)


def read_column(value: Any) -> str:
    """A column's name.

    Raises:
        QuantityError: it is no text.
    """
    if not isinstance(value, str) or not value.strip():
        raise QuantityError("names no column", "write a column of the dataset")
    return value


def read_basis(value: Any) -> str:
    """What an age is counted from.

    Raises:
        QuantityError: it is no choice.
    """
    if value not in {"publication", "upstream"}:
        raise QuantityError("is no choice here", "choices: publication, upstream; or name a column")
    return str(value)


COUNT = Reader(read_count, {"type": "integer", "minimum": 0})
VERSIONS = Reader(read_versions, {"type": "integer", "minimum": 1, "maximum": 100})
COLUMN = Reader(read_column, {"type": "string", "minLength": 1})
BASIS = Reader(read_basis, {"enum": ["publication", "upstream"]})

# -- the calendar ---------------------------------------------------------------------------------------------


def read_moment(value: Any) -> datetime:
    """A day (its start in UTC) or an instant with a zone, as ISO 8601.

    Raises:
        QuantityError: it is none.
    """
    fix = "write a day such as 2027-03-31, or an instant such as 2027-03-31T12:00:00+01:00"
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    else:
        if not isinstance(value, str):
            raise QuantityError("is no day", fix)
        try:
            if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
                return datetime.combine(date.fromisoformat(value), time(), UTC)
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise QuantityError("is no day", fix) from None
    if moment.tzinfo is None:
        raise QuantityError("has no time zone", fix)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise QuantityError("is out of range", fix) from None


def read_zone(value: Any) -> str:
    """The IANA name of a time zone.

    Raises:
        QuantityError: it is none.
    """
    try:
        return check_zone(value if isinstance(value, str) else "")
    except RefreshRateError as error:
        raise QuantityError(str(error), error.fix) from None


def read_deadline(value: Any) -> str:
    """A time of each day (``07:00``) or a cron expression; gives a cron expression.

    Raises:
        QuantityError: it is neither.
    """
    fix = 'write a time of day such as "07:00", or a cron expression such as "0 7 * * 1-5"'
    if not isinstance(value, str):
        raise QuantityError("is no deadline", fix)
    clock = _CLOCK.match(value.strip())
    if clock:
        return f"{int(clock.group(2))} {int(clock.group(1))} * * *"
    try:
        return check_cron(value)
    except RefreshRateError as error:
        raise QuantityError("is no deadline" if len(value.split()) != 5 else str(error), fix) from None


def read_rate(value: Any) -> RefreshRate:
    """A refresh rate with a period, so not ``real-time``.

    Raises:
        QuantityError: it is none.
    """
    fix = "write hourly, daily, weekly, a duration such as PT30M or a cron expression"
    try:
        rate = parse(value)
    except RefreshRateError as error:
        raise QuantityError(str(error), error.fix) from None
    if rate.interval is None:
        raise QuantityError("has no period", fix)
    return rate


@dataclass(frozen=True)
class WeeklyHours:
    """Hours of some days of the week.

    Attributes:
        days: 0 is Monday.
        start: Minute of the day, included.
        end: Minute of the day, not included; up to 1440.
    """

    days: frozenset[int]
    start: int
    end: int


def read_hours(value: Any) -> tuple[WeeklyHours, ...]:
    """``Mon-Fri 09:00-17:00``, several separated by commas, or ``24/7``.

    Raises:
        QuantityError: it is none.
    """
    fix = 'write "Mon-Fri 09:00-17:00, Sat 10:00-14:00" or "24/7"'
    if not isinstance(value, str) or not value.strip():
        raise QuantityError("names no hours", fix)
    if value.strip() == "24/7":
        return (WeeklyHours(frozenset(range(7)), 0, _DAY_MINUTES),)
    found = []
    for part in value.split(","):
        match = _SPAN.match(part.strip().lower())
        if match is None:
            raise QuantityError("names no hours", fix)
        first, last = match["first"], match["last"] or match["first"]
        if first not in _DAYS or last not in _DAYS:
            raise QuantityError("names no day of the week", fix)
        start, end = _minute(match["start"]), _minute(match["end"])
        if start is None or end is None or start >= end:
            raise QuantityError("has hours that do not follow each other", fix)
        length = (_DAYS.index(last) - _DAYS.index(first)) % 7 + 1
        days = frozenset((_DAYS.index(first) + offset) % 7 for offset in range(length))
        found.append(WeeklyHours(days, start, end))
    return tuple(found)


def _minute(text: str) -> int | None:
    if text == "24:00":
        return _DAY_MINUTES
    clock = _CLOCK.match(text)
    return int(clock.group(1)) * 60 + int(clock.group(2)) if clock else None


MOMENT = Reader(
    read_moment,
    {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}" + _REFERENCE, "examples": ["2027-03-31"]},
)
ZONE = Reader(read_zone, {"type": "string", "minLength": 1, "examples": ["Europe/Berlin"]})
DEADLINE = Reader(read_deadline, {"type": "string", "minLength": 4, "examples": ["07:00", "0 7 * * 1-5"]})
RATE = Reader(read_rate, {"type": "string", "minLength": 1, "examples": ["daily", "PT30M", "0 6 * * *"]})
HOURS = Reader(read_hours, {"type": "string", "minLength": 4, "examples": ["Mon-Fri 09:00-17:00", "24/7"]})
