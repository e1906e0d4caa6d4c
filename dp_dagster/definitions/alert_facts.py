"""What Dagster knows of a product that may have to be told: freshness, runs, and signs of life.

Some of what is asked here is public on ``DagsterInstance`` but stands in no documentation
(``get_freshness_state_records``, the latest executions of checks, batches of ticks, heartbeats): this is the only
module that asks for it, and a test holds each. ``get_event_records`` of check evaluations with a cursor is not used:
on SQLite it loses events.

Each function asks a fixed number of questions, whatever the history.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dp_dagster.alerts.links import consumers_see, links
from dp_dagster.alerts.model import PLATFORM, Observation
from dp_dagster.alerts.watch import Seen
from dp_dagster.definitions import keys
from dp_dagster.definitions.alert_runs import ended_runs, stuck_runs, utc
from dp_dagster.definitions.freshness import freshness_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dagster import DagsterInstance

    from dp_dagster.descriptor.alerting import Condition
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.settings import Settings

COVERED = frozenset({"stuck_run"})
"""Families of which :func:`seen_by_dagster` sees everything that is wrong."""
_SLA_STATES: Mapping[str, Condition] = {"WARN": "sla_warning", "FAIL": "sla_breach"}


def seen_by_dagster(
    instance: DagsterInstance,
    product: ResolvedProduct,
    location: str,
    cursor: Mapping[str, object],
    now: datetime,
) -> Seen:
    """Everything that Dagster knows of a product.

    Args:
        instance: Dagster's.
        product: The product.
        location: Its code location.
        cursor: Where the last look ended.
        now: The time.
    """
    sla, unknown = _freshness(instance, product)
    ended, after = ended_runs(instance, product, location, cursor, now)
    return Seen(
        observations=[*sla, *ended, *stuck_runs(instance, product, location, now)],
        covered=COVERED,
        unknown=unknown,
        cursor=after,
    )


# -- how fresh ---------------------------------------------------------------------------------------------


def _freshness(
    instance: DagsterInstance, product: ResolvedProduct
) -> tuple[list[Observation], set[tuple[str, str, str]]]:
    ports = {
        keys.port_key(product.id, port.major, port.name): f"v{port.major}/port/{port.name}"
        for port in product.active_ports
        if freshness_policy(port) is not None
    }
    if not ports:
        return [], set()
    found = []
    records = instance.get_freshness_state_records(list(ports))
    # Without a record, Dagster has not judged the port yet; that is no recovery.
    unknown = {
        (product.id, f"{subject}/freshness", "sla") for key, subject in ports.items() if key not in records
    }
    for key, record in records.items():
        subject = ports[key]
        state = record.freshness_state.value
        if state in _SLA_STATES:
            what = "is late" if state == "FAIL" else "will soon be late"
            found.append(
                _sla(
                    product,
                    subject,
                    "freshness",
                    state,
                    utc(record.updated_at),
                    f"Data {what}: {_rate(product, subject)}.",
                )
            )
        elif state != "PASS":
            unknown.add((product.id, f"{subject}/freshness", "sla"))
    return found, unknown


def _rate(product: ResolvedProduct, subject: str) -> str:
    for port in product.active_ports:
        if f"v{port.major}/port/{port.name}" == subject and port.refresh is not None:
            return f"due {port.refresh}, at most {port.refresh.maximum_lag} late"
    return "it has no rate any more"


def _sla(  # noqa: PLR0917 what an observation of an objective is made of
    product: ResolvedProduct, subject: str, objective: str, state: str, at: datetime, reason: str
) -> Observation:
    return Observation(
        product.id,
        f"{subject}/{objective}",
        _SLA_STATES[state],
        bad=True,
        at=at,
        reason=reason,
        facts={
            **links(product.settings, product.id, subject),
            "consumers see": consumers_see(product.settings, product.id, subject),
        },
    )


# -- signs of life ---------------------------------------------------------------------------------------


def silent_daemons(instance: DagsterInstance, settings: Settings, now: datetime) -> list[Observation]:
    """Parts of the daemon that gave no sign of life for too long."""
    heartbeats = instance.get_daemon_heartbeats()
    limit = timedelta(seconds=settings.silent_after)
    found = []
    for name in instance.get_required_daemon_types():
        heartbeat = heartbeats.get(name)
        if heartbeat is None:
            continue  # Not started yet; that the sensor runs shows that others are.
        last = datetime.fromtimestamp(heartbeat.timestamp, UTC)
        if abs(now - last) > limit:
            found.append(
                Observation(
                    PLATFORM,
                    f"daemon/{name.lower()}",
                    "silent",
                    bad=True,
                    at=last,
                    reason=f"Dagster's {name.lower()} daemon gave no sign of life since {last:%Y-%m-%d %H:%M:%S} UTC.",
                    facts={"daemons": f"{settings.ui_url.rstrip('/')}/health"},
                )
            )
    return found


def silent_sensors(
    instance: DagsterInstance, settings: Settings, names: Iterable[str], now: datetime
) -> list[Observation]:
    """Sensors that should run and whose last tick is too old, or failed.

    Args:
        instance: Dagster's.
        settings: Of the platform.
        names: Names of sensors that there are; Dagster keeps states of those that are gone.
        now: The time.
    """
    wanted = set(names)
    states = [
        state
        for state in instance.all_instigator_state()
        if state.instigator_name in wanted and state.status.value != "STOPPED"
    ]
    if not states:
        return []
    ticks = instance.get_batch_ticks([state.selector_id for state in states], limit=1)
    limit = timedelta(seconds=settings.silent_after)
    found = []
    for state in states:
        (tick,) = ticks.get(state.selector_id, ())[:1] or (None,)
        if tick is None:
            continue
        at = datetime.fromtimestamp(tick.timestamp, UTC)
        if tick.status.value == "FAILURE":
            reason = f"The sensor {state.instigator_name} fails; its page says why."
        elif abs(now - at) > limit:
            reason = (
                f"The sensor {state.instigator_name} gave no sign of life since {at:%Y-%m-%d %H:%M:%S} UTC."
            )
        else:
            continue
        page = f"/locations/{state.repository_selector.location_name if state.repository_selector else ''}/sensors/"
        found.append(
            Observation(
                PLATFORM,
                f"sensor/{state.instigator_name}",
                "silent",
                bad=True,
                at=at,
                reason=reason,
                facts={"sensor": f"{settings.ui_url.rstrip('/')}{page}{state.instigator_name}"},
            )
        )
    return found
