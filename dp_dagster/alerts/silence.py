"""The dead man's switch: notices from outside of Dagster that Dagster itself is silent.

Sensors cannot tell that nobody evaluates sensors. Each look at a product or at the platform leaves a sign of life in
the store; whoever reads the store, from cron for example, sees when the last one was.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from dp_dagster.alerts.delivery import deliver
from dp_dagster.alerts.kept import Round, Watcher, now_utc
from dp_dagster.alerts.model import PLATFORM, Observation
from dp_dagster.alerts.routing import Routes
from dp_dagster.alerts.watch import Looked, telling_for
from dp_dagster.resolve.alerting import platform_alerts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from dp_dagster.alerts.store import AlertStore
    from dp_dagster.settings import Settings

OUTSIDE = "outside"
"""The watcher that is no sensor."""


def silence(settings: Settings, watchers: Mapping[str, Watcher], now: datetime) -> list[Observation]:
    """Who gave no sign of life for too long: the platform's sensor, or, where there is none, the products'.

    The platform's own sensor notices silent products, so that only its silence matters here.
    """
    limit = timedelta(seconds=settings.silent_after)
    others = {name: one for name, one in watchers.items() if name != OUTSIDE}
    looked_at = {PLATFORM: others[PLATFORM]} if PLATFORM in others else others
    found = [
        _observation(
            f"daemon/{name}", one.seen_at, f"Nothing was looked at since {one.seen_at:%Y-%m-%d %H:%M:%S} UTC"
        )
        for name, one in looked_at.items()
        # A sign of life from the time to come is none: the clock was ahead when it was given.
        if one.seen_at is not None and abs(now - one.seen_at) > limit
    ]
    if not looked_at:
        found.append(_observation("daemon/platform", now, "Nothing was ever looked at"))
    return found


def look_from_outside(
    settings: Settings, store: AlertStore, now: Callable[[], datetime] = now_utc
) -> tuple[list[Observation], Looked]:
    """Evaluate once whether Dagster is silent, and send what is due by whatever channel can be reached from here."""
    moment = now()
    watchers = store.watchers()
    observations = silence(settings, watchers, moment)
    alerts = platform_alerts(settings)
    outcome = store.commit(
        Round(
            watchers.get(OUTSIDE) or Watcher(OUTSIDE),
            moment,
            observations,
            covered={"silent"},
            unknown=(),
            cursor={},
            routes=Routes(),
        ),
        lambda _: telling_for(PLATFORM, alerts, settings, store),
    )
    routes = {name: one.routes for name, one in watchers.items()} | {PLATFORM: Routes.of(alerts)}
    return observations, Looked(outcome, deliver(store, routes, pause=settings.alert_retry, now=now))


def _observation(subject: str, at: datetime, what: str) -> Observation:
    return Observation(
        PLATFORM,
        subject,
        "silent",
        bad=True,
        at=at,
        reason=f"{what}: Dagster's daemon or its code locations do not run, and whatever else is wrong is not told.",
        facts={"start it": "dp dev, or the services of your deployment"},
    )
