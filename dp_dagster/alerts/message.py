"""What people read: what, since when, how bad, what consumers see now, and where to look.

The text is Markdown that reads well as plain text, too; apprise turns it into what a channel can carry. It is made of
reasons and facts alone, which hold no values of rows and no secrets.
"""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING

from dp_dagster.alerts.model import CONTRACT_HASH, PLATFORM, is_worse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime, timedelta

    from dp_dagster.alerts.kept import Told
    from dp_dagster.alerts.model import Alert
    from dp_dagster.descriptor.alerting import Condition, Severity

TITLES: Mapping[Condition, str] = {
    "contract_violation": "contract broken, nothing published",
    "quarantine": "many rows in quarantine",
    "sla_warning": "SLA at risk",
    "sla_breach": "SLA breached",
    "failed_run": "run failed",
    "stuck_run": "run stuck",
    "breaking_change": "breaking change blocked",
    "refused": "refused by policy, nothing published",
    "port_down": "port down",
    "location_failed": "code location does not load",
    "silent": "no sign of life",
    "channel_failed": "messages do not arrive",
}
_KINDS = {
    "opened": "",
    "worse": "worse: ",
    "reminder": "still: ",
    "escalated": "nobody has acknowledged: ",
    "recovered": "recovered: ",
}
_NAMED = 3
"""So many are named in a title; of more it says how many there are."""
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_HIDDEN = frozenset({"run id", CONTRACT_HASH})


def compose(names: Callable[[str], str], product: str, told: Sequence[Told]) -> tuple[str, str, str]:
    """Title, body and severity of a message.

    Args:
        names: Gives a product's name for people.
        product: Whose alerts they are.
        told: What became of them.
    """
    told = sorted(told, key=_place)
    bad = [one.alert.severity for one in told if one.kind != "recovered"]
    severity = _worst(bad) if bad else "recovered"
    whose = names(product)
    if len(told) <= _NAMED:
        what = "; ".join(
            f"{_KINDS[one.kind]}{TITLES[one.alert.condition]} ({one.alert.subject})" for one in told
        )
    else:
        over = len(told) - len(bad)
        parts = [f"{len(bad)} wrong" if bad else "", f"{over} recovered" if over else ""]
        what = ", ".join(part for part in parts if part)
    title = f"[{severity}] {whose}: {what}"
    return title, "\n\n".join(_section(one) for one in told), severity


def _place(told: Told) -> tuple[object, ...]:
    """Where an alert stands in a message. What began at the same moment is not left to its id, which is drawn."""
    alert = told.alert
    return alert.opened_at, alert.condition, alert.subject, alert.id, told.kind == "recovered"


def product_name(product: str) -> str:
    """The platform, or the product's id."""
    return "data platform" if product == PLATFORM else product


def _worst(severities: Sequence[Severity]) -> Severity:
    worst = severities[0]
    for severity in severities:
        if is_worse(severity, worst):
            worst = severity
    return worst


def _section(told: Told) -> str:
    alert = told.alert
    lines = [f"**{_KINDS[told.kind]}{TITLES[alert.condition]}**: {_plain(alert.subject)}", ""]
    if alert.reason:
        lines += [_plain(alert.reason), ""]
    lines.append(f"- since: {_moment(alert.opened_at)}{_until(alert)}")
    if told.kind != "recovered":
        lines.append(f"- severity: {alert.severity}")
    if alert.occurrences > 1:
        lines.append(f"- happened {alert.occurrences} times, last {_moment(alert.last_at)}")
    lines += [
        f"- {name}: {_plain(value)}" for name, value in alert.facts.items() if value and name not in _HIDDEN
    ]
    if told.kind != "recovered":
        lines.append(f"- take it on: dp alerts acknowledge {alert.id}")
    return "\n".join(lines)


def _until(alert: Alert) -> str:
    if alert.recovered_at is None:
        return ""
    return f", until {_moment(alert.recovered_at)} ({span(alert.recovered_at - alert.opened_at)})"


def _plain(text: str) -> str:
    """One line without tags: a reason makes no heading and no list of its own, and loads nothing where it is HTML.

    Markdown lets HTML through, and what others say, a server that is down for one, may stand in a reason.
    """
    return _TAG.sub("< ", " ".join(text.split()))


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def span(time: timedelta) -> str:
    """How long, in words."""
    seconds = time.total_seconds()
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
