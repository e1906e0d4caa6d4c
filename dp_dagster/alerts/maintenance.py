"""Whether a time lies in a maintenance window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.descriptor.alerting import Maintenance


def window_at(windows: Iterable[Maintenance], moment: datetime) -> Maintenance | None:
    """The first window that a moment lies in; ``None`` outside of all."""
    return next((window for window in windows if _covers(window, moment)), None)


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
    return begins.astimezone(UTC) <= moment.astimezone(UTC) + timedelta(0)
