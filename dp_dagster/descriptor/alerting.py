"""``alerts``: which conditions are told to whom, and when not.

The same block stands in ``product.yaml`` and, as the default for all products, in the platform's settings. What
may hold a secret is only ever a reference to an environment variable, which is read when a message is sent: a
variable that is not set leaves its channel *not evaluated*, and the product loads all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, InstanceOf, WithJsonSchema, model_validator

from dp_dagster.descriptor.base import Model
from dp_dagster.descriptor.interpolation import REFERENCE
from dp_dagster.descriptor.names import ID_PATTERN, id_fault
from dp_dagster.descriptor.refresh import RefreshRateError, check_cron, check_zone, parse_duration
from dp_dagster.descriptor.values import Share, Text, fault

Condition = Literal[
    "contract_violation",
    "quarantine",
    "sla_warning",
    "sla_breach",
    "failed_run",
    "stuck_run",
    "breaking_change",
    "refused",
    "port_down",
    "location_failed",
    "silent",
    "channel_failed",
]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
Severity = Literal["warning", "error", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From bad to worse."""

OWNER = "owner"
"""The channel that every product has without declaring it: e-mail to its owner."""

_GROUPS: dict[str, tuple[Condition, ...]] = {"all": CONDITIONS, "sla": ("sla_warning", "sla_breach")}
_LITERAL_SECRET = "this may hold a secret, so it must not stand in the file"  # noqa: S105 - a message
_LITERAL_FIX = "put it into an environment variable and write ${NAME}"


INPUT_SECRETS = frozenset({"credentials", "headers", "url"})
"""Options of input ports in which references stay references until data is read."""


def may_hold_secret(keys: tuple[str | int, ...]) -> bool:
    """Whether references at a place of ``product.yaml`` stay references until they are used."""
    if not keys:
        return False
    if keys[0] == "input_ports":
        return len(keys) > 2 and keys[2] in INPUT_SECRETS
    if keys[0] == "output_ports":
        return keys[2:4] == ("kafka", "security")
    if keys[0] == "consumers":
        return keys[-1] == "contact"
    return keys[0] == "alerts" and (
        len(keys) == 1 or keys[1] in {"channels", "mail_server"} or "to" in keys[1:]
    )


def _secret(value: Any) -> str:
    # What was written is never part of these messages: it may be the secret.
    if not isinstance(value, str) or not REFERENCE.fullmatch(value):
        raise fault(_LITERAL_SECRET, _LITERAL_FIX)
    return value


def _target(value: Any) -> str:
    if isinstance(value, str) and (REFERENCE.fullmatch(value) or id_fault(value) is None):
        return value
    raise fault("neither the name of a channel nor a reference", "write the name of a channel, or ${NAME}")


def _targets(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _conditions(value: Any) -> tuple[str, ...]:
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, list | tuple):
        raise fault(
            "wants the name of a condition, or a list of them", f"conditions: {', '.join(CONDITIONS)}"
        )
    found: dict[str, None] = {}
    for number, word in enumerate(words):
        name = str(word).strip().replace(" ", "_").replace("-", "_")
        at: tuple[int, ...] = () if isinstance(value, str) else (number,)
        if name not in CONDITIONS and name not in _GROUPS:
            raise fault("is no condition", f"conditions: {', '.join((*CONDITIONS, *_GROUPS))}", at)
        found.update(dict.fromkeys(_GROUPS.get(name, (name,))))
    return tuple(found)


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise fault("wants a duration", "write a duration such as PT30M, PT6H or P2D")
    try:
        return parse_duration(value)
    except RefreshRateError as error:
        raise fault(str(error), error.fix) from error


def _moment(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise fault("is no date and time", "write 2026-12-24T18:00") from error
    if found.tzinfo is not None:
        raise fault("has an offset", "write local time, and the time zone under `timezone`")
    return found


def _cron_expression(value: Any) -> str:
    try:
        return check_cron(value) if isinstance(value, str) else check_cron("")
    except RefreshRateError as error:
        raise fault("is no cron expression", "write minute, hour, day of month, month, weekday") from error


def _time_zone(value: str) -> str:
    try:
        return check_zone(value)
    except RefreshRateError as error:
        raise fault(str(error), error.fix) from error


def _channels(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise fault("channels are given by name", "write `name: ${VARIABLE}` lines below it")
    for name in value:
        problem = (
            id_fault(name) if name != OWNER else ("is the product's owner already", "choose another name")
        )
        if problem:
            raise fault(f"the name of the channel {problem[0]}", problem[1], (name,))
    return value


REFERENCE_SCHEMA = {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$"}
_TARGET_SCHEMA = {"type": "string", "pattern": rf"{ID_PATTERN}|{REFERENCE_SCHEMA['pattern']}"}
_CONDITION_SCHEMA = {
    "type": "string",
    "pattern": rf"^({'|'.join((*CONDITIONS, *_GROUPS))})$".replace("_", "[_ -]"),
}


def _one_or_more(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "array", "items": schema}]}


def _or_reference_alone(schema: dict[str, Any]) -> None:
    """Let each value of a mapping be a reference as well."""
    schema["additionalProperties"] = {"anyOf": [schema["additionalProperties"], REFERENCE_SCHEMA]}


def or_reference(schema: dict[str, Any]) -> None:
    """Let a field that takes alternatives be a reference as well."""
    schema["anyOf"] = [*schema["anyOf"], REFERENCE_SCHEMA]


Secret = Annotated[str, BeforeValidator(_secret), WithJsonSchema(REFERENCE_SCHEMA)]
Target = Annotated[str, BeforeValidator(_target)]
Targets = Annotated[
    tuple[Target, ...], BeforeValidator(_targets), WithJsonSchema(_one_or_more(_TARGET_SCHEMA))
]
Conditions = Annotated[
    tuple[Condition, ...], BeforeValidator(_conditions), WithJsonSchema(_one_or_more(_CONDITION_SCHEMA))
]
Duration = Annotated[
    InstanceOf[timedelta],
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": "^P", "examples": ["PT30M", "PT4H"]}),
]
Moment = Annotated[
    InstanceOf[datetime],
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{4}-"}),
]
Cron = Annotated[
    str, BeforeValidator(_cron_expression), WithJsonSchema({"type": "string", "examples": ["0 2 * * 0"]})
]
TimeZone = Annotated[str, AfterValidator(_time_zone), WithJsonSchema({"type": "string"})]
Addresses = Annotated[
    tuple[Text, ...],
    BeforeValidator(_targets),
    WithJsonSchema(_one_or_more({"type": "string", "minLength": 1})),
]


class MailServer(Model):
    """The server that takes e-mail. User and password are references."""

    host: Text = Field(description="Name of the server.")
    port: int = Field(default=587, ge=1, le=65535, description="Its port.")
    security: Literal["starttls", "ssl", "none"] = Field(
        default="starttls", description="How the connection is protected."
    )
    sender: Text = Field(alias="from", description="Address that messages come from.")
    user: Secret | None = Field(default=None, description="Name to log in with: `${SMTP_USER}`.")
    password: Secret | None = Field(default=None, description="Its password: `${SMTP_PASSWORD}`.")


class EmailChannel(Model):
    """Plain e-mail."""

    to: Addresses = Field(description="One address, or several.")
    server: MailServer | None = Field(
        default=None, description="By default the `mail_server` of the product or the platform."
    )


class WebhookChannel(Model):
    """A webhook that is called with the message as JSON."""

    url: Secret = Field(description="Its address: `${HOOK_URL}`.")
    headers: Mapping[str, Secret] = Field(
        default_factory=dict, description="Headers with secrets: `{Authorization: ${TOKEN}}`."
    )


class Channel(Model):
    """A way to reach people. One of ``url``, ``email`` and ``webhook``; ``${NAME}`` alone is a ``url``."""

    url: Secret | None = Field(
        default=None,
        description="A reference to an apprise URL (Slack, Teams, PagerDuty and a hundred more).",
    )
    email: EmailChannel | None = Field(default=None, description="Plain e-mail.")
    webhook: WebhookChannel | None = Field(default=None, description="A webhook that takes JSON.")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"url": _secret(data)}
        if not isinstance(data, Mapping):
            raise fault(_LITERAL_SECRET, _LITERAL_FIX)
        if len({"url", "email", "webhook"} & data.keys()) != 1:
            raise fault("a channel is one of url, email and webhook", "write one of them")
        return data


class Rule(Model):
    """Which conditions go to which channels."""

    on: Conditions = Field(
        default=CONDITIONS,
        description="Conditions, by name; `sla` and `all` stand for several. Default: all.",
    )
    to: Targets = Field(
        default=(),
        description="Channels by name, `owner`, or a reference. By default all channels of the block, and the owner.",
    )
    at_least: Severity | None = Field(default=None, description="Only what is at least this bad.")


class Escalation(Model):
    """Who is told when nobody has acknowledged an alert."""

    after: Duration = Field(description="How long after the first message.")
    to: Targets = Field(description="Channels by name, `owner`, or a reference.")


class Maintenance(Model):
    """When nobody is disturbed: by a cron expression with a duration, or from one moment to another."""

    cron: Cron | None = Field(default=None, description="When it begins, again and again.")
    duration: Duration | None = Field(default=None, description="How long it lasts, with `cron`.")
    start: Moment | None = Field(default=None, alias="from", description="When it begins, once.")
    end: Moment | None = Field(default=None, alias="to", description="When it ends, with `from`.")
    timezone: TimeZone = Field(default="UTC", description="IANA name.")
    reason: Text | None = Field(default=None, description="What is done meanwhile.")

    @model_validator(mode="after")
    def _one_form(self) -> Maintenance:
        repeated = (self.cron is not None, self.duration is not None)
        once = (self.start is not None, self.end is not None)
        if not (all(repeated) and not any(once)) and not (all(once) and not any(repeated)):
            raise fault("is neither cron with duration nor from with to", "write one of the two pairs")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise fault("ends before it begins", "write a later `to`")
        return self


class Alerts(Rule):
    """Who is told what, and when.

    A key that a product leaves out has the value of the platform's settings.
    """

    channels: Annotated[Mapping[str, Channel], BeforeValidator(_channels)] = Field(
        json_schema_extra=_or_reference_alone,
        default_factory=dict,
        description="Ways to reach people, by name. A name of the platform's may be used, too.",
    )
    rules: tuple[Rule, ...] = Field(
        default=(), description="Further rules beside the block's own `on`, `to` and `at_least`."
    )
    remind: Duration | None = Field(
        default=None, description="Tell again after so long: `PT4H`. Default: never."
    )
    escalate: Escalation | None = Field(default=None, description="Whom to tell when nobody acknowledges.")
    maintenance: tuple[Maintenance, ...] = Field(
        default=(), description="When messages wait; what recovers meanwhile is never sent."
    )
    grace: Duration | None = Field(
        default=None, description="What happens within this time goes into one message. Default: 30 seconds."
    )
    quarantine_share: Share | None = Field(
        default=None,
        description="Share of rows in quarantine above which it is told. Default: half of the dataset's `max_invalid`.",
    )
    stuck_after: Duration | None = Field(
        default=None,
        description="A run in which nothing happens for so long counts as stuck. Default: two hours.",
    )
    consumers: Conditions | None = Field(
        default=None,
        description="What the registered consumers are told. Default: contract_violation, sla_breach, port_down; "
        "`[]` for nothing.",
    )
    mail_server: MailServer | None = Field(
        default=None, description="Takes the e-mail of channels without one."
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        """``alerts: ${SLACK_URL}`` is one channel for everything."""
        if isinstance(data, str):
            return {"to": [_secret(data)]}
        return data

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """The block's own rule, unless only ``rules`` stand in it, and the further ones."""
        own = Rule(on=self.on, to=self.to, at_least=self.at_least)
        stands_alone = bool({"on", "to", "at_least"} & self.model_fields_set) or not self.rules
        return (own, *self.rules) if stands_alone else self.rules
