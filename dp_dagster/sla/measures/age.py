"""Freshness, frequency and deadlines: whether data comes when it should."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from dp_dagster.sla.calendar import tick_after, ticks_before
from dp_dagster.sla.facts import Facts, Measured, Unknown, not_evaluated
from dp_dagster.sla.measures.unpublished import unpublished
from dp_dagster.sla.words import moment, span

if TYPE_CHECKING:
    from dp_dagster.descriptor.objectives import Frequency, Freshness, TimeOfAvailability
    from dp_dagster.sla.facts import Publication

DEADLINES = 400
"""Deadlines that are looked back at; a cron expression may have one each minute."""


def freshness(objective: Freshness, facts: Facts, now: datetime) -> Measured:
    """How old what consumers see is: since publication, by a column, or behind what it is made from."""
    target = objective.target
    if facts.shown is None:
        due = facts.first_due if objective.of == "upstream" else facts.watched_since + target
        return unpublished(facts, now, due)
    if objective.column is not None:
        return by_column(objective, objective.column, facts, now)
    if objective.of == "upstream":
        return behind(objective, facts, now)
    published = facts.shown.published_at
    said = f"version {facts.shown.version} was published {span(max(now - published, timedelta(0)))} ago"
    return aged(objective, published, said, now)


def by_column(objective: Freshness, column: str, facts: Facts, now: datetime, whose: str = "") -> Measured:
    """By the newest value of a column."""
    newest = facts.newest.get(column, Unknown(f"{column} was not read"))
    if isinstance(newest, Unknown):
        return not_evaluated(newest.reason, objective.target.total_seconds(), "seconds")
    return aged(objective, newest, f"the newest {column}{whose} is {moment(newest)}", now)


def behind(objective: Freshness, facts: Facts, now: datetime) -> Measured:
    """By how long something newer has been there to read."""
    target = objective.target.total_seconds()
    if isinstance(facts.lag, Unknown):
        return not_evaluated(f"the lag cannot be measured: {facts.lag.reason}", target, "seconds")
    lag, said = facts.lag
    return aged(objective, now - lag, said, now)


def aged(objective: Freshness, born: datetime, said: str, now: datetime) -> Measured:
    """By an age; ``said`` names what is so old."""
    # What claims to come from the future is fresh; its age is nothing, not less.
    age = max(now - born, timedelta(0))
    value, target = age.total_seconds(), objective.target.total_seconds()
    if age > objective.target:
        reason = f"{said}; at most {span(objective.target)}"
        return Measured("breached", reason, value, target, "seconds", born + objective.target)
    left = f"late in {span(objective.target - age)}"
    if age > objective.warning:
        return Measured("warning", f"{said}; {left}", value, target, "seconds", born + objective.warning)
    return Measured("met", said, value, target, "seconds")


def frequency(objective: Frequency, facts: Facts, now: datetime) -> Measured:
    """The longest pause between two publications. The pause that lasts decides; one that ended only warns."""
    rate = objective.every
    fail, warn = rate.freshness_window(), rate.warning_window()
    if fail is None or warn is None:
        raise AssertionError("a frequency has a period")
    target = fail.total_seconds()
    if isinstance(facts.history, Unknown):
        return not_evaluated(facts.history.reason, target, "seconds")
    found = _new_versions(facts.history)
    if not found:
        return unpublished(facts, now, facts.watched_since + fail)
    pause = max(now - found[0].at, timedelta(0))
    longest = _longest_pause(found, now - objective.window)
    value = max(pause, longest).total_seconds()
    said = f"the last publication was {span(pause)} ago"
    if pause > fail:
        return Measured(
            "breached", f"{said}; at most {span(fail)}", value, target, "seconds", found[0].at + fail
        )
    if pause > warn:
        return Measured(
            "warning", f"{said}; late in {span(fail - pause)}", value, target, "seconds", found[0].at + warn
        )
    if longest > fail:
        return Measured("warning", f"{said}; there was a pause of {span(longest)}", value, target, "seconds")
    return Measured("met", said, value, target, "seconds")


def _new_versions(history: tuple[Publication, ...]) -> list[Publication]:
    """Without rollbacks, which bring nothing new."""
    return [one for one in history if one.operation != "rollback"]


def _longest_pause(found: list[Publication], since: datetime) -> timedelta:
    """Between two publications, of which the later one lies in the window."""
    pauses = [after.at - before.at for after, before in pairwise(found) if after.at >= since]
    return max(pauses, default=timedelta(0))


def time_of_availability(objective: TimeOfAvailability, facts: Facts, now: datetime) -> Measured:
    """Whether the last deadline found something new, and how many of the window did."""
    if isinstance(facts.history, Unknown):
        return not_evaluated(facts.history.reason)
    found = _new_versions(facts.history)
    if not found:
        return unpublished(facts, now, tick_after(objective.by, objective.timezone, facts.watched_since))
    deadlines = list(islice(ticks_before(objective.by, objective.timezone, now), DEADLINES))
    due, before = deadlines[0], deadlines[1]
    following = tick_after(objective.by, objective.timezone, now)
    kept, judged = _kept(
        deadlines, found, max(now - objective.window, min(facts.watched_since, found[-1].at))
    )
    counted = f"{kept} of {judged} deadlines kept"
    value, target = (kept / judged if judged else None), 1.0
    if any(before < one.at <= due for one in found):
        return Measured("met", f"there by {moment(due)}; {counted}", value, target, "share")
    if due <= min(facts.watched_since, found[-1].at):
        return Measured("pending", f"watched since {moment(facts.watched_since)}; due by {moment(following)}")
    if late := [one.at for one in found if one.at > due]:
        said = f"came {span(min(late) - due)} after {moment(due)}; {counted}"
        return Measured("warning", said, value, target, "share", min(late))
    said = f"nothing new since {moment(found[0].at)}, due by {moment(due)}; {counted}"
    return Measured("breached", said, value, target, "share", due)


def _kept(deadlines: list[datetime], found: list[Publication], since: datetime) -> tuple[int, int]:
    """How many deadlines of the window found something new, of how many."""
    kept = judged = 0
    for due, before in pairwise(deadlines):
        if due < since:
            break
        judged += 1
        kept += any(before < one.at <= due for one in found)
    return kept, judged
