"""A resolved product as Dagster definitions."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import dagster as dg

from dp_dagster.definitions import automation, sla
from dp_dagster.definitions.alerting import alerts_sensor
from dp_dagster.definitions.datasets import dataset_asset
from dp_dagster.definitions.deliveries import delivery_sensors
from dp_dagster.definitions.inputs import input_asset
from dp_dagster.definitions.ports import port_asset
from dp_dagster.definitions.transforms import transform_asset

if TYPE_CHECKING:
    from dp_dagster.resolve import ResolvedProduct, ResolvedTransform


def build_definitions(product: ResolvedProduct) -> dg.Definitions:
    """Assets, checks, freshness, the job, schedules and sensors of one product.

    Steps run in one process: a Dagster step in a process of its own costs seconds, and the work database of a
    run is opened by one step at a time anyway.
    """
    with warnings.catch_warnings():
        # Backfill policies are called beta; that a range is one run is held by a test.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return _definitions(product)


def _definitions(product: ResolvedProduct) -> dg.Definitions:
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
        *(input_asset(product, declared) for declared in product.inputs),
        *(_transform(product, transform) for transform in product.transforms),
        *(dataset_asset(product, dataset) for dataset in product.datasets),
        *(port_asset(product, port) for port in product.ports),
    ]
    if not any(isinstance(asset, dg.AssetsDefinition) for asset in assets):
        # Declared only: there is nothing to run.
        return dg.Definitions(assets=assets, sensors=[alerts_sensor(product)])
    job = automation.refresh_job(product)
    return dg.Definitions(
        assets=assets,
        jobs=[job],
        schedules=automation.schedules(product, job),
        sensors=[
            *automation.sensors(product, job),
            *sla.sensors(product),
            *delivery_sensors(product),
            alerts_sensor(product),
        ],
        executor=dg.in_process_executor,
    )


def _transform(product: ResolvedProduct, transform: ResolvedTransform) -> dg.AssetsDefinition:
    if transform.transform.runs_in == "dbt":
        # Imported here, since dagster-dbt takes seconds that other products need not pay.
        from dp_dagster.definitions.dbt import dbt_models

        return dbt_models(product, transform)
    return transform_asset(product, transform)
