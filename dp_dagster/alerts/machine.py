"""The states of an alert, without a store or a clock: what is seen goes in, what has changed comes out.

An alert opens at the first bad observation of its key, collects the further ones, and recovers at the first good
one. :func:`fold` does that; :func:`announce` then decides what of it is told. Both are functions of their
arguments alone: evaluated twice on what they gave before, they give nothing new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.alerts.model import SEVERITY_OF, Alert, Item, is_worse

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from dp_dagster.alerts.model import Address, Key, Kind, Observation


@dataclass(frozen=True)
class Change:
    """What became of one alert."""

    alert: Alert
    opened: bool = False
    recovered: bool = False


@dataclass(frozen=True)
class Telling:
    """When something is told of a product's alerts.

    Attributes:
        addresses: Where an alert is told; none where nobody is to know.
        escalation: Where it is told when nobody acknowledges.
        quiet_until: When the time is over in which messages wait; ``None`` outside of such a time.
        grace: How long messages wait for others that belong to them.
        remind: How long after a message the next one follows.
        escalate_after: How long after the first message others are told.
    """

    addresses: Callable[[Alert], Sequence[Address]]
    escalation: Callable[[Alert], Sequence[Address]]
    quiet_until: Callable[[datetime], datetime | None]
    grace: timedelta
    remind: timedelta | None = None
    escalate_after: timedelta | None = None


def fold(
    watcher: str,
    alerts: Iterable[Alert],
    observations: Iterable[Observation],
    *,
    now: datetime,
    new_id: Callable[[], str],
    covered: Collection[str] = (),
    unknown: Collection[Key] = (),
) -> list[Change]:
    """What observations make of the open alerts of a watcher.

    Args:
        watcher: Who observed.
        alerts: The watcher's open alerts.
        observations: In order of time.
        now: When what was not seen any more is over.
        new_id: Gives an id to an alert that opens.
        covered: Families of which everything that is wrong was observed: what is open and was not seen is over.
        unknown: Keys of which nothing is known this time: their alerts stay as they are.

    Returns:
        The alerts that changed, each in its last state; one that opened and recovered, with both.
    """
    current: dict[Key, Alert] = {alert.key: alert for alert in alerts}
    changed: dict[str, Change] = {}
    seen: set[Key] = set(unknown)
    for observation in observations:
        seen.add(observation.key)
        alert = current.get(observation.key)
        if observation.bad and alert is None:
            alert = _opened(watcher, observation, new_id())
            current[observation.key] = alert
            changed[alert.id] = Change(alert, opened=True)
        elif observation.bad and alert is not None:
            alert = _continued(alert, observation)
            if alert is not current[observation.key]:
                current[observation.key] = alert
                changed[alert.id] = Change(alert, opened=alert.id in changed and changed[alert.id].opened)
        elif alert is not None:
            del current[observation.key]
            _recover(changed, alert, observation.at, observation.reason, observation.facts)
    for key, alert in list(current.items()):
        if key not in seen and key[2] in covered:
            _recover(changed, alert, now, "", {})
    return list(changed.values())


def announce(
    alerts: Iterable[Alert], changes: Iterable[Change], telling: Telling, now: datetime
) -> tuple[list[Alert], list[Item]]:
    """What is to be told now.

    Args:
        alerts: All open alerts, as :func:`fold` left them.
        changes: What it changed; of these the recovered ones are looked at.
        telling: When something is told.
        now: The time.

    Returns:
        The alerts that have been told of now, and what is to be told, each item at one address.
    """
    told: list[Alert] = []
    items: list[Item] = []
    until = telling.quiet_until(now)
    quiet = until is not None
    # What was told before must be told to be over, but not in the middle of the night.
    due = (until or now) + telling.grace
    for alert in alerts:
        after, kinds = _due(alert, telling, now, quiet=quiet)
        if after is not alert:
            told.append(after)
        for kind, number, addresses in kinds:
            items += [Item(after, kind, address, due, number) for address in addresses]
    for change in changes:
        if not change.recovered:
            continue
        alert = change.alert
        addresses = tuple(telling.addresses(alert))
        if alert.told_at is None and (quiet or not change.opened or not addresses):
            continue  # Nobody was told that it began.
        if alert.told_at is None:
            items += [Item(alert, "opened", address, due) for address in addresses]
            alert = alert.changed(told_at=now, told_severity=alert.severity)
            told.append(alert)
        if alert.escalated_at is not None:
            addresses = tuple(dict.fromkeys((*addresses, *telling.escalation(alert))))
        items += [Item(alert, "recovered", address, due) for address in addresses]
    return told, items


def no_later_than(alert: Alert, now: datetime) -> Alert:
    """An alert of a clock that was ahead and has been set back: nothing of it lies in the time to come."""
    values = {
        name: now
        for name in ("opened_at", "last_at", "told_at", "reminded_at")
        if (moment := getattr(alert, name)) is not None and moment > now
    }
    return alert.changed(**values) if values else alert


def _due(
    alert: Alert, telling: Telling, now: datetime, *, quiet: bool
) -> tuple[Alert, list[tuple[Kind, int, Sequence[Address]]]]:
    """What is to be told of an open alert, and the alert once it has been."""
    if quiet:
        return alert, []
    addresses = telling.addresses(alert)
    if alert.told_at is None or alert.told_severity is None:
        if not addresses:
            return alert, []  # Told as soon as there is somebody to tell.
        return alert.changed(told_at=now, told_severity=alert.severity), [("opened", 0, addresses)]
    kinds: list[tuple[Kind, int, Sequence[Address]]] = []
    after = alert
    if is_worse(alert.severity, alert.told_severity):
        after = after.changed(told_severity=alert.severity, reminded_at=now)
        kinds.append(("worse", alert.occurrences, addresses))
    if alert.acknowledged_at is None:
        last = after.reminded_at or alert.told_at
        if telling.remind is not None and now - last >= telling.remind:
            after = after.changed(reminded_at=now, reminders=alert.reminders + 1)
            kinds.append(("reminder", after.reminders, addresses))
        is_due = telling.escalate_after is not None and now - alert.told_at >= telling.escalate_after
        if is_due and alert.escalated_at is None:
            after = after.changed(escalated_at=now)
            kinds.append(("escalated", 0, telling.escalation(alert)))
    return after, kinds


def _opened(watcher: str, observation: Observation, name: str) -> Alert:
    return Alert(
        id=name,
        watcher=watcher,
        product=observation.product,
        subject=observation.subject,
        condition=observation.condition,
        severity=SEVERITY_OF[observation.condition],
        reason=observation.reason,
        facts=dict(observation.facts),
        opened_at=observation.at,
        last_at=observation.at,
    )


def _continued(alert: Alert, observation: Observation) -> Alert:
    severity = SEVERITY_OF[observation.condition]
    if is_worse(severity, alert.severity):
        return alert.changed(
            condition=observation.condition,
            severity=severity,
            reason=observation.reason,
            facts=dict(observation.facts),
            last_at=observation.at,
        )
    if observation.is_event and observation.at > alert.last_at:
        return alert.changed(
            occurrences=alert.occurrences + 1,
            reason=observation.reason,
            facts=dict(observation.facts),
            last_at=observation.at,
        )
    return alert


_OF_THE_TIME = frozenset({"consumers see", "measured", "budget", "waiting", "next try"})


def _recover(
    changed: dict[str, Change], alert: Alert, at: datetime, reason: str, facts: Mapping[str, str]
) -> None:
    opened = alert.id in changed and changed[alert.id].opened
    after = alert.changed(
        recovered_at=max(at, alert.opened_at),
        reason=reason or f"Before: {alert.reason}",
        # What was measured and seen while it was wrong is no news any more.
        facts={**{name: value for name, value in alert.facts.items() if name not in _OF_THE_TIME}, **facts},
    )
    changed[alert.id] = Change(after, opened=opened, recovered=True)
