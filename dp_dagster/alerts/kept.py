"""What the store of alerts keeps, as values, and how rows become them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dp_dagster.alerts.model import Alert, moment_text
from dp_dagster.alerts.routing import Routes

if TYPE_CHECKING:
    from sqlalchemy import Row

    from dp_dagster.alerts.model import Key, Observation
    from dp_dagster.sla.model import ObjectiveState

_MOMENTS = (
    "opened_at", "last_at", "told_at", "reminded_at", "escalated_at", "acknowledged_at", "recovered_at",
)  # fmt: skip


@dataclass(frozen=True)
class Watcher:
    """Somebody who evaluates: when that was last, and where it goes on.

    Attributes:
        name: Id of the product, or of the platform.
        round: How many evaluations there have been; two at once do not both count.
        seen_at: When the last one was; ``None`` before the first.
        cursor: Where the next one goes on reading.
        routes: Where messages to it go.
    """

    name: str
    round: int = 0
    seen_at: datetime | None = None
    cursor: Mapping[str, Any] = field(default_factory=dict)
    routes: Routes = field(default_factory=Routes)


@dataclass(frozen=True)
class Round:
    """One evaluation, to be committed.

    Attributes:
        watcher: As it was read before evaluating.
        at: When.
        observations: What was seen, in order of time.
        covered: Families of which everything that is wrong was seen.
        unknown: Keys of which nothing is known.
        cursor: Where the next evaluation goes on.
        routes: Where messages to the watcher go.
    """

    watcher: Watcher
    at: datetime
    observations: Sequence[Observation]
    covered: Collection[str]
    unknown: Collection[Key]
    cursor: Mapping[str, Any]
    routes: Routes


@dataclass(frozen=True)
class Told:
    """One thing in a message: what became of an alert."""

    kind: str
    alert: Alert


@dataclass(frozen=True)
class Delivery:
    """A message on its way, and what became of it so far.

    ``incident`` is the alert that it tells of, at channels that keep one incident for each; empty elsewhere.
    """

    id: str
    owner: str
    channel: str
    product: str
    created_at: datetime
    state: str
    attempts: int
    next_at: datetime
    error: str
    title: str
    body: str
    severity: str
    incident: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a round came to.

    ``committed`` is false where somebody else was quicker; nothing is lost then. ``quiet`` where nothing followed and
    nothing had to be written.
    """

    committed: bool
    opened: tuple[Alert, ...] = ()
    recovered: tuple[Alert, ...] = ()
    items: int = 0
    quiet: bool = False


@dataclass(frozen=True)
class Happened:
    """A record, as far as alerts need it."""

    id: int
    at: datetime
    kind: str
    subject: str
    run_id: str
    payload: dict[str, Any]


def content_of(alert: Alert) -> str:
    """An alert as it is kept."""
    values = asdict(alert)
    return json.dumps(
        {**values, **{name: moment_text(values[name]) if values[name] else None for name in _MOMENTS}}
    )


def alert_of(content: str) -> Alert:
    """An alert as it was kept."""
    values = json.loads(content)
    return Alert(
        **{
            **values,
            **{name: datetime.fromisoformat(values[name]) if values[name] else None for name in _MOMENTS},
        }
    )


def watcher_of(row: Row[Any]) -> Watcher:
    """Somebody who evaluates, from their row."""
    return Watcher(
        row.name,
        row.round,
        datetime.fromisoformat(row.seen_at),
        json.loads(row.cursor),
        Routes.from_json(json.loads(row.routes)),
    )


def delivery_of(row: Row[Any], attempts: int | None = None) -> Delivery:
    """A message from its row; with the attempt that is just being made, where it is not written down yet."""
    content = json.loads(row.content)
    return Delivery(
        id=row.id,
        owner=row.owner,
        channel=row.channel,
        product=row.product,
        created_at=datetime.fromisoformat(row.created_at),
        state=row.state,
        attempts=row.attempts if attempts is None else attempts,
        next_at=datetime.fromisoformat(row.next_at),
        error=row.error,
        title=content["title"],
        body=content["body"],
        severity=content["severity"],
        incident=content.get("incident", ""),
    )


def now_utc() -> datetime:
    """The time."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Glance:
    """What is kept of a watcher, as far as one look needs it.

    Attributes:
        watcher: As the last look left it.
        happened: What was put on record since.
        failing: Its channels that failed too often, each with a message that waits for it.
        open: Its open alerts.
        elsewhere: Conditions of the product that are open at others who watch it.
        is_due: Whether messages wait that are due.
        states: Where its objectives stand.
    """

    watcher: Watcher
    happened: Sequence[Happened]
    failing: Mapping[str, Delivery]
    open: Sequence[Alert]
    elsewhere: Collection[str]
    is_due: bool
    states: Sequence[ObjectiveState] = ()
