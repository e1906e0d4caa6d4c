"""Deadlines and opening hours on the clocks of people: time zones, and days of 23 and 25 hours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.descriptor.quantities import WeeklyHours

_WEEK = timedelta(days=8)


def ticks_before(cron: str, timezone: str, moment: datetime) -> Iterator[datetime]:
    """The ticks of a cron expression up to a moment, that moment included, newest first, in UTC.

    A time that the clock skips comes right after the gap, a time that it shows twice comes once.
    """
    from cronsim import CronSim

    # The library leaves out the moment that it starts from.
    start = moment.astimezone(ZoneInfo(timezone)) + timedelta(minutes=1)
    last: datetime | None = None
    for tick in CronSim(cron, start, reverse=True):
        found = tick.astimezone(UTC)
        if found <= moment and (last is None or found < last):
            last = found
            yield found


def tick_after(cron: str, timezone: str, moment: datetime) -> datetime:
    """The first tick after a moment, in UTC."""
    from cronsim import CronSim

    for tick in CronSim(cron, moment.astimezone(ZoneInfo(timezone))):
        found = tick.astimezone(UTC)
        if found > moment:
            return found
    raise AssertionError("a cron expression of a descriptor always comes again")


def is_open(hours: tuple[WeeklyHours, ...], timezone: str, moment: datetime) -> bool:
    """Whether a moment lies in the hours, by the clock of that zone."""
    local = moment.astimezone(ZoneInfo(timezone))
    minute = local.hour * 60 + local.minute
    return any(local.weekday() in one.days and one.start <= minute < one.end for one in hours)


def next_change(hours: tuple[WeeklyHours, ...], timezone: str, moment: datetime) -> datetime | None:
    """When support opens or closes next, in UTC; ``None`` where it never does."""
    now = is_open(hours, timezone, moment)
    found = (
        one
        for one in _edges(hours, timezone, moment)
        if one > moment and is_open(hours, timezone, one) != now
    )
    return min(found, default=None)


def _edges(hours: tuple[WeeklyHours, ...], timezone: str, moment: datetime) -> Iterator[datetime]:
    """Every begin and end of hours in the week that follows."""
    zone = ZoneInfo(timezone)
    day = moment.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    for offset in range(_WEEK.days + 1):
        # Days are added to the clock, not to the instant: a day may have 23 or 25 hours.
        midnight = day + timedelta(days=offset)
        for one in hours:
            if midnight.weekday() in one.days:
                for minute in (one.start, one.end):
                    yield (midnight + timedelta(minutes=minute)).astimezone(UTC)
