"""Completeness, volume and retention: what is in a version, and how long it stays."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from dp_dagster.sla.facts import Facts, Measured, Unknown, not_evaluated
from dp_dagster.sla.measures.unpublished import unpublished
from dp_dagster.sla.words import moment, percent, span

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.descriptor.objectives import Completeness, Retention, Volume


def completeness(objective: Completeness, facts: Facts, now: datetime) -> Measured:
    """Rows of the version on show that were accepted, of those that came in."""
    target = float(objective.target)
    if facts.shown is None:
        return unpublished(facts, now)
    if isinstance(facts.rows_in, Unknown):
        return not_evaluated(facts.rows_in.reason, target, "share")
    came, accepted = facts.rows_in
    value = accepted / came if came else 1.0
    said = f"version {facts.shown.version} holds {accepted:,} of the {came:,} rows that came in"
    return Measured("met" if value >= target else "breached", said, value, target, "share")


def volume(objective: Volume, facts: Facts, now: datetime) -> Measured:
    """Rows on show against bounds, and against the median of the versions before."""
    if facts.shown is None:
        return unpublished(facts, now)
    rows = facts.shown.rows
    said = f"version {facts.shown.version} has {rows:,} rows"
    for bound, outside, word in (
        (objective.minimum, objective.minimum is not None and rows < objective.minimum, "at least"),
        (objective.maximum, objective.maximum is not None and rows > objective.maximum, "at most"),
    ):
        if outside and bound is not None:
            reason = f"{said}; {word} {bound:,} are promised"
            return Measured("breached", reason, rows, bound, "rows", facts.shown.projected_at)
    if objective.tolerance is None:
        return Measured("met", said, rows, objective.minimum, "rows")
    return _compared(objective, float(objective.tolerance), said, rows, facts)


def _compared(objective: Volume, tolerance: float, said: str, rows: int, facts: Facts) -> Measured:
    """Against the median of the versions before."""
    if facts.shown is None or isinstance(facts.history, Unknown):
        return not_evaluated(
            facts.history.reason if isinstance(facts.history, Unknown) else "nothing is on show"
        )
    before = [one.rows for one in facts.history if one.version < facts.shown.version][: objective.versions]
    if not before:
        return Measured(
            "pending", f"{said}; there is no version before it to compare with", rows, unit="rows"
        )
    usual = median(before)
    change = abs(rows - usual) / usual if usual else float(rows > 0)
    said += f"; the {len(before)} before it {usual:,.0f}, {percent(change)} away"
    if change > tolerance:
        reason = f"{said}, at most {percent(tolerance)}"
        return Measured("breached", reason, rows, usual, "rows", facts.shown.projected_at)
    return Measured("met", said, rows, usual, "rows")


def retention(objective: Retention, facts: Facts, now: datetime) -> Measured:
    """Whether what was on show that long ago can still be read; or the first version, where that is younger."""
    target = objective.target.total_seconds()
    if facts.shown is None:
        return unpublished(facts, now)
    if isinstance(facts.readable, Unknown) or facts.readable.since is None:
        reason = facts.readable.reason if isinstance(facts.readable, Unknown) else "nothing is kept yet"
        return not_evaluated(reason, target, "seconds")
    since = facts.readable.since
    if facts.readable.missing:
        return Measured("breached", facts.readable.missing, None, target, "seconds")
    value = (now - since).total_seconds()
    if now - since < objective.target:
        return Measured(
            "met",
            f"all versions since the first, {span(now - since)} ago, can be read",
            value,
            target,
            "seconds",
        )
    return Measured("met", f"the version of {moment(since)} can be read", value, target, "seconds")
