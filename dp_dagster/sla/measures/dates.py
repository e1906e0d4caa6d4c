"""Dates and hours that are promised: from when, until when, and at what times somebody helps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.sla.calendar import is_open, next_change
from dp_dagster.sla.facts import Facts, Measured, not_evaluated
from dp_dagster.sla.words import moment, span

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.descriptor.objectives import EndOfLife, EndOfSupport, GeneralAvailability, SupportHours


def general_availability(objective: GeneralAvailability, facts: Facts, now: datetime) -> Measured:
    """Something is on show from that day on."""
    if now < objective.date:
        return Measured("pending", f"from {moment(objective.date)}, in {span(objective.date - now)}")
    if facts.shown is None:
        late = span(now - objective.date)
        return Measured("breached", f"never published; promised {late} ago", onset=objective.date)
    return Measured("met", f"on show since version {facts.shown.version} or before")


def end_of_support(objective: EndOfSupport, facts: Facts, now: datetime) -> Measured:
    """Somebody can be asked until that day; who is still on show after it is told so."""
    left = (objective.date - now).total_seconds()
    if now >= objective.date:
        if facts.shown is None:
            return Measured("met", f"ended at {moment(objective.date)}", left, unit="seconds")
        said = f"still on show, without support since {moment(objective.date)}"
        return Measured("warning", said, left, unit="seconds", onset=objective.date)
    if not facts.support:
        return Measured(
            "breached", "the product says nowhere whom to ask; add `support` or an owner's e-mail"
        )
    return _until(objective.date, objective.date - objective.warn, "support", now)


def end_of_life(objective: EndOfLife, facts: Facts, now: datetime) -> Measured:
    """The port is on show until that day; what is on show after it, is overdue to go."""
    left = (objective.date - now).total_seconds()
    if now >= objective.date:
        if facts.shown is None:
            return Measured("met", f"ended at {moment(objective.date)}", left, unit="seconds")
        said = f"still on show past its end at {moment(objective.date)}"
        return Measured("warning", said, left, unit="seconds", onset=objective.date)
    if facts.shown is None:
        # Whether that is too late already is for the first version's own deadline to say.
        late = facts.first_due is not None and now >= facts.first_due
        said = f"nothing is on show, promised until {moment(objective.date)}"
        return Measured("breached" if late else "pending", said, onset=facts.first_due if late else None)
    return _until(objective.date, objective.date - objective.warn, "on show", now)


def _until(end: datetime, warn_from: datetime, what: str, now: datetime) -> Measured:
    left, said = (end - now).total_seconds(), f"{what} until {moment(end)}, {span(end - now)} left"
    if now >= warn_from:
        return Measured("warning", said, left, unit="seconds", onset=warn_from)
    return Measured("met", said, left, unit="seconds")


def support_hours(objective: SupportHours, facts: Facts, now: datetime) -> Measured:
    """Never judged: whether support is open is said, whether anybody answers is not known."""
    opened = is_open(objective.hours, objective.timezone, now)
    change = next_change(objective.hours, objective.timezone, now)
    word, next_word = ("open", "closes") if opened else ("closed", "opens")
    then = f", {next_word} at {moment(change)}" if change is not None else ""
    whom = "" if facts.support else "; the product says nowhere whom to ask"
    return not_evaluated(f"nothing here sees when questions are answered; support is {word} now{then}{whom}")
