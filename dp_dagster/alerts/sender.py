"""One message to one channel, through apprise. The only module that imports it.

References of a channel are read here and nowhere else. What apprise says of a failure is told without their values.
"""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from dp_dagster.descriptor.interpolation import REFERENCE, without_secret
from dp_dagster.errors import NotInstalledError
from dp_dagster.resolve.alerting import NOT_INSTALLED, not_evaluated, references

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dp_dagster.alerts.kept import Delivery
    from dp_dagster.descriptor.alerting import Channel, EmailChannel, MailServer, WebhookChannel

_KEEP_INCIDENTS = ("pagerduty://",)
"""Services that open an incident for a message, and close it for another one that names it."""
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 10.0


def send(channel: Channel, delivery: Delivery) -> str:
    """Deliver a message.

    Returns:
        Why it failed, without any secret; an empty text when it was delivered.

    Raises:
        NotInstalledError: the extra is missing.
    """
    reason = not_evaluated(channel)
    if reason == NOT_INSTALLED:
        raise NotInstalledError(NOT_INSTALLED)
    if reason is not None:
        return reason
    import apprise

    # Its lines may hold parts of the URL; what they say of a failure is in the result as well.
    logging.getLogger("apprise").propagate = False
    carrier = apprise.Apprise(asset=apprise.AppriseAsset(app_id="dp_dagster", storage_mode="memory"))
    if not carrier.add(_url(channel, delivery)):
        return f"{references(channel)[0]} holds no URL that apprise can read"
    outcome = carrier.notify(
        title=delivery.title,
        body=delivery.body,
        body_format=apprise.NotifyFormat.MARKDOWN,
        notify_type=_notify_type(apprise, delivery.severity),
    )
    if outcome:
        return ""
    return _redacted(channel, "was refused or could not be reached", [one.message for one in outcome.logs()])


def keeps_incidents(channel: Channel) -> bool:
    """Whether each alert is a message of its own there: it opens an incident, and its end closes it."""
    return channel.url is not None and _value(channel.url).lower().startswith(_KEEP_INCIDENTS)


def _notify_type(apprise: Any, severity: str) -> Any:
    known = {
        "warning": apprise.NotifyType.WARNING,
        "error": apprise.NotifyType.FAILURE,
        "critical": apprise.NotifyType.FAILURE,
        "recovered": apprise.NotifyType.SUCCESS,
    }
    return known.get(severity, apprise.NotifyType.INFO)


def _redacted(channel: Channel, what: str, heard: Iterable[str]) -> str:
    said = "; ".join(dict.fromkeys(" ".join(line.split()) for line in heard))[:400]
    text = f"{what} ({said})" if said else what
    for name in references(channel):
        text = without_secret(text, name, os.environ.get(name, ""))
    return text


def _url(channel: Channel, delivery: Delivery) -> str | dict[str, Any]:
    if channel.url is not None:
        return _with_timeouts(_with_incident(channel, delivery))
    if channel.webhook is not None:
        return _webhook(channel.webhook, delivery)
    if channel.email is not None and channel.email.server is not None:
        return _mail(channel.email, channel.email.server)
    raise AssertionError("a channel is one of three; its model holds that")


def _with_incident(channel: Channel, delivery: Delivery) -> str:
    url = _value(channel.url or "")
    if not delivery.incident:
        return url
    mark = "&" if "?" in url else "?"
    return f"{url}{mark}action=map&dedup={quote(delivery.incident, safe='')}"


def _with_timeouts(url: str) -> str:
    mark = "&" if "?" in url else "?"
    own = "" if re.search(r"[?&]cto=", url) else f"{mark}cto={CONNECT_SECONDS:g}&rto={ANSWER_SECONDS:g}"
    return f"{url}{own}"


def _webhook(webhook: WebhookChannel, delivery: Delivery) -> dict[str, Any]:
    parts = urlsplit(_value(webhook.url))
    return {
        "schema": "jsons" if parts.scheme == "https" else "json",
        "secure": parts.scheme == "https",
        "host": parts.hostname or "",
        "port": parts.port,
        "user": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
        "fullpath": parts.path or "/",
        "params": dict(_pairs(parts.query)),
        "headers": {name: _value(value) for name, value in webhook.headers.items()},
        "payload": {"id": delivery.id, "product": delivery.product, "severity": delivery.severity},
        "cto": CONNECT_SECONDS,
        "rto": ANSWER_SECONDS,
    }


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        yield unquote(name), unquote(value)


def _mail(email: EmailChannel, server: MailServer) -> str:
    login = ""
    if server.user is not None:
        password = quote(_value(server.password), safe="") if server.password else ""
        login = f"{quote(_value(server.user), safe='')}:{password}@"
    scheme = "mailto" if server.security == "none" else "mailtos"
    query: Mapping[str, str] = {
        "smtp": _value(server.host),
        "from": _value(server.sender),
        "to": ",".join(_value(address) for address in email.to),
        "mode": server.security if server.security != "none" else "insecure",
        "cto": f"{CONNECT_SECONDS:g}",
        "rto": f"{ANSWER_SECONDS:g}",
    }
    host = _value(server.host)
    return f"{scheme}://{login}{host}:{server.port}/?" + "&".join(
        f"{name}={quote(value, safe='')}" for name, value in query.items()
    )


def _value(text: str) -> str:
    """A text with its references replaced. Nothing that this gives is ever logged or kept."""
    return REFERENCE.sub(lambda match: os.environ.get(match.group()[2:-1], ""), text)
