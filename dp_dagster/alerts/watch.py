"""One look at a product: read what is new, commit what follows, send what is due."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from dp_dagster.alerts.conditions import (
    RECORDS,
    from_channels,
    from_objectives,
    from_records,
    of_what_is_gone,
)
from dp_dagster.alerts.delivery import deliver
from dp_dagster.alerts.kept import Round, Watcher, now_utc
from dp_dagster.alerts.model import PLATFORM, Observation
from dp_dagster.alerts.ports import ports_down
from dp_dagster.alerts.refusals import ended
from dp_dagster.alerts.routing import Routes, telling_of
from dp_dagster.sla.store import Readings
from dp_dagster.storage.manifest import consumers, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from dp_dagster.alerts.kept import Delivery, Outcome
    from dp_dagster.alerts.machine import Telling
    from dp_dagster.alerts.model import Key
    from dp_dagster.alerts.store import AlertStore
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.resolve.alerting import ResolvedAlerts
    from dp_dagster.settings import Settings

_MOST_RECORDS = 500
# Of the time after which a watcher counts as silent: a look at which nothing follows is written down as seldom as this.
_ALIVE_FOR = 0.25
# Looks that were written down between two in which alerts that were over long ago are removed.
_FORGETS_EVERY = 100


@dataclass(frozen=True)
class Seen:
    """What somebody else saw of a product, Dagster for one.

    Attributes:
        observations: In order of time.
        covered: Families of which everything that is wrong is among them.
        unknown: Keys of which nothing is known.
        cursor: Where to go on next time, by name.
    """

    observations: Sequence[Observation] = ()
    covered: Collection[str] = ()
    unknown: Collection[Key] = ()
    cursor: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Looked:
    """What a look came to."""

    outcome: Outcome
    tried: Sequence[tuple[Delivery, str]]
    unreachable: Mapping[str, str] = field(default_factory=dict)
    """Channels that nothing can be sent by from here, and why."""

    def __str__(self) -> str:
        missing = ", ".join(f"{name} ({why})" for name, why in self.unreachable.items())
        return f"{self._came_to()}; cannot reach {missing}" if missing else self._came_to()

    def _came_to(self) -> str:
        if not self.outcome.committed:
            return "another evaluation was quicker"
        sent = sum(not error for _, error in self.tried)
        failed = len(self.tried) - sent
        parts = [
            f"{len(self.outcome.opened)} opened" if self.outcome.opened else "",
            f"{len(self.outcome.recovered)} recovered" if self.outcome.recovered else "",
            f"{sent} sent" if sent else "",
            f"{failed} not delivered: {next(error for _, error in self.tried if error)}" if failed else "",
        ]
        return ", ".join(part for part in parts if part) or "nothing new"


def look_at(
    product: ResolvedProduct,
    store: AlertStore,
    see: Callable[[Watcher, datetime], Seen],
    now: Callable[[], datetime] = now_utc,
) -> Looked:
    """Evaluate a product's conditions once, and send what is due on its channels.

    Args:
        product: The product.
        store: Of the alerts.
        see: What else is known of it, from where the last look ended.
        now: The time.
    """
    moment = now()
    settings = product.settings
    readings = _readings(settings.resolved_records_url, settings.lock_timeout)
    glance = store.glance(product.id, RECORDS, _MOST_RECORDS, moment, readings)
    watcher, happened = glance.watcher, glance.happened
    seen = see(watcher, moment)
    objectives, unknown_objectives, measured = from_objectives(product, glance.states)
    down, unknown_ports, probed = ports_down(product, watcher.cursor.get("ports", {}), moment)
    observations = [
        *from_records(product, happened, glance.elsewhere),
        *objectives,
        *down,
        # What was measured here, nobody else need judge.
        *(one for one in seen.observations if one.key not in measured),
        *from_channels(product.id, glance.failing, moment),
        *ended(product, glance.open, moment),
        *of_what_is_gone(product, glance.open, moment),
    ]
    own = Routes.of(product.alerts)
    outcome = store.commit(
        Round(
            watcher,
            moment,
            sorted(observations, key=lambda one: one.at),
            covered={*seen.covered, "channel_failed", "sla", "port_down"},
            unknown={*(set(seen.unknown) | unknown_objectives) - measured, *unknown_ports},
            cursor={
                **watcher.cursor,
                **seen.cursor,
                "ports": probed,
                "record": happened[-1].id if happened else watcher.cursor.get("record") or 0,
            },
            routes=own,
        ),
        lambda _: telling_for(product.id, product.alerts, settings, store),
        known=glance.open,
        alive_for=timedelta(seconds=settings.silent_after * _ALIVE_FOR),
    )
    if outcome.committed and not outcome.quiet and watcher.round % _FORGETS_EVERY == 0:
        store.forget(product.id, moment - timedelta(seconds=settings.alert_retention))
    if outcome.quiet and not glance.is_due:
        return Looked(outcome, (), own.unreachable())
    tried = deliver(store, {product.id: own}, pause=settings.alert_retry, now=now)
    return Looked(outcome, tried, own.unreachable())


@lru_cache(maxsize=8)
def _readings(url: str, lock_timeout: float) -> Readings:
    return Readings(url, lock_timeout=lock_timeout)


def telling_for(product: str, alerts: ResolvedAlerts, settings: Settings, store: AlertStore) -> Telling:
    """When and where a product's alerts are told; who reads its ports is looked up when it matters."""
    registered = _Registered(store)
    if product == PLATFORM:
        return telling_of(product, alerts, registered)
    readers = [
        (one.consumer, f"v{one.major}/port/{one.port}")
        for one in consumers(settings.storage, product)
        if one.consumer != product
    ]
    manifest = read_manifest(settings.storage, product) if readers or alerts.reads else None
    areas = {
        f"{major}/port/{name}": entry.area
        for major, ports in (manifest.ports if manifest is not None else {}).items()
        for name, entry in ports.items()
    }
    return telling_of(product, alerts, registered, readers, areas)


class _Registered(dict[str, Routes]):
    """Routes of others, read when they are asked for: nearly always nobody does."""

    def __init__(self, store: AlertStore) -> None:
        super().__init__()
        self._read = cache(lambda name: store.watchers([name]).get(name))

    def get(self, name: str, default: Any = None) -> Any:
        watcher = self._read(name)
        return watcher.routes if watcher is not None else default
