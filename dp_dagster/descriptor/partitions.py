"""``partitions``: the stretches of time that a product's data is cut into, and when each of them is due.

A partition has a key, ``2013-05`` say, and covers the time from its start up to, and without, the start of the next
one, on the clocks of one time zone. It is due when that time is over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

Unit = Literal["hour", "day", "week", "month"]

FORMATS: dict[str, str] = {"hour": "%Y-%m-%d-%H", "day": "%Y-%m-%d", "week": "%Y-%m-%d", "month": "%Y-%m"}
"""How a partition's key is written, by the length of partitions: by its start. Keys sort by time."""

CRONS: dict[str, str] = {"hour": "0 * * * *", "day": "0 0 * * *", "week": "0 0 * * 1", "month": "0 0 1 * *"}
"""When partitions begin, as cron expressions. Weeks begin on Monday."""

_KEYS = ("by", "start", "end", "timezone")
_EXAMPLES = {"hour": "2026-11-25-14", "day": "2026-11-25", "week": "2026-11-23", "month": "2026-11"}
_RANGE = re.compile(r"\s*(?P<first>[^.\s]+)\s*(?:\.\.\s*(?P<last>[^.\s]+)\s*)?\Z")


class PartitionsError(ValueError):
    """Partitions, or a key of one, that cannot be read.

    The message says what is wrong with the value, without the value. ``key`` names the key at fault, if one is.
    """

    def __init__(self, message: str, fix: str = "", key: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix
        self.key = key


@dataclass(frozen=True)
class Calendar:
    """The partitions of a product.

    Attributes:
        by: How long each of them is.
        start: First day of the first one.
        end: Day on which the last one ends, not part of it; ``None`` where they go on.
        timezone: IANA name of the zone on whose clocks they begin.

    Example:
        >>> months = Calendar("month", date(2013, 1, 1), date(2014, 1, 1), "America/New_York")
        >>> months.window("2013-05")[0].isoformat()
        '2013-05-01T04:00:00+00:00'
    """

    by: Unit
    start: date
    end: date | None = None
    timezone: str = "UTC"

    @property
    def format(self) -> str:
        """How a key is written."""
        return FORMATS[self.by]

    @property
    def cron(self) -> str:
        """When partitions begin, as a cron expression in the time zone."""
        return CRONS[self.by]

    def __str__(self) -> str:
        zone = "" if self.timezone == "UTC" else f" ({self.timezone})"
        end = f" to {self.end}" if self.end else ""
        return f"by {self.by} from {self.start}{end}{zone}"

    def local_window(self, key: str) -> tuple[datetime, datetime]:
        """Start and end of a partition on the clocks of the time zone, without zone.

        Raises:
            PartitionsError: there is no such partition.
        """
        begin = self._begin(key)
        return begin, self._following(begin)

    def window(self, key: str) -> tuple[datetime, datetime]:
        """Start and end of a partition, UTC.

        Raises:
            PartitionsError: there is no such partition.
        """
        begin, end = self.local_window(key)
        return self._instant(begin), self._instant(end)

    def key_at(self, moment: datetime) -> str | None:
        """Key of the partition that a moment (with zone) lies in; ``None`` before the first and after the last."""
        begin = self._floor(self._clock(moment))
        return begin.strftime(self.format) if self._covers(begin) else None

    def newest_due(self, now: datetime) -> str | None:
        """Key of the newest partition whose time is over; ``None`` before the first one's is."""
        begin = self._floor(self._clock(now))
        before = self._floor(begin - timedelta(hours=1))
        if self.end is not None:
            before = min(before, self._floor(_midnight(self.end) - timedelta(hours=1)))
        return before.strftime(self.format) if self._covers(before) else None

    def first(self) -> str:
        """Key of the first partition."""
        return _midnight(self.start).strftime(self.format)

    def previous(self, key: str) -> str | None:
        """Key of the partition before; ``None`` before the first.

        Raises:
            PartitionsError: there is no partition of that key.
        """
        begin = self._floor(self._begin(key) - timedelta(hours=1))
        return begin.strftime(self.format) if self._covers(begin) else None

    def next_end(self, key: str) -> datetime:
        """When the time of the partition after this one is over, UTC; also after the last one, as if there were more.

        Raises:
            PartitionsError: there is no partition of that key.
        """
        return self._instant(self._following(self._following(self._begin(key))))

    def due(self, now: datetime) -> tuple[str, ...]:
        """Keys of all partitions whose time is over, in order."""
        newest = self.newest_due(now)
        return () if newest is None else tuple(self._between(_midnight(self.start), self._begin(newest)))

    def select(self, text: str, now: datetime) -> tuple[str, ...]:
        """Keys that a text names: ``2013-05``, or ``2013-05..2013-07`` with both ends.

        Raises:
            PartitionsError: it cannot be read, there is no such partition, or it is not due yet.
        """
        found = _RANGE.match(text)
        if found is None:
            example = _EXAMPLES[self.by]
            raise PartitionsError(
                "is neither a partition nor a range of them", f"write {example} or FIRST..LAST"
            )
        first = self._begin(found["first"])
        last = self._begin(found["last"] or found["first"])
        if last < first:
            raise PartitionsError("ends before it starts", f"write {found['last']}..{found['first']}")
        newest = self.newest_due(now)
        if newest is None or last > self._begin(newest):
            raise PartitionsError(
                f"is not due yet: the newest that is, is {newest or 'none'}", "wait until its time is over"
            )
        return tuple(self._between(first, last))

    def knows(self, key: str) -> bool:
        """Whether there is a partition of that key, due or not."""
        try:
            self._begin(key)
        except PartitionsError:
            return False
        return True

    # -- inside, on clocks without zone -----------------------------------------------------------------

    def _begin(self, key: str) -> datetime:
        example = f"write it as {_EXAMPLES[self.by]}"
        try:
            begin = datetime.strptime(key, self.format)  # noqa: DTZ007 - on the clocks of the calendar's zone
        except ValueError:
            raise PartitionsError(f"is no key of a partition by {self.by}", example) from None
        # strptime takes 2013-5, too.
        if begin.strftime(self.format) != key or self._floor(begin) != begin:
            said = "is no Monday" if self.by == "week" else f"is no key of a partition by {self.by}"
            raise PartitionsError(said, example)
        if not self._covers(begin):
            raise PartitionsError(
                f"is no partition of the product, which has them {self}", "name one of those"
            )
        return begin

    def _covers(self, begin: datetime) -> bool:
        return _midnight(self.start) <= begin and (self.end is None or begin < _midnight(self.end))

    def _between(self, first: datetime, last: datetime) -> Iterable[str]:
        while first <= last:
            yield first.strftime(self.format)
            first = self._following(first)

    def _following(self, begin: datetime) -> datetime:
        match self.by:
            case "hour":
                return begin + timedelta(hours=1)
            case "day":
                return begin + timedelta(days=1)
            case "week":
                return begin + timedelta(days=7)
            case _:
                return (begin.replace(day=1) + timedelta(days=31)).replace(day=1)

    def _floor(self, moment: datetime) -> datetime:
        hour = moment.replace(minute=0, second=0, microsecond=0)
        match self.by:
            case "hour":
                return hour
            case "day":
                return hour.replace(hour=0)
            case "week":
                return hour.replace(hour=0) - timedelta(days=moment.weekday())
            case _:
                return hour.replace(day=1, hour=0)

    def _instant(self, clock: datetime) -> datetime:
        # A clock that is skipped is read as that of the moment of the change, as it would have gone on.
        return clock.replace(tzinfo=_zone(self.timezone)).astimezone(UTC)

    def _clock(self, moment: datetime) -> datetime:
        return moment.astimezone(_zone(self.timezone)).replace(tzinfo=None)


def parse(value: Any) -> Calendar:
    """Read ``{by, start, end, timezone}``.

    Raises:
        PartitionsError: something is missing or wrong; says what would be right.
    """
    if not isinstance(value, Mapping):
        raise PartitionsError("wants a mapping", "write {by: day, start: 2026-01-01}")
    for key in value:
        if key not in _KEYS:
            raise PartitionsError("is no key of partitions", f"there are {', '.join(_KEYS)}", str(key))
    by = value.get("by")
    if by not in FORMATS:
        raise PartitionsError("is no length of partitions", f"write one of {', '.join(FORMATS)}", "by")
    start = _day(value.get("start"), "start")
    if start is None:
        raise PartitionsError("is missing: the first day of the first partition", "write 2026-01-01", "start")
    end = _day(value.get("end"), "end")
    zone = value.get("timezone", "UTC")
    _check_zone(zone, by)
    for name, day in (("start", start), ("end", end)):
        if day is not None and by == "month" and day.day != 1:
            raise PartitionsError("is not the first of a month", f"write {day.replace(day=1)}", name)
        if day is not None and by == "week" and day.weekday():
            monday = day - timedelta(days=day.weekday())
            raise PartitionsError("is no Monday, on which weeks begin", f"write {monday}", name)
    if end is not None and end <= start:
        raise PartitionsError("is not after start", "write the day after the last partition", "end")
    return Calendar(by, start, end, zone)


def told(keys: Iterable[str], calendar: Calendar | None = None) -> str:
    """Keys as text, those that follow each other as ranges: ``2013-01..2013-03, 2013-05``."""
    ordered = sorted(keys)
    runs: list[list[str]] = []
    for key in ordered:
        if runs and calendar is not None and _follows(calendar, runs[-1][-1], key):
            runs[-1].append(key)
        else:
            runs.append([key])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs)


def read_told(text: str, calendar: Calendar) -> tuple[str, ...]:
    """The keys that :func:`told` wrote, as far as the calendar still has them."""
    found: list[str] = []
    for part in filter(None, text.split(", ")):
        first, _, last = part.partition("..")
        if calendar.knows(first) and calendar.knows(last or first):
            begin, end = calendar.local_window(first)[0], calendar.local_window(last or first)[0]
            found += calendar._between(begin, end)  # noqa: SLF001 - of this module
    return tuple(found)


def _follows(calendar: Calendar, before: str, key: str) -> bool:
    if not calendar.knows(before):
        return False
    return calendar.local_window(before)[1].strftime(calendar.format) == key


def _day(value: Any, key: str) -> date | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        raise PartitionsError("is more than a day", "write a day such as 2026-01-01", key)
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise PartitionsError("is no day", "write it as 2026-01-01", key) from None


def _check_zone(zone: Any, by: str) -> None:
    if not isinstance(zone, str):
        raise PartitionsError("is no name of a time zone", "write one such as Europe/Berlin", "timezone")
    try:
        _zone(zone)
    except (LookupError, OSError, ValueError):
        said = "is no time zone that is known here"
        raise PartitionsError(said, "write one such as Europe/Berlin", "timezone") from None
    if by == "hour" and zone != "UTC":
        raise PartitionsError(
            "repeats or skips an hour when its clocks change, so hours have no keys of their own there",
            "write UTC, or leave it out",
            "timezone",
        )


def _zone(name: str) -> ZoneInfo:
    # Imported here: listing products needs no zones.
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - on the clocks of the calendar's zone
