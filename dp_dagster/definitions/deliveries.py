"""The sensor that has ports send what they could not send before."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.definitions import keys
from dp_dagster.pipeline.deliveries import deliveries, sending_ports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_dagster.resolve import ResolvedProduct

WATCH_SECONDS = 30
LONGEST_WAIT_SECONDS = 900


def delivery_sensors(product: ResolvedProduct) -> Sequence[dg.SensorDefinition]:
    """One for a product with ports that send; it projects them again while they are behind, less and less often."""
    ports = {port.label: keys.port_key(product.id, port.major, port.name) for port in sending_ports(product)}
    if not ports:
        return []

    @dg.sensor(
        name=delivery_sensor_name(product),
        target=dg.AssetSelection.assets(*ports.values()),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=WATCH_SECONDS,
        description=f"Sends what topics of {product.descriptor.title} lack",
        tags={"dp/product": product.id},
    )
    def on_behind(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        known: dict[str, list[Any]] = json.loads(context.cursor) if context.cursor else {}
        now = time.time()
        waiting, requests, told = {}, [], []
        for label, one in deliveries(product).items():
            told.append(f"{label}: {one}")
            if not one.is_behind:
                continue
            # A run that publishes sends by itself, so the first time there is nothing to do yet.
            wanted, attempts, due = known.get(label, [None, 0, 0.0])
            if wanted != one.wanted:
                attempts, due = 0, now + WATCH_SECONDS
            elif now >= due:
                attempts += 1
                due = now + min(WATCH_SECONDS * 2**attempts, LONGEST_WAIT_SECONDS)
                run_key = f"{label}@{one.wanted}-{int(now)}"
                requests.append(dg.RunRequest(run_key=run_key, asset_selection=[ports[label]]))
            waiting[label] = [one.wanted, attempts, due]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else "; ".join(told),
            cursor=json.dumps(waiting),
        )

    return [on_behind]


def delivery_sensor_name(product: ResolvedProduct) -> str:
    """Name of the sensor."""
    return f"{product.id}_delivery"
