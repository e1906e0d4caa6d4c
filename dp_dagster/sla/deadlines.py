"""By when something must be there: a port's first version, and a partition that is due."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from dp_dagster.sla.calendar import tick_after

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.descriptor.due import Due
    from dp_dagster.descriptor.objectives import Objective
    from dp_dagster.descriptor.partitions import Calendar


def first_due(objectives: Iterable[Objective], since: datetime) -> datetime | None:
    """By when a port that never showed anything should: the earliest of what its objectives say."""
    found: list[datetime] = []
    for one in objectives:
        match one.name:
            case "freshness":
                found.append(since + one.target)  # type: ignore[attr-defined]
            case "frequency":
                found.append(since + (one.every.freshness_window() or timedelta(0)))  # type: ignore[attr-defined]
            case "time_of_availability":
                found.append(tick_after(one.by, one.timezone, since))  # type: ignore[attr-defined]
            case "general_availability":
                found.append(one.date)  # type: ignore[attr-defined]
            case _:
                pass
    return min(found, default=None)


def partition_late_at(
    objectives: Iterable[Objective], due: Due, calendar: Calendar, since: datetime
) -> datetime | None:
    """By when the partition that is waited for must be there: the earliest of what objectives say.

    Where none says anything, it has until the next one is due as well.

    Args:
        objectives: Of the port.
        due: Where the partitions stand.
        calendar: Which there are.
        since: From when on somebody looks: what was never published is late from here, not before.

    Returns:
        The deadline, or ``None`` where no partition is waited for.
    """
    if due.waiting is None or due.ended is None or due.expected is None:
        return None
    begin = waits_since(due, since)
    found: list[datetime] = []
    for one in objectives:
        match one.name:
            case "freshness" if one.of == "partition":  # type: ignore[attr-defined]
                expected = due.expected if one.origin == "refresh_rate" else due.ended
                found.append(max(begin, expected) + one.target)  # type: ignore[attr-defined]
            case "frequency":
                found.append(begin + (one.every.freshness_window() or timedelta(0)))  # type: ignore[attr-defined]
            case "time_of_availability":
                found.append(tick_after(one.by, one.timezone, begin))  # type: ignore[attr-defined]
            case _:
                pass
    return min(found) if found else max(calendar.next_end(due.waiting), begin)


def waits_since(due: Due, since: datetime) -> datetime:
    """From when on the partition that is waited for is missed: since its time was over, or somebody looks.

    Raises:
        AssertionError: none is waited for.
    """
    if due.ended is None:
        raise AssertionError("asked only where a partition is waited for")
    return due.ended if due.published is not None else max(due.ended, since)
