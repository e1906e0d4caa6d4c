"""Time to detect and to repair: how long what went wrong stayed unnoticed, and unmended."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from dp_dagster.sla.facts import Facts, Measured
from dp_dagster.sla.words import moment, span

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.descriptor.objectives import TimeToDetect, TimeToRepair


def time_to_detect(objective: TimeToDetect, facts: Facts, now: datetime) -> Measured:
    """The longest time from when something went wrong to when it was noticed."""
    since = now - objective.window
    spans = [
        (one.held_at - one.arrived_at, one.held_at)
        for one in facts.incidents
        if one.arrived_at is not None and one.held_at >= since
    ]
    # What went wrong before anybody looked could not be noticed sooner.
    spans += [
        (noticed - max(onset, facts.watched_since), noticed)
        for onset, noticed in facts.breaches
        if noticed >= since
    ]
    target = objective.target.total_seconds()
    if not spans:
        return Measured("met", f"nothing went wrong in {span(objective.window)}", None, target, "seconds")
    longest, noticed = max(spans)
    said = f"the slowest of {len(spans)} was noticed after {span(max(longest, timedelta(0)))}, at {moment(noticed)}"
    value = max(longest.total_seconds(), 0.0)
    return Measured("met" if value <= target else "breached", said, value, target, "seconds")


def time_to_repair(objective: TimeToRepair, facts: Facts, now: datetime) -> Measured:
    """The longest time from a held version to the next that was published. One that lasts counts until now."""
    since = now - objective.window
    found = [one for one in facts.incidents if one.repaired_at is None or one.repaired_at >= since]
    target = objective.target.total_seconds()
    if not found:
        return Measured("met", f"nothing was held in {span(objective.window)}", None, target, "seconds")
    longest, held = max(((one.repaired_at or now) - one.held_at, one.held_at) for one in found)
    value = max(longest.total_seconds(), 0.0)
    open_ones = [one for one in found if one.repaired_at is None]
    said = f"the slowest of {len(found)} took {span(longest)}, held at {moment(held)}"
    if open_ones:
        said += f"; still held since {moment(min(one.held_at for one in open_ones))}"
    if value <= target:
        return Measured("met", said, value, target, "seconds")
    return Measured("breached", said, value, target, "seconds", held + objective.target)
