"""Whether a time lies in a maintenance window, and when that ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.descriptor.alerting import Maintenance


# Windows that follow each other without end would be no windows.
_MOST_IN_A_ROW = 100


def window_at(windows: Iterable[Maintenance], moment: datetime) -> Maintenance | None:
    """The first window that a moment lies in; ``None`` outside of all."""
    return next((window for window in windows if _covers(window, moment)), None)


def quiet_until(windows: Iterable[Maintenance], moment: datetime) -> datetime | None:
    """When the windows that a moment lies in are over; ``None`` outside of all."""
    known = tuple(windows)
    end: datetime | None = None
    for _ in range(_MOST_IN_A_ROW):
        at = end or moment
        window = window_at(known, at)
        if window is None:
            break
        end = _end(window, at)
    return end


def _end(window: Maintenance, moment: datetime) -> datetime:
    """When a window that a moment lies in is over."""
    zone = ZoneInfo(window.timezone)
    if window.end is not None:
        return window.end.replace(tzinfo=zone).astimezone(UTC)
    if window.cron is None or window.duration is None:
        raise AssertionError("a window has one of two forms; its model holds that")
    from cronsim import CronSim

    begins = next(CronSim(window.cron, (moment - window.duration).astimezone(zone)))
    return begins.astimezone(UTC) + window.duration


def _covers(window: Maintenance, moment: datetime) -> bool:
    zone = ZoneInfo(window.timezone)
    if window.start is not None and window.end is not None:
        return window.start.replace(tzinfo=zone) <= moment < window.end.replace(tzinfo=zone)
    if window.cron is None or window.duration is None:
        raise AssertionError("a window has one of two forms; its model holds that")
    from cronsim import CronSim

    # The first beginning that is late enough for the window still to be open. Durations are of real time.
    earliest = (moment - window.duration).astimezone(zone)
    begins = next(CronSim(window.cron, earliest))
    return begins.astimezone(UTC) <= moment.astimezone(UTC)
