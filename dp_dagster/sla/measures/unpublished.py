"""A port that shows nothing yet: not yet due, or late; never unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.sla.facts import Facts, Measured
from dp_dagster.sla.words import moment, span

if TYPE_CHECKING:
    from datetime import datetime


def unpublished(facts: Facts, now: datetime, due: datetime | None = None) -> Measured:
    """What an objective of a port comes to that never showed anything.

    Args:
        facts: Of the port.
        now: The time.
        due: When the objective itself wants the first version; by default, when the port's first version is due.
    """
    due = due if due is not None else facts.first_due
    if due is None:
        return Measured("pending", "nothing was published yet, and nothing says by when it should be")
    if now < due:
        return Measured("pending", f"nothing was published yet; due by {moment(due)}")
    late = span(now - due)
    return Measured("breached", f"never published; was due by {moment(due)}, {late} ago", onset=due)
