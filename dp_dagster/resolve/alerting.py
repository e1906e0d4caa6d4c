"""Who is told what of a product: its own ``alerts`` block over the platform's, every channel found.

Nothing secret is read here: a channel keeps its references, and says which variables they name.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dp_dagster.descriptor.alerting import OWNER, Alerts, Channel, EmailChannel
from dp_dagster.descriptor.interpolation import REFERENCE
from dp_dagster.descriptor.problems import suggestion
from dp_dagster.descriptor.values import ERROR_TYPE
from dp_dagster.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from fractions import Fraction

    from dp_dagster.descriptor.alerting import Condition, MailServer, Maintenance, Rule, Severity
    from dp_dagster.descriptor.loading import Draft
    from dp_dagster.descriptor.model import Descriptor
    from dp_dagster.descriptor.paths import Keys
    from dp_dagster.resolve.lines import States
    from dp_dagster.settings import Settings

DEFAULT_GRACE = timedelta(seconds=30)
DEFAULT_STUCK_AFTER = timedelta(hours=2)
TOLD_TO_CONSUMERS: tuple[Condition, ...] = ("contract_violation", "sla_breach", "port_down")
NOT_INSTALLED = "alerts need the extra alerts: pip install 'dp_dagster[alerts]'"
_NO_CHANNEL = "no channel is declared, here or in the settings; alerts are only listed, by dp alerts"
_NO_SERVER = "there is no mail_server, here or in the settings"


@dataclass(frozen=True)
class ResolvedRule:
    """Conditions that go to channels, named as in :attr:`ResolvedAlerts.channels`."""

    on: tuple[Condition, ...]
    to: tuple[str, ...]
    at_least: Severity | None = None


@dataclass(frozen=True)
class ResolvedAlerts:
    """Who is told what of a product.

    Attributes:
        channels: By name; a reference that stands in a rule is a channel named after its variable.
        rules: Each with its channels.
        remind: How long after a message the next one follows; ``None`` for never.
        escalate_after: How long after the first message others are told; ``None`` for never.
        escalate_to: Channels that are told then.
        maintenance: When messages wait.
        grace: What happens within this time goes into one message.
        quarantine_share: Share of rows in quarantine from which it is told.
        stuck_after: A run that takes longer counts as stuck.
        consumers: What registered consumers are told.
        contacts: Channels of consumers from outside, by the consumer's name.
        reads: The ports that these read (``v1/port/vw_flights``), by the same name.
    """

    channels: Mapping[str, Channel] = field(default_factory=dict)
    rules: tuple[ResolvedRule, ...] = ()
    remind: timedelta | None = None
    escalate_after: timedelta | None = None
    escalate_to: tuple[str, ...] = ()
    maintenance: tuple[Maintenance, ...] = ()
    grace: timedelta = DEFAULT_GRACE
    quarantine_share: Fraction | None = None
    stuck_after: timedelta = DEFAULT_STUCK_AFTER
    consumers: tuple[Condition, ...] = TOLD_TO_CONSUMERS
    contacts: Mapping[str, str] = field(default_factory=dict)
    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def references(channel: Channel) -> tuple[str, ...]:
    """The environment variables that a channel names, in order."""
    found: dict[str, None] = {}
    for text in _texts(channel.model_dump()):
        found.update(dict.fromkeys(match[2:-1] for match in REFERENCE.findall(text)))
    return tuple(found)


def not_evaluated(channel: Channel) -> str | None:
    """Why nothing can be sent by a channel from here; ``None`` where it can."""
    if find_spec("apprise") is None:
        return NOT_INSTALLED
    if channel.email is not None and channel.email.server is None:
        return _NO_SERVER
    unset = [name for name in references(channel) if not os.environ.get(name)]
    if not unset:
        return None
    if len(unset) == 1:
        return f"environment variable {unset[0]} is not set"
    return f"environment variables {', '.join(unset)} are not set"


def platform_block(settings: Settings) -> Alerts:
    """The defaults of all products, ``[tool.dp_dagster.alerts]`` of the settings.

    Raises:
        SettingsError: they are wrong; names each key, and never what was written where a secret may stand.
    """
    try:
        return Alerts.model_validate(settings.alerts)
    except ValidationError as error:
        lines = []
        for detail in error.errors(include_url=False, include_input=False):
            context = detail.get("ctx", {})
            at = context.get("at", ()) if detail["type"] == ERROR_TYPE else ()
            key = ".".join(str(part) for part in ("alerts", *detail["loc"], *at))
            fix = f"; {context['fix']}" if context.get("fix") else ""
            lines.append(f"settings: {key}: {detail['msg']}{fix}")
        raise SettingsError("\n".join(lines)) from None


def platform_alerts(settings: Settings) -> ResolvedAlerts:
    """Who is told what belongs to no product.

    Raises:
        SettingsError: the settings' ``alerts`` are wrong.
    """
    block = platform_block(settings)
    _known_channels(block)
    return _resolved(block, Alerts(), None)


def alerts_of(descriptor: Descriptor | None, settings: Settings) -> ResolvedAlerts:
    """Who is told what of a product. Names of channels that there are not lead nowhere here.

    Raises:
        SettingsError: the settings' ``alerts`` are wrong.
    """
    own = descriptor.alerts if descriptor is not None else None
    return _resolved(platform_block(settings), own or Alerts(), descriptor)


def resolve_alerts(draft: Draft, settings: Settings, states: States) -> ResolvedAlerts:
    """Who is told what of a product; notes unknown channels and marks what cannot be evaluated.

    Raises:
        SettingsError: the settings' ``alerts`` are wrong.
    """
    resolved = alerts_of(draft.head, settings)
    block = draft.head.alerts if draft.head is not None else None
    for number, consumer in enumerate(draft.head.consumers if draft.head is not None else ()):
        reason = not_evaluated(Channel(url=consumer.contact)) if consumer.contact else None
        if reason:
            _mark(states, ("consumers", number, "contact"), reason)
    if block is None:
        return resolved
    if not resolved.channels:
        _mark(states, ("alerts",), _NO_CHANNEL)
    for name in block.channels:
        reason = not_evaluated(resolved.channels[name])
        if reason:
            _mark(states, ("alerts", "channels", name), reason)
    for keys, target in _targets(block):
        place = keys if keys in draft.document.marks else keys[:-1]
        place = place if place in draft.document.marks else ("alerts",)
        if REFERENCE.fullmatch(target):
            reason = not_evaluated(Channel(url=target))
        elif target == OWNER and OWNER not in resolved.channels:
            email = draft.head.owner.email if draft.head is not None and draft.head.owner else None
            reason = _NO_SERVER if email else "the product's owner has no email"
        elif target not in resolved.channels:
            draft.add(
                place,
                f"{target} is no channel of the product or of the platform",
                suggestion(target, [*resolved.channels, OWNER]),
            )
            reason = None
        else:
            reason = not_evaluated(resolved.channels[target])
        if reason:
            _mark(states, place, reason)
    return resolved


def _mark(states: States, keys: Keys, reason: str) -> None:
    states.mark(keys, "not installed" if reason == NOT_INSTALLED else "not evaluated", reason)


def _known_channels(block: Alerts) -> None:
    for keys, target in _targets(block):
        if not REFERENCE.fullmatch(target) and target not in block.channels:
            place = ".".join(str(key) for key in keys)
            fix = "only a product has an owner" if target == OWNER else suggestion(target, block.channels)
            raise SettingsError(f"settings: {place}: {target} is no channel of the platform; {fix}")


def _targets(block: Alerts) -> Iterator[tuple[Keys, str]]:
    for number, target in enumerate(block.to):
        yield ("alerts", "to", number), target
    for index, rule in enumerate(block.rules):
        for number, target in enumerate(rule.to):
            yield ("alerts", "rules", index, "to", number), target
    for number, target in enumerate(block.escalate.to if block.escalate is not None else ()):
        yield ("alerts", "escalate", "to", number), target


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _resolved(platform: Alerts, own: Alerts, descriptor: Descriptor | None) -> ResolvedAlerts:
    server = own.mail_server or platform.mail_server
    channels = {
        name: _with_server(channel, server) for name, channel in {**platform.channels, **own.channels}.items()
    }
    owner = descriptor.owner.email if descriptor is not None and descriptor.owner is not None else None
    if owner is not None and server is not None:
        channels[OWNER] = Channel(email=EmailChannel(to=(owner,), server=server))
    # A block that says anything about channels or rules stands for itself.
    says = own if own.model_fields_set & {"on", "to", "at_least", "rules", "channels"} else platform
    escalate = own.escalate or platform.escalate
    for target in (*(one for rule in says.all_rules for one in rule.to), *(escalate.to if escalate else ())):
        if REFERENCE.fullmatch(target):
            channels.setdefault(target[2:-1].lower(), Channel(url=target))
    default = (*(own.channels or platform.channels), *((OWNER,) if OWNER in channels else ()))
    own_values = own.model_fields_set

    def chosen(name: str, otherwise: Any) -> Any:
        value = getattr(own, name) if name in own_values else getattr(platform, name)
        return otherwise if value is None else value

    reads: dict[str, tuple[str, ...]] = {}
    own_major = descriptor.version.partition(".")[0] if descriptor is not None else ""
    for consumer in descriptor.consumers if descriptor is not None else ():
        major = own_major if consumer.major is None else consumer.major
        reads[consumer.name] = (*reads.get(consumer.name, ()), f"v{major}/port/{consumer.port}")
    return ResolvedAlerts(
        channels=channels,
        rules=tuple(_rule(rule, channels, default) for rule in says.all_rules),
        remind=chosen("remind", None),
        escalate_after=escalate.after if escalate else None,
        escalate_to=tuple(_names(escalate.to, channels)) if escalate else (),
        maintenance=(*own.maintenance, *platform.maintenance),
        grace=chosen("grace", DEFAULT_GRACE),
        quarantine_share=chosen("quarantine_share", None),
        stuck_after=chosen("stuck_after", DEFAULT_STUCK_AFTER),
        consumers=chosen("consumers", TOLD_TO_CONSUMERS),
        contacts={
            consumer.name: consumer.contact
            for consumer in (descriptor.consumers if descriptor is not None else ())
            if consumer.contact
        },
        reads=reads,
    )


def _rule(rule: Rule, channels: Mapping[str, Channel], default: Iterable[str]) -> ResolvedRule:
    names = _names(rule.to, channels) if rule.to else default
    return ResolvedRule(rule.on, tuple(dict.fromkeys(names)), rule.at_least)


def _names(targets: Iterable[str], channels: Mapping[str, Channel]) -> Iterator[str]:
    for target in targets:
        name = target[2:-1].lower() if REFERENCE.fullmatch(target) else target
        if name in channels:
            yield name


def _with_server(channel: Channel, server: MailServer | None) -> Channel:
    if channel.email is None or channel.email.server is not None or server is None:
        return channel
    return Channel(email=channel.email.model_copy(update={"server": server}))
