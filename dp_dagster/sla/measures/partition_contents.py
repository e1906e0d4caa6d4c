"""Completeness and volume of a dataset with partitions: what is in the newest that is due.

Late data that publishes an old partition again makes nothing look good or bad here, and a partition that is missing
after its deadline is a breach, whatever else is on show.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from dp_dagster.sla.facts import Measured, Partitions, Unknown, not_evaluated
from dp_dagster.sla.measures.unpublished import besides, missing, unpublished
from dp_dagster.sla.words import percent

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.descriptor.objectives import Completeness, Volume
    from dp_dagster.sla.facts import Facts


def volume(objective: Volume, facts: Facts, partitions: Partitions, now: datetime) -> Measured:
    """Rows of the newest partition against bounds, and against the median of the partitions before it."""
    key, on_show = partitions.newest, partitions.on_show
    if key is None:
        return unpublished(facts, now)
    if (late := missing(partitions, now)) is not None:
        return late
    if isinstance(on_show, Unknown):
        return not_evaluated(on_show.reason, unit="rows")
    rows, onset = on_show.rows.get(key, 0), on_show.published_at.get(key)
    said, more = f"partition {key} has {rows:,} rows", besides(partitions)
    for bound, outside, word in (
        (objective.minimum, objective.minimum is not None and rows < objective.minimum, "at least"),
        (objective.maximum, objective.maximum is not None and rows > objective.maximum, "at most"),
    ):
        if outside and bound is not None:
            reason = f"{said}; {word} {bound:,} are promised{more}"
            return Measured("breached", reason, rows, bound, "rows", onset, partition=key)
    if objective.tolerance is None:
        return Measured("met", said + more, rows, objective.minimum, "rows", partition=key)
    before = [on_show.rows[one] for one in sorted(on_show.rows, reverse=True) if one < key]
    return _compared(
        objective,
        float(objective.tolerance),
        Measured("met", said, rows, partition=key, onset=onset),
        before,
        more,
    )


def _compared(objective: Volume, tolerance: float, found: Measured, before: list[int], more: str) -> Measured:
    """Against the median of the partitions before."""
    before, rows, key = before[: objective.versions], int(found.value or 0), found.partition
    if not before:
        reason = f"{found.reason}; there is no partition before it to compare with{more}"
        return Measured("pending", reason, rows, unit="rows", partition=key)
    usual = median(before)
    change = abs(rows - usual) / usual if usual else float(rows > 0)
    said = f"{found.reason}; the {len(before)} before it {usual:,.0f}, {percent(change)} away"
    if change > tolerance:
        reason = f"{said}, at most {percent(tolerance)}{more}"
        return Measured("breached", reason, rows, usual, "rows", found.onset, partition=key)
    return Measured("met", said + more, rows, usual, "rows", partition=key)


def completeness(objective: Completeness, facts: Facts, partitions: Partitions, now: datetime) -> Measured:
    """Rows of the newest partition that were accepted, of those that came in with it."""
    target = float(objective.target)
    key, on_show = partitions.newest, partitions.on_show
    if key is None:
        return unpublished(facts, now)
    if (late := missing(partitions, now)) is not None:
        return late
    if isinstance(on_show, Unknown):
        return not_evaluated(on_show.reason, target, "share")
    if key not in on_show.set_aside:
        reason = f"how many rows of partition {key} were set aside was not kept; it is from its next publication on"
        return not_evaluated(reason, target, "share")
    accepted = on_show.rows.get(key, 0)
    came = accepted + on_show.set_aside[key]
    value = accepted / came if came else 1.0
    said = f"partition {key} holds {accepted:,} of the {came:,} rows that came in{besides(partitions)}"
    if value >= target:
        return Measured("met", said, value, target, "share", partition=key)
    return Measured("breached", said, value, target, "share", on_show.published_at.get(key), partition=key)
