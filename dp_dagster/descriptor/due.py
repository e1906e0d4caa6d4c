"""Which partitions are due and not there yet, and since when somebody should have them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.descriptor.partitions import Calendar
    from dp_dagster.descriptor.refresh import RefreshRate


@dataclass(frozen=True)
class Due:
    """Where the partitions of a dataset stand.

    Attributes:
        newest: The newest that is due; ``None`` before the first one is.
        published: The newest that is published; ``None`` where none is.
        missing: All that are due and not published, in order.
        waiting: The first of those that are newer than the newest published one: freshness is judged by it, not by gaps
            further back. ``None`` where the newest that is due is published.
        ended: When its time was over.
        expected: When the refresh rate wants it published: at its first tick from then on.
    """

    newest: str | None = None
    published: str | None = None
    missing: tuple[str, ...] = ()
    waiting: str | None = None
    ended: datetime | None = None
    expected: datetime | None = None


def due_partitions(
    calendar: Calendar, published: Iterable[str], now: datetime, rate: RefreshRate | None = None
) -> Due:
    """Compare what is due with what is published.

    Args:
        calendar: The partitions.
        published: Keys of those that are published.
        now: The time, with zone.
        rate: When data is due.
    """
    there = {key for key in published if calendar.knows(key)}
    due = calendar.due(now)
    if not due:
        return Due(published=max(there, default=None))
    missing = tuple(key for key in due if key not in there)
    newest = max(there, default=None)
    waiting = next((key for key in missing if newest is None or key > newest), None)
    if newest is None:
        # Where nothing is there at all, the newest is what consumers wait for.
        waiting = due[-1]
    if waiting is None:
        return Due(due[-1], newest, missing)
    ended = calendar.window(waiting)[1]
    return Due(due[-1], newest, missing, waiting, ended, _expected(ended, rate))


def _expected(ended: datetime, rate: RefreshRate | None) -> datetime:
    if rate is None or rate.interval is None:
        return ended
    if rate.cron is None:
        return ended + rate.interval
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

    # The library leaves out the moment that it starts from, and a tick may be just then.
    start = ended.astimezone(ZoneInfo(rate.timezone)) - timedelta(minutes=1)
    return next(found for tick in CronSim(rate.cron, start) if (found := tick.astimezone(UTC)) >= ended)
