"""Output ports as assets: each projects the newest committed version to its consumers."""

# No postponed annotations here: Dagster looks at the annotation of the context itself.
from collections.abc import Iterator
from typing import Any

import dagster as dg

from dp_dagster.definitions import describe, keys, sla
from dp_dagster.definitions.freshness import freshness_policy
from dp_dagster.definitions.lag import LAG_CHECK, lag_check_result, lag_check_spec
from dp_dagster.definitions.lineage import port_lineage
from dp_dagster.definitions.policies import port_policy_check_results, port_policy_check_specs
from dp_dagster.definitions.port_facts import port_facts
from dp_dagster.definitions.work import begin, plain_failures
from dp_dagster.errors import AuthorError
from dp_dagster.pipeline import ProjectionOutcome, Session, project_port
from dp_dagster.pipeline.projections import output_context
from dp_dagster.resolve import ResolvedOutput, ResolvedProduct


def port_asset(product: ResolvedProduct, port: ResolvedOutput) -> dg.AssetsDefinition | dg.AssetSpec:
    """One output port: an asset that projects, or a declared one where there is nothing to project.

    Run alone it projects again, and counts as a new materialisation only if the version is a new publication:
    a rollback changes what consumers see, and makes nothing look fresher.
    """
    if port.state != "active" or port.port is None or port.dataset is None:
        return _declared_port(product, port)
    context = output_context(Session(product, "definition"), port)
    key = keys.port_key(product.id, port.major, port.name)
    address = port.port.address(port.config, context)
    has_lag = lag_check_spec(product, port, key) is not None
    spec = dg.AssetSpec(
        key,
        skippable=True,
        deps=[keys.dataset_key(product.id, port.major, port.dataset.name)],
        description=describe.port_description(
            product,
            port,
            port.port.examples(port.config, context),
            port.port.access(port.config, context),
        ),
        group_name=product.id,
        owners=describe.owners(product),
        tags={
            **describe.tags(product, "output_port"),
            **(
                {"dp/deprecated": port.dataset.deprecated.sunset.isoformat()}
                if port.dataset.deprecated
                else {}
            ),
        },
        kinds=set(port.port.badges(port.config)),
        freshness_policy=freshness_policy(port),
        metadata={
            "dagster/column_schema": describe.column_schema(port.dataset.contract),
            "dagster/table_name": f"{product.id}.v{port.major}.{port.name}",
            "address": address,
            "contract": describe.contract_summary(port.dataset.contract),
            "dataset": f"{product.id}.{port.dataset.label}",
            **describe.links(
                product, f"output_ports[{product.descriptor.output_ports.index(port.declaration)}]"
            ),
        },
    )

    @dg.multi_asset(
        name=keys.step_name(product.id, f"v{port.major}", "port", port.name),
        specs=[spec],
        check_specs=[
            *([check] if (check := lag_check_spec(product, port, key)) is not None else []),
            *sla.check_specs(port, key),
            *port_policy_check_specs(product, key),
        ]
        or None,
    )
    def project(context: dg.AssetExecutionContext) -> Iterator[Any]:
        with plain_failures(context):
            session = begin(context, product)
            outcome = project_port(session, port.label)
            if outcome.snapshot is None:
                raise AuthorError(
                    f"{product.id}.{port.name}: dataset {port.dataset.name if port.dataset else ''} has never been "
                    "published, so there is nothing to project; materialise the dataset first"
                )
            further = {**port_facts(product, port), **port_lineage(context, product, key)}
            yield from _events(context, key, outcome, further)
            if has_lag:
                yield lag_check_result(product, port, key)
            yield from sla.check_results(product, port, key)
            yield from port_policy_check_results(product, port, key)

    return project


def _events(
    context: dg.AssetExecutionContext,
    key: dg.AssetKey,
    outcome: ProjectionOutcome,
    further: dict[str, Any],
) -> Iterator[Any]:
    snapshot = outcome.snapshot
    if snapshot is None:
        return
    metadata: dict[str, Any] = {
        "version": snapshot.version,
        "dagster/row_count": snapshot.rows,
        "address": outcome.address,
        "published at": snapshot.metadata.get("dp.published_at", ""),
        "verdict id": snapshot.metadata.get("dp.verdict_id", ""),
        "operation": snapshot.metadata.get("dp.operation", ""),
        **outcome.metadata,
        **further,
    }
    if snapshot.metadata.get("dp.operation") == "rollback" or not _is_new(context, key, snapshot.version):
        # log_event, not yield: inside a step a yielded observation is recorded as a materialisation.
        context.log_event(dg.AssetObservation(asset_key=key, metadata=metadata))
        return
    yield dg.MaterializeResult(
        asset_key=key, metadata=metadata, data_version=dg.DataVersion(str(snapshot.version))
    )


def _is_new(context: dg.AssetExecutionContext, key: dg.AssetKey, version: int) -> bool:
    # Dagster's own last event decides, not the manifest: a process killed between the two is made good here.
    event = context.instance.get_latest_materialization_event(key)
    if event is None or event.asset_materialization is None:
        return True
    known = event.asset_materialization.metadata.get("version")
    return known is None or known.value != version


def _declared_port(product: ResolvedProduct, port: ResolvedOutput) -> dg.AssetSpec:
    return dg.AssetSpec(
        keys.port_key(product.id, port.major, port.name),
        description=describe.sections(
            describe.first_line(port.declaration.description, f"Declared only: {port.reason}"),
            ("", describe.rest(port.declaration.description)),
            ("State", f"{port.state}: {port.reason}"),
            ("Service level", describe.service_level_table(product, port)),
        ),
        group_name=product.id,
        owners=describe.owners(product),
        tags={**describe.tags(product, "output_port"), "dp/state": port.state.replace(" ", "_")},
        kinds={port.declaration.type.lower()},
    )


__all__ = ["LAG_CHECK", "port_asset"]
