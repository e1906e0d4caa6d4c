"""What is observed, and the alerts that follow from it, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from dp_dagster.descriptor.alerting import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.descriptor.alerting import Condition, Severity

PLATFORM = "platform"
"""Stands for a product where what is wrong belongs to none."""

CONTRACT_HASH = "contract hash"
"""The fact that says which contract was refused; not for people."""

SEVERITY_OF: Mapping[Condition, Severity] = {
    "contract_violation": "error",
    "quarantine": "warning",
    "sla_warning": "warning",
    "sla_breach": "error",
    "failed_run": "error",
    "stuck_run": "warning",
    "breaking_change": "error",
    "refused": "error",
    "port_down": "critical",
    "location_failed": "error",
    "silent": "critical",
    "channel_failed": "warning",
}
"""How bad each condition is."""

_FAMILIES: Mapping[str, str] = {"sla_warning": "sla", "sla_breach": "sla"}


def family_of(condition: str) -> str:
    """Conditions of one family are one alert that gets worse or better: a warning that becomes a breach."""
    return _FAMILIES.get(condition, condition)


def is_worse(severity: Severity, than: Severity) -> bool:
    """Whether one severity is worse than another."""
    return SEVERITIES.index(severity) > SEVERITIES.index(than)


@dataclass(frozen=True)
class Observation:
    """What was seen of one thing at one time.

    Attributes:
        product: Id of the product, or :data:`PLATFORM`.
        subject: What it was seen of (``v1/dataset/flights``).
        condition: What may be wrong.
        bad: Whether it is.
        at: When it was so.
        reason: A sentence; holds no values of rows and no secrets.
        facts: More to tell, by name: links, and what consumers see now.
        is_event: Whether it happened at that time; otherwise it is a state, and seeing it again is no news.
    """

    product: str
    subject: str
    condition: Condition
    bad: bool
    at: datetime
    reason: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    is_event: bool = False

    @property
    def key(self) -> Key:
        """What the alert is known by."""
        return (self.product, self.subject, family_of(self.condition))


Key = tuple[str, str, str]
"""Product, subject and family of conditions."""


@dataclass(frozen=True)
class Alert:
    """Something that is, or was, wrong.

    Attributes:
        id: Unique for ever.
        watcher: Who saw it and will see its end: a product's own sensor, or the platform's.
        product: Id of the product, or :data:`PLATFORM`.
        subject: What it is about.
        condition: The worst of its family so far.
        severity: How bad that is.
        reason: What was said last.
        facts: More to tell.
        opened_at: When it began.
        last_at: When it last happened or got worse.
        occurrences: How often it happened.
        told_at: When somebody was first told; ``None`` while nobody could be, or was to be.
        told_severity: How bad it was when somebody was last told.
        reminded_at: When somebody was last reminded.
        reminders: How often.
        escalated_at: When others were told since nobody had acknowledged.
        acknowledged_at: When somebody took it on.
        acknowledged_by: Who.
        recovered_at: When it was over.
    """

    id: str
    watcher: str
    product: str
    subject: str
    condition: Condition
    severity: Severity
    reason: str
    facts: Mapping[str, str]
    opened_at: datetime
    last_at: datetime
    occurrences: int = 1
    told_at: datetime | None = None
    told_severity: Severity | None = None
    reminded_at: datetime | None = None
    reminders: int = 0
    escalated_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""
    recovered_at: datetime | None = None

    @property
    def key(self) -> Key:
        """What it is known by while it is open."""
        return (self.product, self.subject, family_of(self.condition))

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return self.recovered_at is None

    @property
    def state(self) -> str:
        """``open``, ``acknowledged`` or ``recovered``."""
        if not self.is_open:
            return "recovered"
        return "open" if self.acknowledged_at is None else "acknowledged"

    def changed(self, **values: object) -> Alert:
        """The alert with other values."""
        return replace(self, **values)  # type: ignore[arg-type]


Kind = Literal["opened", "worse", "reminder", "escalated", "recovered"]


@dataclass(frozen=True)
class Address:
    """Where a message goes: a channel, and whose it is."""

    owner: str
    channel: str


@dataclass(frozen=True)
class Item:
    """One thing to be told of an alert at one address.

    ``number`` tells the reminders of an alert apart; with the rest it names the item for good, so that it is never
    queued twice.
    """

    alert: Alert
    kind: Kind
    address: Address
    due_at: datetime
    number: int = 0


def moment_text(moment: datetime) -> str:
    """A moment as stored: UTC, sortable as text."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
