"""Freshness, frequency and deadlines of a dataset with partitions: whether each comes when it is due.

Only the first publication of a partition counts: late data that publishes an old one again makes nothing look good.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

from dp_dagster.sla.calendar import tick_after, ticks_before
from dp_dagster.sla.deadlines import waits_since
from dp_dagster.sla.facts import Measured, Unknown, not_evaluated
from dp_dagster.sla.measures.age import DEADLINES, aged, behind, by_column
from dp_dagster.sla.measures.unpublished import besides, missing, unpublished
from dp_dagster.sla.words import moment, span

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.descriptor.objectives import Frequency, Freshness, TimeOfAvailability
    from dp_dagster.sla.facts import Facts, Partitions, PartitionsOnShow

_INSTANT = timedelta(microseconds=1)


def freshness(objective: Freshness, facts: Facts, partitions: Partitions, now: datetime) -> Measured:
    """How old the newest partition is: its values, its lag, or since when the one that is due is missing."""
    if objective.of != "upstream" and objective.column is None:
        return _since_due(objective, facts, partitions, now)
    key = partitions.newest
    if key is None:
        return unpublished(facts, now)
    if objective.column is not None:
        found = by_column(objective, objective.column, facts, now, f" of partition {key}")
        return replace(found, partition=key)
    found = behind(objective, facts, now)
    # A source that has nothing new is no excuse for ever: the partition that is due has a deadline all the same.
    late = missing(partitions, now) if found.state in {"met", "warning"} else None
    return late or replace(found, reason=found.reason + besides(partitions))


def _since_due(objective: Freshness, facts: Facts, partitions: Partitions, now: datetime) -> Measured:
    """Since the refresh rate wants the partition that is missing, or else since its time was over."""
    due = partitions.due
    if due.waiting is None or due.ended is None or due.expected is None:
        if due.newest is None:
            return unpublished(facts, now)
        said = f"partition {due.newest}, the newest that is due, is published{besides(partitions)}"
        target = objective.target.total_seconds()
        return Measured("met", said, 0.0, target, "seconds", partition=due.newest)
    expected = due.expected if objective.origin == "refresh_rate" else due.ended
    expected = max(expected, waits_since(due, facts.watched_since))
    if partitions.newest is None:
        return unpublished(facts, now, expected + objective.target)
    found = aged(objective, expected, f"partition {due.waiting} was due {moment(expected)}", now)
    return replace(found, partition=due.waiting)


def frequency(objective: Frequency, facts: Facts, partitions: Partitions, now: datetime) -> Measured:
    """How long each partition waited from the end of its time to its publication.

    The one that is still missing decides; one that came late, or a gap further back, only warns.
    """
    fail, warn = objective.every.freshness_window(), objective.every.warning_window()
    if fail is None or warn is None:
        raise AssertionError("a frequency has a period")
    due, on_show = partitions.due, partitions.on_show
    if partitions.newest is None:
        late_at = waits_since(due, facts.watched_since) + fail if due.waiting is not None else None
        return unpublished(facts, now, late_at)
    if isinstance(on_show, Unknown):
        return not_evaluated(on_show.reason, fail.total_seconds(), "seconds")
    waits = _waits(partitions, on_show, max(now - objective.window, facts.watched_since), now)
    slowest = max(waits, key=lambda one: waits[one], default=None)
    longest = waits[slowest] if slowest is not None else timedelta(0)
    if due.waiting is not None:
        found = _waiting(due.waiting, waits_since(due, facts.watched_since), fail, warn, now)
    else:
        found = _published(partitions, partitions.newest, on_show)
    if found.state == "met" and slowest is not None and longest > fail:
        until = "" if slowest in on_show.rows else " and is missing"
        reason = f"{found.reason}; partition {slowest} waited {span(longest)}{until}"
        found = replace(found, state="warning", reason=reason)
    value = max(found.value or 0.0, longest.total_seconds())
    return replace(found, value=value, target=fail.total_seconds(), unit="seconds")


def _published(partitions: Partitions, key: str, on_show: PartitionsOnShow) -> Measured:
    """None is waited for: the newest that is due is there."""
    after = ""
    if key in on_show.came:
        after = f" {span(max(on_show.came[key] - partitions.calendar.window(key)[1], timedelta(0)))} after its end"
    return Measured("met", f"partition {key}, the newest that is due, was published{after}", partition=key)


def _waiting(key: str, begin: datetime, fail: timedelta, warn: timedelta, now: datetime) -> Measured:
    """The partition that is due is not there."""
    pause = max(now - begin, timedelta(0))
    said, value = f"partition {key} has been due for {span(pause)}", pause.total_seconds()
    if pause > fail:
        reason = f"{said}; at most {span(fail)}"
        return Measured("breached", reason, value, onset=begin + fail, partition=key)
    reason = f"{said}; late in {span(fail - pause)}"
    if pause > warn:
        return Measured("warning", reason, value, onset=begin + warn, partition=key)
    return Measured("met", reason, value, partition=key)


def _waits(
    partitions: Partitions, on_show: PartitionsOnShow, since: datetime, now: datetime
) -> dict[str, timedelta]:
    """How long each partition waited whose time was over since then; one that is missing waits until now."""
    found: dict[str, timedelta] = {}
    key = partitions.due.newest
    while key is not None:
        ended = partitions.calendar.window(key)[1]
        if ended < since:
            break
        if key in on_show.came or key not in on_show.rows:
            found[key] = max(on_show.came.get(key, now) - ended, timedelta(0))
        key = partitions.calendar.previous(key)
    return found


def time_of_availability(
    objective: TimeOfAvailability, facts: Facts, partitions: Partitions, now: datetime
) -> Measured:
    """Whether the last deadline found the partition that was due, and how many of the window did."""
    by, zone, due, on_show = objective.by, objective.timezone, partitions.due, partitions.on_show
    if partitions.newest is None:
        begin = waits_since(due, facts.watched_since) if due.waiting is not None else None
        return unpublished(facts, now, tick_after(by, zone, begin) if begin is not None else None)
    if isinstance(on_show, Unknown):
        return not_evaluated(on_show.reason)
    watched = _watched_since(facts, on_show)
    kept = judged = 0
    for deadline in islice(ticks_before(by, zone, now), DEADLINES):
        key = _due_before(partitions, deadline)
        if key is None or deadline < max(now - objective.window, watched):
            break
        judged += 1
        kept += _was_there(on_show, key, deadline)
    found = _at_deadline(objective, partitions, on_show, watched, now)
    if found.state == "pending":
        return found
    reason = f"{found.reason}; {kept} of {judged} deadlines kept"
    value = kept / judged if judged else None
    return replace(found, reason=reason, value=value, target=1.0, unit="share")


def _at_deadline(
    objective: TimeOfAvailability,
    partitions: Partitions,
    on_show: PartitionsOnShow,
    watched: datetime,
    now: datetime,
) -> Measured:
    """What the last deadline found."""
    by, zone = objective.by, objective.timezone
    deadline, following = next(ticks_before(by, zone, now)), tick_after(by, zone, now)
    key = _due_before(partitions, deadline)
    if key is None:
        return Measured(
            "pending", f"no partition was due at the last deadline; the next is {moment(following)}"
        )
    if _was_there(on_show, key, deadline):
        return Measured("met", f"partition {key} was there by {moment(deadline)}", partition=key)
    if deadline <= watched:
        then = _due_before(partitions, following)
        said = f"watched since {moment(watched)}; partition {then} is due by {moment(following)}"
        return Measured("pending", said, partition=then)
    if key in on_show.rows and key in on_show.came:
        came = on_show.came[key]
        said = f"partition {key} came {span(came - deadline)} after {moment(deadline)}"
        return Measured("warning", said, onset=came, partition=key)
    # Of several that are missing at the end, the first has been missed for the longest.
    waiting = partitions.due.waiting
    first = waiting if waiting is not None and waiting < key else key
    onset = tick_after(by, zone, partitions.calendar.window(first)[1])
    said = f"partition {first} is missing; it was due by {moment(onset)}, {span(now - onset)} ago"
    return Measured("breached", said, onset=onset, partition=first)


def _due_before(partitions: Partitions, deadline: datetime) -> str | None:
    """The newest partition whose time was over before a deadline: at its very end nobody can have it."""
    return partitions.calendar.newest_due(deadline - _INSTANT)


def _was_there(on_show: PartitionsOnShow, key: str, deadline: datetime) -> bool:
    """Whether a partition was published by then; what is on show and did not come in the time read came before it."""
    return on_show.came[key] <= deadline if key in on_show.came else key in on_show.rows


def _watched_since(facts: Facts, on_show: PartitionsOnShow) -> datetime:
    """From when on deadlines count: since somebody looks, or something was published."""
    shown = [facts.shown.published_at] if facts.shown is not None else []
    return min([facts.watched_since, *shown, *on_show.came.values()])
