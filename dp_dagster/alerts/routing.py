"""Where an alert is told: the product's own channels, those of its consumers, and the platform's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dp_dagster.alerts.machine import Telling
from dp_dagster.alerts.maintenance import quiet_until
from dp_dagster.alerts.model import PLATFORM, Address, is_worse
from dp_dagster.descriptor.alerting import Channel
from dp_dagster.resolve.alerting import ResolvedAlerts, ResolvedRule, not_evaluated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dp_dagster.alerts.model import Alert

_CHANNEL = "channel/"


@dataclass(frozen=True)
class Routes:
    """Channels and rules of one owner, as others see them: references only, no secret.

    Every watcher leaves its own in the store, so that a producer finds its consumers' channels wherever they run.
    """

    channels: Mapping[str, Channel] = field(default_factory=dict)
    rules: tuple[ResolvedRule, ...] = ()

    @classmethod
    def of(cls, alerts: ResolvedAlerts) -> Routes:
        """The routes of a product or of the platform, its outside consumers' contacts included."""
        contacts = {f"consumer_{name}": Channel(url=url) for name, url in alerts.contacts.items()}
        return cls({**alerts.channels, **contacts}, alerts.rules)

    def reachable(self) -> frozenset[str]:
        """Channels that messages can be sent by from this process."""
        return frozenset(name for name, channel in self.channels.items() if not_evaluated(channel) is None)

    def unreachable(self) -> dict[str, str]:
        """The other channels, and why."""
        reasons = {name: not_evaluated(channel) for name, channel in self.channels.items()}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "channels": {
                name: channel.model_dump(mode="json", by_alias=True, exclude_none=True)
                for name, channel in self.channels.items()
            },
            "rules": [
                {"on": list(rule.on), "to": list(rule.to), "at_least": rule.at_least} for rule in self.rules
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Routes:
        """From JSON; the counterpart of :meth:`to_json`."""
        return cls(
            {name: Channel.model_validate(channel) for name, channel in content["channels"].items()},
            tuple(
                ResolvedRule(tuple(rule["on"]), tuple(rule["to"]), rule["at_least"])
                for rule in content["rules"]
            ),
        )

    def matching(self, alert: Alert) -> list[str]:
        """Names of the channels that the rules name for an alert."""
        found: dict[str, None] = {}
        for rule in self.rules:
            is_bad_enough = rule.at_least is None or not is_worse(rule.at_least, alert.severity)
            if alert.condition in rule.on and is_bad_enough:
                found.update(dict.fromkeys(rule.to))
        return list(found)


def failed_channel(alert: Alert) -> str | None:
    """The channel that an alert says is failing."""
    return alert.subject.removeprefix(_CHANNEL) if alert.condition == "channel_failed" else None


def channel_subject(name: str) -> str:
    """The subject of an alert about a channel."""
    return f"{_CHANNEL}{name}"


def _concerns(alert: Alert, place: str, areas: Mapping[str, str]) -> bool:
    """Whether an alert is about what somebody reads at a port; what is about the whole product is."""
    if "/port/" in alert.subject:
        return alert.subject == place or alert.subject.startswith(f"{place}/")
    if "/dataset/" in alert.subject:
        is_same_major = alert.subject.partition("/")[0] == place.partition("/")[0]
        return is_same_major and areas.get(place, alert.subject) == alert.subject
    return True


def telling_of(
    product: str,
    alerts: ResolvedAlerts,
    registered: Mapping[str, Routes],
    consumers: Iterable[tuple[str, str]] = (),
    areas: Mapping[str, str] | None = None,
) -> Telling:
    """When and where a product's alerts are told.

    Args:
        product: Id of the product, or of the platform.
        alerts: What it declares.
        registered: Routes of all others, by owner, as their watchers left them.
        consumers: Products that are registered as consumers of the product, each with the port that it reads
            (``v1/port/vw_flights``).
        areas: What each port shows (``v1/dataset/flights``), as far as that is known.
    """
    shows = areas or {}
    readers = tuple(consumers)
    own = Routes.of(alerts)
    reachable = own.reachable()
    contacts = tuple(f"consumer_{name}" for name in alerts.contacts)

    def addresses(alert: Alert) -> Sequence[Address]:
        names = [name for name in own.matching(alert) if name in reachable]
        failed = failed_channel(alert)
        if failed is not None:
            # Whatever else there is must do, the platform's channels as well.
            names = [name for name in dict.fromkeys((*names, *own.channels)) if name in reachable]
            names = [name for name in names if name != failed and name not in contacts]
        found = [Address(product, name) for name in names]
        if alert.condition in alerts.consumers:
            outside = {
                f"consumer_{name}": any(_concerns(alert, place, shows) for place in places)
                for name, places in alerts.reads.items()
            }
            found += [
                Address(product, name) for name in contacts if name in reachable and outside.get(name, True)
            ]
            for consumer in dict.fromkeys(name for name, place in readers if _concerns(alert, place, shows)):
                routes = registered.get(consumer)
                found += [Address(consumer, name) for name in (routes.matching(alert) if routes else ())]
        platform = registered.get(PLATFORM)
        if failed is not None and not found and product != PLATFORM and platform is not None:
            found += [Address(PLATFORM, name) for name in platform.channels]
        return tuple(dict.fromkeys(found))

    return Telling(
        addresses=addresses,
        escalation=lambda _: tuple(
            Address(product, name) for name in alerts.escalate_to if name in reachable
        ),
        quiet_until=lambda moment: quiet_until(alerts.maintenance, moment),
        grace=alerts.grace,
        remind=alerts.remind,
        escalate_after=alerts.escalate_after,
    )
