"""What Dagster knows of a product that may have to be told: freshness, checks, runs, and signs of life.

Some of what is asked here is public on ``DagsterInstance`` but stands in no documentation
(``get_freshness_state_records``, the latest executions of checks, batches of ticks, heartbeats): this is the only
module that asks for it, and a test holds each. ``get_event_records`` of check evaluations with a cursor is not used:
on SQLite it loses events.

Each function asks a fixed number of questions, whatever the history.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from dp_dagster.alerts.conditions import consumers_see, links
from dp_dagster.alerts.model import PLATFORM, Observation
from dp_dagster.alerts.watch import Seen
from dp_dagster.definitions import keys
from dp_dagster.definitions.freshness import freshness_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dagster import DagsterInstance

    from dp_dagster.descriptor.alerting import Condition
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.settings import Settings

COVERED = frozenset({"stuck_run"})
"""Families of which :func:`seen_by_dagster` sees everything that is wrong."""
_MOST_RUNS = 50
_REPOSITORY = ".dagster/repository"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
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
    ended, until = _ended_runs(instance, product, location, cursor.get("run"))
    return Seen(
        observations=[*sla, *ended, *_stuck_runs(instance, product, location, now)],
        covered=COVERED,
        unknown=unknown,
        cursor={"run": until},
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
                    _utc(record.updated_at),
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


# -- runs ----------------------------------------------------------------------------------------------


def _of_product(product: ResolvedProduct, run: dg.DagsterRun) -> bool:
    if run.job_name == f"{product.id}_refresh":
        return True
    return any(key.path[0] == product.id for key in run.asset_selection or ())


def _tags(product: ResolvedProduct, location: str) -> dict[str, str | list[str]]:
    """Runs of the location, and those that ``dp run`` made."""
    names = dict.fromkeys((f"__repository__@{location}", f"__repository__@{product.id}"))
    return {_REPOSITORY: list(names)}


def _ended_runs(
    instance: DagsterInstance, product: ResolvedProduct, location: str, after: object
) -> tuple[list[Observation], str]:
    """Runs that ended since the last look, in order; at the first look the newest one."""
    last = datetime.fromisoformat(after) if isinstance(after, str) else None
    records = instance.get_run_records(
        dg.RunsFilter(statuses=_FINISHED, tags=_tags(product, location), updated_after=last),
        limit=_MOST_RUNS,
        order_by="update_timestamp",
        ascending=last is not None,
    )
    mine = [record for record in records if _of_product(product, record.dagster_run)]
    if last is None:
        mine = mine[:1]
    found = [_ended(instance, product, record.dagster_run, _utc(record.update_timestamp)) for record in mine]
    newest = max((_utc(record.update_timestamp) for record in records), default=last or datetime.now(UTC))
    return found, newest.isoformat()


def _ended(
    instance: DagsterInstance, product: ResolvedProduct, run: dg.DagsterRun, at: datetime
) -> Observation:
    facts = {
        name: value for name, value in links(product.settings, product.id, "", run.run_id).items() if value
    }
    if run.status == dg.DagsterRunStatus.SUCCESS:
        return Observation(
            product.id,
            "run",
            "failed_run",
            bad=False,
            at=at,
            reason="A run succeeded.",
            facts=facts,
            is_event=True,
        )
    steps = instance.get_records_for_run(
        run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=5
    ).records
    names = [record.event_log_entry.step_key or "" for record in steps]
    # Not what the steps said: it may hold values of rows.
    where = f"Failed at {', '.join(name.replace('__', '/') for name in names)}." if names else "Failed."
    facts["consumers see"] = consumers_see(product.settings, product.id)
    return Observation(
        product.id, "run", "failed_run", bad=True, at=at, reason=where, facts=facts, is_event=True
    )


def _stuck_runs(
    instance: DagsterInstance, product: ResolvedProduct, location: str, now: datetime
) -> list[Observation]:
    records = instance.get_run_records(
        dg.RunsFilter(
            statuses=_UNFINISHED,
            tags=_tags(product, location),
            created_before=now - product.alerts.stuck_after,
        ),
        limit=_MOST_RUNS,
    )
    return [
        Observation(
            product.id,
            f"run/{record.dagster_run.run_id[:8]}",
            "stuck_run",
            bad=True,
            at=_utc(record.create_timestamp) + product.alerts.stuck_after,
            reason=f"{record.dagster_run.status.value.capitalize()} for more than {product.alerts.stuck_after}.",
            facts={
                **links(product.settings, product.id, "", record.dagster_run.run_id),
                "consumers see": consumers_see(product.settings, product.id),
            },
        )
        for record in records
        if _of_product(product, record.dagster_run)
    ]


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
        if now - last > limit:
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
        elif now - at > limit:
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


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
