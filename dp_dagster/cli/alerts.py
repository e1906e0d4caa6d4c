"""``dp alerts``: what is wrong, who takes it on, whether messages arrive, and whether anybody looks at all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_dagster.cli.groups import group
from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from dp_dagster.alerts.kept import Delivery
    from dp_dagster.alerts.model import Alert
    from dp_dagster.alerts.store import AlertStore
    from dp_dagster.descriptor.alerting import Channel
    from dp_dagster.resolve.alerting import ResolvedAlerts
    from dp_dagster.settings import Settings


def list_alerts(
    product: Annotated[
        str | None, typer.Argument(metavar="[PRODUCT]", help="Only of this product, or of `platform`.")
    ] = None,
    *,
    only_open: Annotated[bool, typer.Option("--open", help="Only what is not over.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List alerts, newest first, and messages that could not be delivered yet, or were given up."""
    from dp_dagster.alerts.outbox import GIVEN_UP, PENDING
    from dp_dagster.cli.output import print_json, print_table

    _, store = _store()
    alerts = store.alerts(product, open_only=only_open, limit=limit)
    waiting = [
        one
        for state in (PENDING, GIVEN_UP)
        for one in store.deliveries(state=state)
        if one.error and product in {None, one.product}
    ]
    if as_json:
        print_json(
            {
                "alerts": [_plain(alert) for alert in alerts],
                "not_delivered": [_waiting(one) for one in waiting],
            }
        )
        return
    if not alerts:
        typer.echo(f"no {'open ' if only_open else ''}alerts{f' of {product}' if product else ''}")
    else:
        print_table(
            ("alert", "state", "severity", "product", "what", "subject", "since (UTC)", "reason"),
            [
                (
                    alert.id,
                    _state(alert),
                    alert.severity,
                    alert.product,
                    alert.condition.replace("_", " "),
                    alert.subject,
                    f"{alert.opened_at:%Y-%m-%d %H:%M}",
                    alert.reason,
                )
                for alert in alerts
            ],
        )
    for one in waiting:
        then = f"again at {one.next_at:%H:%M:%S} UTC" if one.state == PENDING else "given up"
        typer.echo(
            f"not delivered to {one.channel} of {one.owner} after {one.attempts} tries, "
            f"{then}: {one.title}: {one.error}",
            err=True,
        )


def send_test(
    product: Annotated[str, typer.Argument(metavar="PRODUCT", help="The product, or `platform`.")],
    *,
    channel: Annotated[str | None, typer.Option(help="Only this channel.")] = None,
) -> int:
    """Send a test message on a product's channels.

    Ends with 3 if a channel failed, and with 1 if there is none that can be tried.
    """
    from dp_dagster.alerts.routing import Routes
    from dp_dagster.alerts.sender import send
    from dp_dagster.cli.output import print_table, state
    from dp_dagster.descriptor.problems import suggestion
    from dp_dagster.errors import OperatorError, UsageError
    from dp_dagster.resolve.alerting import not_evaluated

    settings, alerts = _alerts_of(product)
    channels: dict[str, Channel] = dict(Routes.of(alerts).channels)
    if channel is not None and channel not in channels:
        raise UsageError(f"{channel} is no channel of {product}; {suggestion(channel, channels)}")
    rows, failed, sent = [], 0, 0
    for name, declared in channels.items():
        if channel not in {None, name}:
            continue
        reason = not_evaluated(declared)
        error = reason or send(declared, _sample(product, name, settings))
        rows.append(
            (name, state("not evaluated" if reason else "refused" if error else "active"), error or "sent")
        )
        failed += bool(error and not reason)
        sent += not error
    if not rows:
        typer.echo(f"{product} has no channel, neither its own nor the platform's", err=True)
        return 1
    print_table(("channel", "state", "outcome"), rows)
    if failed:
        return OperatorError.exit_code
    return 0 if sent else 1


def acknowledge(
    alert: Annotated[str, typer.Argument(metavar="ALERT", help="Its id, or the beginning of it.")],
) -> None:
    """Take an alert on: nobody is reminded, and it is not escalated. Its end is told as ever."""
    from dp_dagster.alerts.kept import now_utc
    from dp_dagster.records import os_user

    _, store = _store()
    taken = store.acknowledge(alert, os_user(), now_utc())
    typer.echo(
        f"{taken.id}: {taken.condition.replace('_', ' ')} of {taken.product}, {taken.subject}: {_state(taken)}"
    )


def check() -> int:
    """Look once, from outside of Dagster, whether anybody watches; tell it if nobody does. For cron.

    Ends with 3 if Dagster is silent.
    """
    from dp_dagster.alerts.silence import look_from_outside
    from dp_dagster.errors import OperatorError

    settings, store = _store()
    found, looked = look_from_outside(settings, store)
    for one in found:
        typer.echo(f"{one.subject}: {one.reason}", err=True)
    typer.echo(str(looked))
    return OperatorError.exit_code if found else 0


def watch(
    *,
    every: Annotated[float | None, typer.Option(min=1, help="Seconds between two looks.")] = None,
) -> None:
    """Look again and again, from outside of Dagster, whether anybody watches, until Ctrl-C."""
    settings, _ = _store()
    while True:
        check()
        time.sleep(every or settings.alert_interval)


alerts = group(
    "What is wrong, who takes it on, and whether messages arrive.",
    {"list": list_alerts, "test": send_test, "acknowledge": acknowledge, "check": check, "watch": watch},
    default="list",
)


def _store() -> tuple[Settings, AlertStore]:
    from dp_dagster.alerts.store import AlertStore
    from dp_dagster.settings import Settings

    settings = Settings.load()
    return settings, AlertStore.of(settings)


def _alerts_of(product: str) -> tuple[Settings, ResolvedAlerts]:
    from dp_dagster.alerts.model import PLATFORM
    from dp_dagster.cli.names import find_named
    from dp_dagster.resolve.alerting import platform_alerts
    from dp_dagster.settings import Settings

    if product == PLATFORM:
        settings = Settings.load()
        return settings, platform_alerts(settings)
    found = find_named(product)
    return found.settings, found.alerts


def _sample(product: str, channel: str, settings: Settings) -> Delivery:
    import uuid

    from dp_dagster.alerts.kept import Delivery, now_utc

    name = uuid.uuid4().hex[:16]
    return Delivery(
        id=name,
        owner=product,
        channel=channel,
        product=product,
        created_at=now_utc(),
        state="pending",
        attempts=1,
        next_at=now_utc(),
        error="",
        title=f"[test] {product}: messages arrive",
        body=f"This is a test of the channel **{channel}** of {product} ({settings.environment}). Nothing is wrong.\n\n"
        f"Message {name}\n",
        severity="test",
    )


def _state(alert: Alert) -> str:
    if alert.state == "recovered" and alert.recovered_at is not None:
        return f"recovered {alert.recovered_at:%m-%d %H:%M}"
    if alert.state == "acknowledged":
        return f"acknowledged by {alert.acknowledged_by}"
    return alert.state if alert.told_at is not None else "open, nobody told"


def _plain(alert: Alert) -> dict[str, Any]:
    from dataclasses import asdict

    told = asdict(alert)
    return {"id": told.pop("id"), "state": alert.state, **told}


def _waiting(one: Delivery) -> dict[str, Any]:
    return {
        "message": one.id,
        "product": one.product,
        "owner": one.owner,
        "channel": one.channel,
        "title": one.title,
        "attempts": one.attempts,
        "state": one.state,
        "next_at": one.next_at,
        "error": one.error,
    }
