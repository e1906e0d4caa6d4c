"""What starts a product by itself: a schedule for calendar rates, a sensor for what reacts to change."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.definitions import keys
from dp_dagster.definitions.deliveries import delivery_sensor_name
from dp_dagster.definitions.lag import LAG_CHECK, judge_lag, lag_check_spec
from dp_dagster.definitions.orphans import reconcile
from dp_dagster.definitions.partitions import run_for_changed
from dp_dagster.errors import InputError, OperatorError
from dp_dagster.pipeline.deliveries import sending_ports
from dp_dagster.pipeline.lag import current_fingerprint, inputs_on_show

if TYPE_CHECKING:
    from dp_dagster.descriptor.refresh import RefreshRate
    from dp_dagster.resolve import ResolvedOutput, ResolvedProduct

WATCH_SECONDS = 10


def refresh_job(product: ResolvedProduct) -> dg.UnresolvedAssetJobDefinition:
    """The job that refreshes a whole product."""
    return dg.define_asset_job(
        f"{product.id}_refresh",
        selection=dg.AssetSelection.groups(product.id),
        description=f"Land, transform, prove and publish all of {product.descriptor.title}",
        tags={"dp/product": product.id},
    )


def rates(product: ResolvedProduct) -> list[RefreshRate]:
    """The distinct refresh rates that the product's ports declare, in order."""
    found = [port.refresh for port in product.active_ports if port.refresh is not None]
    return list(dict.fromkeys(found))


def schedules(
    product: ResolvedProduct, job: dg.UnresolvedAssetJobDefinition
) -> Sequence[dg.ScheduleDefinition]:
    """One schedule for each distinct cron expression and time zone; how late is too late makes no difference."""
    with_cron: dict[tuple[str, str], RefreshRate] = {}
    for rate in rates(product):
        if rate.cron is not None:
            with_cron.setdefault((rate.cron, rate.timezone), rate)
    result = []
    for number, rate in enumerate(with_cron.values()):
        suffix = f"_{number + 1}" if len(with_cron) > 1 else ""
        result.append(_schedule(product, job, f"{product.id}_schedule{suffix}", rate))
    return result


def _schedule(
    product: ResolvedProduct, job: dg.UnresolvedAssetJobDefinition, name: str, rate: RefreshRate
) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=rate.cron or "",
        execution_timezone=rate.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Refreshes {product.descriptor.title}: {rate}",
    )
    def on_tick(_: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        newest, tags = run_for_changed(product)
        return dg.RunRequest(partition_key=newest, tags={"dp/product": product.id, **tags})

    return on_tick


def sensors(product: ResolvedProduct, job: dg.UnresolvedAssetJobDefinition) -> Sequence[dg.SensorDefinition]:
    """A sensor that reacts to change, where a port is ``real-time``; one that counts, for other intervals."""
    result = []
    declared = rates(product)
    if any(rate.kind == "real_time" for rate in declared):
        result.append(_change_sensor(product, job))
    intervals = [rate for rate in declared if rate.kind == "interval" and rate.cron is None]
    if intervals:
        seconds = min(rate.interval.total_seconds() for rate in intervals if rate.interval is not None)
        result.append(_interval_sensor(product, job, seconds))
    return result


def sensor_names(product: ResolvedProduct) -> tuple[str, ...]:
    """Names of the sensors that start the product, or measure what it promises."""
    declared = rates(product)
    names = []
    if any(rate.kind == "real_time" for rate in declared):
        names.append(f"{product.id}_on_change")
    if any(rate.kind == "interval" and rate.cron is None for rate in declared):
        names.append(f"{product.id}_interval")
    if any(port.objectives for port in product.active_ports):
        names.append(f"{product.id}_sla")
    if sending_ports(product):
        names.append(delivery_sensor_name(product))
    return tuple(names)


def _interval_sensor(
    product: ResolvedProduct, job: dg.UnresolvedAssetJobDefinition, seconds: float
) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{product.id}_interval",
        target=job,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=min(30, int(seconds)),
        description=f"Refreshes {product.descriptor.title} every {seconds:.0f} seconds",
    )
    def on_interval(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        number = int(time.time() // seconds)
        if context.cursor == str(number):
            due = datetime.fromtimestamp((number + 1) * seconds, UTC)
            return dg.SkipReason(f"due again at {due.isoformat()}")
        newest, tags = run_for_changed(product)
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=f"{product.id}@{number}", partition_key=newest, tags=tags)],
            cursor=str(number),
        )

    return on_interval


def _change_sensor(product: ResolvedProduct, job: dg.UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """Asks each input port for its fingerprint: new files and new versions of other products alike.

    The truth about other products is their manifest at the storage root, so it does not matter in which code
    location, checkout or Dagster they run. The port's lag is judged at the same time, and reported when its
    state changes.
    """
    watched = [(port, key) for port in product.ports if (key := _lag_key(product, port)) is not None]

    @dg.sensor(
        name=f"{product.id}_on_change",
        target=job,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=WATCH_SECONDS,
        description=f"Refreshes {product.descriptor.title} when an input port has something new",
    )
    def on_change(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        reconcile(context.instance, product.settings.state_directory)
        state: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
        found: dict[str, str] = {}
        waiting = []
        for declared in product.inputs:
            try:
                found[declared.name] = current_fingerprint(product, declared)
            except (InputError, OperatorError) as error:
                waiting.append(str(error))
        # A port that never showed anything has no lag yet.
        shown = [one for one in watched if context.instance.get_latest_materialization_event(one[1])]
        events, levels = _lag_events(product, shown, state.get("lag", {}))
        if waiting:
            return dg.SensorResult(
                skip_reason="; ".join(waiting),
                asset_events=events,
                cursor=json.dumps({**state, "lag": levels}),
            )
        # A partition that has become due is new, too, though nothing has changed at the source.
        due = (product.calendar.newest_due(datetime.now(UTC)) or "") if product.calendar else ""
        is_due = state.get("due", due) != due
        state["due"] = due
        if found == state.get("inputs") and not is_due:
            return dg.SensorResult(
                skip_reason="nothing new at any input port",
                asset_events=events,
                cursor=json.dumps({**state, "lag": levels}),
            )
        if found == inputs_on_show(product) and not is_due:
            # Somebody ran the product by hand: its ports show all that there is.
            return dg.SensorResult(
                skip_reason="the ports show the newest of every input port",
                asset_events=events,
                cursor=json.dumps({**state, "inputs": found, "lag": levels}),
            )
        newest, tags = run_for_changed(product)
        number = int(state.get("number", 0)) + 1
        digest = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]
        before = state.get("inputs") or {}
        changed = sorted(name for name, value in found.items() if before.get(name) != value)
        return dg.SensorResult(
            # Numbered, since Dagster takes a key only once and an input may return to an earlier state.
            run_requests=[
                dg.RunRequest(
                    run_key=f"{product.id}@{number}-{digest}",
                    partition_key=newest,
                    tags={"dp/changed": ".".join(changed)[:63], **tags},
                )
            ],
            asset_events=events,
            cursor=json.dumps({**state, "inputs": found, "number": number, "lag": levels}),
        )

    return on_change


def _lag_key(product: ResolvedProduct, port: ResolvedOutput) -> dg.AssetKey | None:
    key = keys.port_key(product.id, port.major, port.name)
    return key if lag_check_spec(product, port, key) is not None else None


def _lag_events(
    product: ResolvedProduct, watched: list[tuple[ResolvedOutput, dg.AssetKey]], before: dict[str, str]
) -> tuple[list[dg.AssetCheckEvaluation], dict[str, str]]:
    events, levels = [], {}
    for port, key in watched:
        verdict = judge_lag(product, port)
        levels[port.label] = verdict.level
        if before.get(port.label, "passed") != verdict.level:
            events.append(
                dg.AssetCheckEvaluation(
                    asset_key=key,
                    check_name=LAG_CHECK,
                    passed=verdict.passed,
                    severity=verdict.severity,
                    description=verdict.reason,
                    metadata=verdict.metadata,
                )
            )
    return events, levels
