"""A port that shows nothing yet, or not the partition that is due: not yet late, or late; never unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.descriptor.partitions import PartitionsError
from dp_dagster.sla.facts import Facts, Measured
from dp_dagster.sla.words import counted, moment, span

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.sla.facts import Partitions


def unpublished(facts: Facts, now: datetime, due: datetime | None = None) -> Measured:
    """What an objective of a port comes to that never showed anything.

    Args:
        facts: Of the port.
        now: The time.
        due: When the objective itself wants the first version; by default, when the port's first version is due.
    """
    due = due if due is not None else facts.first_due
    if facts.partitions is not None:
        return _no_partition(facts.partitions, now, due)
    if due is None:
        return Measured("pending", "nothing was published yet, and nothing says by when it should be")
    if now < due:
        return Measured("pending", f"nothing was published yet; due by {moment(due)}")
    late = span(now - due)
    return Measured("breached", f"never published; was due by {moment(due)}, {late} ago", onset=due)


def _no_partition(partitions: Partitions, now: datetime, late_at: datetime | None) -> Measured:
    """None is on show."""
    waiting = partitions.due.waiting
    late = late_at is not None and now >= late_at
    if waiting is None:
        if late and late_at is not None:
            return Measured("breached", f"never published; was due by {moment(late_at)}", onset=late_at)
        return Measured("pending", f"no partition is due yet{_first_of(partitions)}")
    said = f"partition {waiting} was never published"
    if late_at is None or not late:
        until = f"; due by {moment(late_at)}" if late_at is not None else ""
        return Measured("pending", f"no partition was published yet{until}", partition=waiting)
    reason = f"{said}, nor any other; was due by {moment(late_at)}, {span(now - late_at)} ago"
    return Measured("breached", reason, onset=late_at, partition=waiting)


def _first_of(partitions: Partitions) -> str:
    first = partitions.calendar.first()
    try:
        return f"; the first, {first}, is due {moment(partitions.calendar.window(first)[1])}"
    except PartitionsError:  # the calendar has no partition at all
        return ""


def missing(partitions: Partitions, now: datetime, late_at: datetime | None = None) -> Measured | None:
    """The breach that the partition which is due is not on show after its deadline; ``None`` as long as it is none.

    Args:
        partitions: Of the port, which shows others.
        now: The time.
        late_at: The deadline of the objective; by default the earliest of all objectives of the port.
    """
    due, late_at = partitions.due, late_at if late_at is not None else partitions.late_at
    if due.waiting is None or late_at is None or now < late_at:
        return None
    reason = (
        f"partition {due.waiting} is missing: it was due by {moment(late_at)}, {span(now - late_at)} ago; "
        f"the newest on show is {due.published}"
    )
    return Measured("breached", reason, onset=late_at, partition=due.waiting)


def besides(partitions: Partitions, late_at: datetime | None = None) -> str:
    """What else is to be said of partitions, where the one that is due is not late: ``; 2 older ones are missing``."""
    due, late_at = partitions.due, late_at if late_at is not None else partitions.late_at
    said = ""
    if due.waiting is not None and late_at is not None:
        said = f"; partition {due.waiting} is due by {moment(late_at)}"
    if gaps := [key for key in due.missing if due.published is not None and key < due.published]:
        said += f"; {counted(len(gaps), 'older one')} {'is' if len(gaps) == 1 else 'are'} missing"
    return said
