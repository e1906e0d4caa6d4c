"""The sensor of a product that notices what is wrong and tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from dp_dagster.alerts.store import AlertStore
from dp_dagster.alerts.watch import Seen, look_at
from dp_dagster.definitions.alert_facts import seen_by_dagster

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.alerts.kept import Watcher
    from dp_dagster.resolve import ResolvedProduct


def alerts_sensor_name(product_id: str) -> str:
    """The name of a product's sensor for alerts."""
    return f"{product_id}_alerts"


def alerts_sensor(product: ResolvedProduct) -> dg.SensorDefinition:
    """Looks at the product's conditions, and sends what is due on its channels."""

    @dg.sensor(
        name=alerts_sensor_name(product.id),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=max(1, int(product.settings.alert_interval)),
        description=f"Tells those who must know when something is wrong with {product.descriptor.title}, "
        "and when it is over",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        origin = context.code_location_origin
        location = origin.location_name if origin is not None else product.id

        def see(watcher: Watcher, now: datetime) -> Seen:
            return seen_by_dagster(context.instance, product, location, watcher.cursor, now)

        looked = look_at(product, AlertStore.of(product.settings), see)
        for delivery, error in looked.tried:
            if error:
                context.log.warning("channel %s of %s: %s", delivery.channel, delivery.owner, error)
        return dg.SkipReason(str(looked))

    return alerts
