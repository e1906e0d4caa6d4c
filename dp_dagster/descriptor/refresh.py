"""``refresh_rate``: when data is due, and how late it may be before somebody should know.

Three kinds of rate. A *calendar* rate (``hourly``, ``daily``, ``weekly`` or a cron expression) is due at each
tick. An *interval* (ISO 8601, ``PT30M``) is due that long after the last publication. ``real-time`` reacts to
every upstream publication and is judged by how far it lags behind the newest of them.

Lateness starts when data is due: after the longest pause between two ticks, after the interval, or with the
upstream publication. By default half a period late is too late and a quarter of it warns; ``real-time`` may
lag one hour and warns after half of that. ``maximum_lag`` and ``warn_lag`` say otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

SHORT_FORMS = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * 1"}
"""Calendar rates by name. Days start at midnight and weeks on Monday, in the rate's time zone (default UTC)."""

REAL_TIME = "real-time"
DEFAULT_REAL_TIME_LAG = timedelta(hours=1)
SHORTEST = timedelta(minutes=1)
LONGEST = timedelta(days=366)
CHOICES = (
    'hourly, daily, weekly, real-time, a duration such as PT30M or a cron expression such as "0 6 * * *"'
)

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d{1,6})W)?(?:(?P<days>\d{1,6})D)?"
    r"(?:T(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,8})M)?(?:(?P<seconds>\d{1,8})S)?)?\Z"
)
_LONG_FORM = ("every", "maximum_lag", "warn_lag", "timezone")


class RefreshRateError(ValueError):
    """A refresh rate that cannot be read.

    The message says what is wrong with the value, without the value, which may come from the environment.
    ``key`` names the key of the long form at fault, if one is.
    """

    def __init__(self, message: str, fix: str = "", key: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix
        self.key = key


@dataclass(frozen=True)
class RefreshRate:
    """A refresh rate, read.

    Attributes:
        kind: How it becomes due.
        text: As declared (``daily``, ``PT30M``, ``0 6 * * *``, ``real-time``).
        cron: Five-field cron expression whose ticks are the due times. ``None`` for ``real-time``, and for
            an interval that no cron expression can say (45 minutes, say).
        interval: Time between two due times; for cron the longest. ``None`` for ``real-time``.
        maximum_lag: How late is too late.
        warn_lag: How late is worth a warning; shorter than ``maximum_lag``.
        timezone: IANA name of the time zone in which ``cron`` is read.
    """

    kind: Literal["calendar", "interval", "real_time"]
    text: str
    cron: str | None
    interval: timedelta | None
    maximum_lag: timedelta
    warn_lag: timedelta
    timezone: str = "UTC"

    def freshness_window(self) -> timedelta | None:
        """Age of the newest publication at which it is too old.

        ``None`` for ``real-time``: a quiet source does not age; compare ``maximum_lag`` with the lag behind
        the newest upstream publication instead.
        """
        return None if self.interval is None else self.interval + self.maximum_lag

    def warning_window(self) -> timedelta | None:
        """Age of the newest publication from which it deserves a warning; ``None`` for ``real-time``."""
        return None if self.interval is None else self.interval + self.warn_lag

    def __str__(self) -> str:
        return self.text if self.timezone == "UTC" else f"{self.text} ({self.timezone})"


def parse(value: Any) -> RefreshRate:
    """Read the short form (text) or the long form (``{every, maximum_lag, warn_lag, timezone}``).

    Raises:
        RefreshRateError: it is neither; says what would be right.
    """
    if isinstance(value, str):
        return _build(value, None, None, "UTC")
    if not isinstance(value, Mapping):
        raise RefreshRateError("wants text or a mapping", f"write one of {CHOICES}")
    for key in value:
        if key not in _LONG_FORM:
            raise RefreshRateError("unknown key", f"known keys: {', '.join(_LONG_FORM)}", key)
        if not isinstance(value[key], str):
            raise RefreshRateError("wants text", "write it in quotes", key)
    if "every" not in value:
        raise RefreshRateError("is missing", f"write one of {CHOICES}", "every")
    try:
        zone = check_zone(value.get("timezone", "UTC"))
        lags = {name: _lag(value.get(name), name) for name in ("maximum_lag", "warn_lag")}
        return _build(value["every"], lags["maximum_lag"], lags["warn_lag"], zone)
    except RefreshRateError as error:
        raise RefreshRateError(str(error), error.fix, error.key or "every") from error


def parse_duration(text: str) -> timedelta:
    """Read an ISO 8601 duration of weeks, days, hours, minutes and seconds.

    Raises:
        RefreshRateError: it is none, or uses years or months, which have no fixed length.
    """
    match = _DURATION.match(text)
    parts = {name: int(number) for name, number in match.groupdict().items() if number} if match else {}
    if not parts or text.endswith("T"):
        hint = "years and months have no fixed length; use weeks or days, or a cron expression"
        fix = hint if re.match(r"P\d+[YM]", text) else "write a duration such as PT30M, PT6H or P2D"
        raise RefreshRateError("is no ISO 8601 duration", fix)
    return timedelta(**parts)


def _build(every: str, maximum: timedelta | None, warn: timedelta | None, zone: str) -> RefreshRate:
    text = every.strip()
    name = text.lower().replace("_", "-")
    cron: str | None
    interval: timedelta | None
    if name in {REAL_TIME, "realtime"}:
        kind: Literal["calendar", "interval", "real_time"] = "real_time"
        text, cron, interval = REAL_TIME, None, None
        default = DEFAULT_REAL_TIME_LAG
    elif name in SHORT_FORMS:
        kind, text, cron = "calendar", name, SHORT_FORMS[name]
        interval = longest_pause(cron)
        default = interval / 2
    elif text.startswith("P"):
        kind, interval = "interval", parse_duration(text)
        if not SHORTEST <= interval <= LONGEST:
            raise RefreshRateError("is out of range", "give one minute to one year")
        cron = _cron_of(interval)
        default = interval / 2
    else:
        kind, cron = "calendar", check_cron(text)
        interval = longest_pause(cron)
        default = interval / 2
    maximum = default if maximum is None else maximum
    warn = maximum / 2 if warn is None else warn
    if warn >= maximum:
        raise RefreshRateError(f"must be shorter than the maximum lag of {maximum}", "lower it", "warn_lag")
    return RefreshRate(kind, text, cron, interval, maximum, warn, zone)


def check_cron(text: str) -> str:
    """A cron expression of five fields, its spaces made single.

    Raises:
        RefreshRateError: it is none, never comes, or is one that schedulers read in different ways.
    """
    from cronsim import CronSim, CronSimError

    words = text.split()
    if len(words) != 5:
        extra = " (six fields, with seconds, are not supported)" if len(words) == 6 else ""
        raise RefreshRateError(f"is no refresh rate{extra}", f"write one of {CHOICES}")
    expression = " ".join(words)
    day, weekday = words[2], words[4]
    both = day != "*" and weekday != "*"
    if (both and "*" in (day[0], weekday[0])) or "L" in weekday.upper():
        # Tried: the library that finds the ticks here and the one of Dagster's schedules disagree.
        raise RefreshRateError(
            "is a cron expression that schedulers read in different ways",
            "restrict the day of the month or the weekday, and not both by steps",
        )
    try:
        next(CronSim(expression, datetime(2024, 1, 1)))  # noqa: DTZ001 - only whether it ever ticks
    except CronSimError as error:
        raise RefreshRateError(
            f"is no cron expression: {error}",
            "write minute, hour, day of month, month and day of week",
        ) from error
    except StopIteration as error:
        raise RefreshRateError("is a time that never comes", "correct day and month") from error
    return expression


@lru_cache(maxsize=256)
def longest_pause(cron: str) -> timedelta:
    """The longest time between two ticks of a cron expression.

    It is looked for over years enough for weekdays and leap years to vary.
    """
    known = {SHORT_FORMS["hourly"]: timedelta(hours=1), SHORT_FORMS["daily"]: timedelta(days=1)}
    known[SHORT_FORMS["weekly"]] = timedelta(weeks=1)
    if cron in known:
        return known[cron]
    from itertools import pairwise

    minute, hour, *day = cron.split()
    # Ticks are the same on each day that has any, so days and times are looked at apart: a minute's cron
    # expression has half a million ticks a year.
    times = _ticks(f"{minute} {hour} * * *", timedelta(days=1))
    # A year has all pauses of an expression that names weekdays or days of the month, and no month; else it
    # matters how they meet.
    simple = day[1] == "*" and "*" in (day[0], day[2])
    span = timedelta(days=400 if simple else 4018)
    days = _ticks(" ".join(("0", "0", *day)), span)
    within = max((after - before for before, after in pairwise(times)), default=timedelta(0))
    between = max(after - before for before, after in pairwise(days))
    return max(within, between - (times[-1] - times[0]))


def _ticks(cron: str, span: timedelta) -> list[datetime]:
    """The ticks of a time span; where that is a span of days, two at least."""
    from cronsim import CronSim

    start = datetime(2023, 12, 31, 23, 59)  # noqa: DTZ001 - a calendar without zone: no changes of the clock
    found: list[datetime] = []
    for tick in CronSim(cron, start):
        if tick > start + span and (len(found) > 1 or span <= timedelta(days=1)):
            break
        found.append(tick)
    return found


def _cron_of(interval: timedelta) -> str | None:
    minutes, rest = divmod(interval, timedelta(minutes=1))
    if rest:
        return None
    if minutes < 60 and 60 % minutes == 0:
        return f"*/{minutes} * * * *" if minutes > 1 else "* * * * *"
    hours, rest_minutes = divmod(minutes, 60)
    if rest_minutes:
        return None
    if hours < 24 and 24 % hours == 0:
        return f"0 */{hours} * * *" if hours > 1 else SHORT_FORMS["hourly"]
    return {24: SHORT_FORMS["daily"], 168: SHORT_FORMS["weekly"]}.get(hours)


def _lag(text: str | None, key: str) -> timedelta | None:
    if text is None:
        return None
    try:
        lag = parse_duration(text)
    except RefreshRateError as error:
        raise RefreshRateError(str(error), error.fix, key) from error
    if not SHORTEST <= lag <= LONGEST:
        raise RefreshRateError("is out of range", "give one minute to one year", key)
    return lag


def check_zone(name: str) -> str:
    """The name of a time zone that there is.

    Raises:
        RefreshRateError: there is none of that name.
    """
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise RefreshRateError(
            "is no time zone", "write an IANA name such as Europe/Berlin", "timezone"
        ) from error
    return name
