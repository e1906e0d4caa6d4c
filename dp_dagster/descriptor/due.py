"""Which partitions are due and not there yet, and since when somebody should have them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
    calendar: Calendar,
    published: Iterable[str],
    now: datetime,
    rate: RefreshRate | None = None,
    since: datetime | None = None,
) -> Due:
    """Compare what is due with what is published.

    Args:
        calendar: The partitions.
        published: Keys of those that are published.
        now: The time, with zone.
        rate: When data is due.
        since: From when on somebody looks. Where nothing is published, the one that was the newest then is waited for,
            or the first that is due after it, and is expected from then on; by default the newest now, for which
            nobody has waited for long.
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
        waiting = due[-1] if since is None else _newest_at(calendar, since, due)
    if waiting is None:
        return Due(due[-1], newest, missing)
    ended = calendar.window(waiting)[1]
    begin = ended if newest is not None or since is None else max(ended, since)
    return Due(due[-1], newest, missing, waiting, ended, _expected(begin, rate))


def _newest_at(calendar: Calendar, since: datetime, due: Sequence[str]) -> str:
    then = calendar.newest_due(since)
    # A clock that was set back: what was due then is not any more.
    return due[0] if then is None else min(then, due[-1])


def _expected(begin: datetime, rate: RefreshRate | None) -> datetime:
    if rate is None or rate.interval is None:
        return begin
    if rate.cron is None:
        return begin + rate.interval
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

    # The library leaves out the moment that it starts from, and a tick may be just then.
    start = begin.astimezone(ZoneInfo(rate.timezone)) - timedelta(minutes=1)
    return next(found for tick in CronSim(rate.cron, start) if (found := tick.astimezone(UTC)) >= begin)
