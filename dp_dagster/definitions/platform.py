"""The location ``platform``: what belongs to no product.

Its sensor notices products whose locations cannot load, changes of contracts that are blocked, sensors and daemons
that are silent; and it sends what a product's own sensor could not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.alerts.conditions import from_channels
from dp_dagster.alerts.delivery import deliver
from dp_dagster.alerts.kept import Round, Watcher, now_utc
from dp_dagster.alerts.links import consumers_see
from dp_dagster.alerts.model import PLATFORM, Observation
from dp_dagster.alerts.refusals import REFUSALS, Refused, refused_now, shortened, what_to_do
from dp_dagster.alerts.routing import Routes
from dp_dagster.alerts.store import AlertStore
from dp_dagster.alerts.watch import Looked, telling_for
from dp_dagster.definitions.alert_facts import silent_daemons, silent_sensors
from dp_dagster.definitions.alerting import alerts_sensor_name
from dp_dagster.definitions.automation import sensor_names
from dp_dagster.descriptor.loading import read_draft
from dp_dagster.descriptor.names import id_fault
from dp_dagster.errors import DataProductError, DescriptorError
from dp_dagster.records import Records
from dp_dagster.resolve import find_descriptors, resolve
from dp_dagster.resolve.alerting import ResolvedAlerts, alerts_of, platform_alerts
from dp_dagster.resolve.project import product_id_at
from dp_dagster.storage.location import product_place
from dp_dagster.storage.places import stamp

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    from dagster import DagsterInstance

    from dp_dagster.alerts.machine import Telling
    from dp_dagster.descriptor.alerting import Condition
    from dp_dagster.records import Kind
    from dp_dagster.settings import Settings

_COVERED = frozenset({"silent", "location_failed", "channel_failed", *REFUSALS})
_REFUSED = {"breaking_change": "contract", "refused": "policies"}
_WATCHED_SUFFIXES = {".yaml", ".yml", ".json", ".py", ".sql", ".toml"}


def platform_definitions(settings: Settings) -> dg.Definitions:
    """The platform's sensor."""
    return dg.Definitions(sensors=[platform_sensor(settings)])


def platform_sensor(settings: Settings) -> dg.SensorDefinition:
    """Looks at what belongs to no product."""
    products = ProductStates(settings)

    @dg.sensor(
        name=alerts_sensor_name(PLATFORM),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=max(1, int(settings.alert_interval)),
        description="Notices products that do not load, contracts that would break consumers, and sensors and "
        "daemons without a sign of life; sends what others could not",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        looked = look_at_platform(settings, AlertStore.of(settings), context.instance, products)
        for delivery, error in looked.tried:
            if error:
                context.log.warning("channel %s of %s: %s", delivery.channel, delivery.owner, error)
        return dg.SkipReason(str(looked))

    return alerts


@dataclass(frozen=True)
class ProductState:
    """Whether a product can load.

    Attributes:
        id: Its id; the platform's where that cannot be read.
        alerts: Who is told what of it; what could be read of that.
        folder: The name of its folder.
        problem: Why its location cannot load; empty when it can.
        refused: What would refuse it, by the condition that tells it.
        sensors: Names of its sensors.
    """

    id: str
    alerts: ResolvedAlerts
    folder: str = ""
    problem: str = ""
    refused: Mapping[Condition, Refused] = field(default_factory=dict)
    sensors: tuple[str, ...] = ()


class ProductStates:
    """The products of the project. Each is resolved again only when its files, or what it published, changed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: dict[Path, tuple[object, ProductState]] = {}

    def current(self) -> list[ProductState]:
        """All products, as they are now."""
        found = {}
        allowed = self._exemptions()
        for path in find_descriptors(self._settings):
            signature = (self._signature(path), allowed)
            known = self._known.get(path)
            if known is None or known[0] != signature:
                known = (signature, self._look(path))
            found[path] = known
        self._known = found
        return [state for _, state in found.values()]

    def _exemptions(self) -> object:
        """What changes with what policies allow: exemptions are granted and withdrawn, and end with a day."""
        records = Records(self._settings.resolved_records_url, lock_timeout=self._settings.lock_timeout)
        kinds: tuple[Kind, ...] = ("exemption_granted", "exemption_withdrawn")
        newest = [one.id for kind in kinds for one in records.query(kind=kind, limit=1)]
        return (now_utc().date(), newest)

    def _signature(self, path: Path) -> object:
        root = path if path.is_dir() else path.parent
        files = []
        for folder, folders, names in _walk(root):
            # What data lies in a product's folder makes no difference to whether it loads.
            folders[:] = [name for name in folders if not name.startswith((".", "__"))]
            for name in names:
                if any(name.endswith(suffix) for suffix in _WATCHED_SUFFIXES):
                    state = (folder / name).stat()
                    files.append((str(folder / name), state.st_mtime_ns, state.st_size))
        return (sorted(files), _manifest(self._settings, product_id_at(path)))

    def _look(self, path: Path) -> ProductState:
        folder = path.name if path.is_dir() else path.parent.name
        name = product_id_at(path)
        # What has no id that could be one is told as the platform's.
        name = name if name and id_fault(name, product=True) is None else PLATFORM
        try:
            product = resolve(path, self._settings)
        except (DataProductError, SystemExit) as error:
            return ProductState(name, self._what_can_be_read(path), folder, problem=shortened(str(error)))
        except Exception as error:  # noqa: BLE001 - whatever a product's code raises is its own fault
            return ProductState(name, self._what_can_be_read(path), folder, problem=type(error).__name__)
        problem, refused = "", {}
        try:
            refused = refused_now(product)
        except DataProductError as error:
            problem = shortened(str(error))
        sensors = sensor_names(product)
        return ProductState(product.id, product.alerts, folder, problem, refused, sensors)

    def _what_can_be_read(self, path: Path) -> ResolvedAlerts:
        try:
            return alerts_of(read_draft(path).head, self._settings)
        except DescriptorError:
            return alerts_of(None, self._settings)


def look_at_platform(
    settings: Settings, store: AlertStore, instance: DagsterInstance, products: ProductStates
) -> Looked:
    """Evaluate what belongs to no product, and send what is due to whom it can be sent from here."""
    now = now_utc()
    watchers = store.watchers()
    watcher = watchers.get(PLATFORM) or Watcher(PLATFORM)
    states = products.current()
    first = _first_seen(watcher, states, now)
    observations = [
        *_products(settings, states, _told_by_products(store)),
        *_unwatched(settings, states, watchers, first, now),
        *silent_daemons(instance, settings, now),
        *silent_sensors(instance, settings, [name for state in states for name in state.sensors], now),
        *from_channels(PLATFORM, store.failing_channels(PLATFORM), now),
    ]
    own = platform_alerts(settings)
    alerts = {**{state.id: state.alerts for state in states}, PLATFORM: own}

    def telling(product: str) -> Telling:
        known = alerts.get(product, own)
        # What cannot be told on a product's channels is told on the platform's.
        return telling_for(product, known, settings, store)

    outcome = store.commit(
        Round(
            watcher,
            now,
            sorted(observations, key=lambda one: one.at),
            covered=_COVERED,
            unknown={(state.id, _sensor(state.id), "silent") for state in states if state.problem},
            cursor={"first": {name: moment.isoformat() for name, moment in first.items()}},
            routes=Routes.of(own),
        ),
        telling,
    )
    routes = {name: one.routes for name, one in watchers.items()}
    routes |= {name: Routes.of(one) for name, one in alerts.items()}
    tried = deliver(store, routes, pause=settings.alert_retry)
    return Looked(outcome, tried, Routes.of(own).unreachable())


def _told_by_products(store: AlertStore) -> set[tuple[str, Condition]]:
    """Products whose own sensor has told already that a run was refused, and what for: once is enough."""
    alerts = [one for one in store.alerts(open_only=True) if one.condition in REFUSALS]
    own = {(one.product, one.condition) for one in alerts if one.watcher == PLATFORM}
    return {(one.product, one.condition) for one in alerts} - own


def _products(
    settings: Settings, states: list[ProductState], told: set[tuple[str, Condition]]
) -> Iterator[Observation]:
    now = now_utc()
    for state in states:
        is_known = state.id != PLATFORM
        facts = {"consumers see": consumers_see(settings, state.id)} if is_known else {}
        page = {"location": f"{settings.ui_url.rstrip('/')}/deployment/locations"}
        if state.problem:
            yield Observation(
                state.id,
                f"location/{state.folder}",
                "location_failed",
                bad=True,
                at=now,
                reason=state.problem,
                facts={**page, **facts},
            )
        for condition, refused in state.refused.items():
            if (state.id, condition) in told:
                continue
            yield Observation(
                state.id,
                _REFUSED[condition],
                condition,
                bad=True,
                at=now,
                reason=refused.reason,
                facts={**what_to_do(state.id, condition, refused), **facts},
            )


def _first_seen(watcher: Watcher, states: list[ProductState], now: datetime) -> dict[str, datetime]:
    """Since when there has been each product: a new one gets time for its first sign of life."""
    known: Mapping[str, Any] = watcher.cursor.get("first", {})
    return {
        state.id: datetime.fromisoformat(known[state.id]) if state.id in known else now for state in states
    }


def _unwatched(
    settings: Settings,
    states: list[ProductState],
    watchers: Mapping[str, Watcher],
    first: Mapping[str, datetime],
    now: datetime,
) -> Iterator[Observation]:
    for state in states:
        if state.id == PLATFORM or state.problem:
            continue  # That it does not load is told already.
        watcher = watchers.get(state.id)
        last = watcher.seen_at if watcher is not None and watcher.seen_at is not None else None
        since = last or first[state.id]
        if abs(now - since) > timedelta(seconds=settings.silent_after):
            when = f"since {last:%Y-%m-%d %H:%M:%S} UTC" if last is not None else "ever"
            yield Observation(
                state.id,
                _sensor(state.id),
                "silent",
                bad=True,
                at=since,
                reason=f"Nobody has looked at {state.id} {when}: its location or its sensor does not run, "
                "so nothing else that is wrong with it would be told.",
                facts={"consumers see": consumers_see(settings, state.id)},
            )


def _sensor(product: str) -> str:
    return f"sensor/{alerts_sensor_name(product)}"


def _manifest(settings: Settings, product: str) -> Hashable | None:
    """What changes with the product's manifest; ``None`` where there is none, or none that could be."""
    if not product or id_fault(product, product=True) is not None:
        return None
    return stamp(product_place(settings.storage, product) / "manifest.json")


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """What ``Path.walk`` of Python 3.12 does."""
    for folder, folders, names in os.walk(root):
        yield Path(folder), folders, names
