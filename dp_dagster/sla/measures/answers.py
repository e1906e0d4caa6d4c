"""Availability, error rate and latency: how a port answers, and what of the budget that leaves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from dp_dagster.sla.facts import Answered, Facts, Measured, not_evaluated
from dp_dagster.sla.measures.unpublished import unpublished
from dp_dagster.sla.model import Budget
from dp_dagster.sla.words import counted, percent, span

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.descriptor.objectives import Availability, ErrorRate, Latency
    from dp_dagster.sla.model import State

RECENT_PART = 720
"""The burn rate is that of the last 720th of the window, of an hour in 30 days."""
SHORTEST_RECENT = timedelta(minutes=5)
FAST_BURN = 14.4
"""A burn rate that deserves a warning: it spends two per cent of the budget within such an hour."""
NEARLY_SPENT = 0.25
"""Share of the budget below which what is left deserves a warning."""


def recent(window: timedelta) -> timedelta:
    """How far back the burn rate looks."""
    return max(window / RECENT_PART, SHORTEST_RECENT)


def availability(objective: Availability, facts: Facts, now: datetime) -> Measured:
    """The share of good answers; the budget decides, so that a young port is not judged by its first answers."""
    target = float(objective.target)
    if facts.shown is None:
        return unpublished(facts, now)
    seen = facts.answers.get((objective.window, True), Answered())
    if not seen.total:
        return not_evaluated(f"no answer and no probe in {span(objective.window)}", target, "share")
    value = seen.good / seen.total
    budget = _budget(1 - target, objective.window, facts, now, probes=True)
    called = seen.total - seen.probes
    probes = counted(seen.probes, "probe")
    said = f"{counted(called, 'answer')} and {probes}" if called else f"{probes} while nobody called"
    return _judged(budget, value, target, f"{percent(value)} good, of {said}", below=value < target)


def error_rate(objective: ErrorRate, facts: Facts, now: datetime) -> Measured:
    """The share of answers that failed."""
    target = float(objective.target)
    if facts.shown is None:
        return unpublished(facts, now)
    seen = facts.answers.get((objective.window, False), Answered())
    if not seen.total:
        return not_evaluated(f"nobody called in {span(objective.window)}", target, "share")
    value = seen.bad_share
    budget = _budget(target, objective.window, facts, now, probes=False)
    return _judged(
        budget,
        value,
        target,
        f"{percent(value)} of {counted(seen.total, 'answer')} failed",
        below=value > target,
    )


def latency(objective: Latency, facts: Facts, now: datetime) -> Measured:
    """The percentile; its budget is the share of answers that may take longer."""
    target = objective.target.total_seconds()
    if facts.shown is None:
        return unpublished(facts, now)
    seen = facts.answers.get((objective.window, False), Answered())
    number = sum(count for _, count in seen.buckets)
    if not number:
        return not_evaluated(f"nobody called in {span(objective.window)}", target, "seconds")
    value = quantile(seen.buckets, objective.percentile / 100)
    allowed, slow = 1 - objective.percentile / 100, slower_share(seen.buckets, target)
    observed = _observed(seen, objective.window, now)
    last = facts.answers.get((recent(objective.window), False), Answered())
    burn = slower_share(last.buckets, target) / allowed if last.total else None
    budget = Budget(objective.window * allowed, observed * slow, burn)
    said = f"{objective.percentile:g} % of {counted(number, 'answer')} took at most {span(timedelta(seconds=value))}"
    if value > target:
        return Measured("breached", said, value, target, "seconds", budget=budget)
    state: State = "warning" if slow > allowed * (1 - NEARLY_SPENT) else "met"
    return Measured(state, said, value, target, "seconds", budget=budget)


def _observed(seen: Answered, window: timedelta, now: datetime) -> timedelta:
    return min(max(now - seen.since, timedelta(0)), window) if seen.since else timedelta(0)


def _budget(allowed: float, window: timedelta, facts: Facts, now: datetime, *, probes: bool) -> Budget:
    """``99.9%`` over 30 days leaves 43.2 minutes; a bad share of the time seen is spent of them."""
    seen = facts.answers.get((window, probes), Answered())
    last = facts.answers.get((recent(window), probes), Answered())
    burn = last.bad_share / allowed if last.total and allowed else None
    # To the microsecond: the share is a fraction, and 43.2 minutes shall be 43.2 minutes.
    total = timedelta(microseconds=round(window / timedelta(microseconds=1) * allowed))
    return Budget(total, _observed(seen, window, now) * seen.bad_share, burn)


def _judged(budget: Budget, value: float, target: float, said: str, *, below: bool) -> Measured:
    spent, total = span(budget.spent), span(budget.total)
    state: State = "met"
    if budget.spent > budget.total or (below and not budget.total):
        state, said = "breached", f"{said}; {spent} of a budget of {total} are spent"
    elif below or budget.left < NEARLY_SPENT:
        state, said = "warning", f"{said}; {spent} of a budget of {total} are spent"
    elif budget.burn_rate is not None and budget.burn_rate >= FAST_BURN:
        state, said = "warning", f"{said}; the budget is spent {budget.burn_rate:.3g} times too fast"
    return Measured(state, said, value, target, "share", budget=budget)


def quantile(buckets: tuple[tuple[float, int], ...], share: float) -> float:
    """The duration that a share of answers did not exceed, in seconds; even within a bucket.

    What is above the last bound counts as that bound: a histogram does not know more.
    """
    wanted = share * sum(count for _, count in buckets)
    passed, lower = 0.0, 0.0
    for upper, count in buckets:
        if count and passed + count >= wanted:
            if upper == float("inf"):
                return lower
            return lower + (upper - lower) * max(wanted - passed, 0) / count
        passed += count
        lower = upper if upper != float("inf") else lower
    return lower


def slower_share(buckets: tuple[tuple[float, int], ...], seconds: float) -> float:
    """The share of answers that took longer; even within a bucket."""
    total = sum(count for _, count in buckets)
    slower, lower = 0.0, 0.0
    for upper, count in buckets:
        if lower >= seconds:
            slower += count
        elif upper > seconds:
            slower += count * (1.0 if upper == float("inf") else (upper - seconds) / (upper - lower))
        lower = upper
    return slower / total if total else 0.0
