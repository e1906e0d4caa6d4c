"""Input ports as assets."""

# No postponed annotations here: Dagster looks at the annotation of the context itself.
import json
from collections.abc import Iterator
from typing import Any

import dagster as dg

from dp_dagster.definitions import describe, keys, partitions, results
from dp_dagster.definitions.work import begin, plain_failures
from dp_dagster.deprecation import upstream_notice
from dp_dagster.descriptor.partitions import told
from dp_dagster.pipeline import Session
from dp_dagster.pipeline.inputs import land_input
from dp_dagster.pipeline.landing import InputOutcome
from dp_dagster.resolve import ResolvedInput, ResolvedProduct


def input_asset(product: ResolvedProduct, declared: ResolvedInput) -> dg.AssetsDefinition:
    """One input port. Its dependency on another product's port is a bare key, which hides nothing of it."""
    key = keys.input_key(product.id, declared.name)
    upstream = declared.port.upstream(declared.config)
    metadata: dict[str, Any] = {
        "source": declared.port.location(declared.config),
        **describe.links(
            product, f"input_ports[{product.descriptor.input_ports.index(declared.declaration)}]"
        ),
    }
    if declared.contract is not None:
        metadata["dagster/column_schema"] = describe.column_schema(declared.contract)
    cut = partitions.of_asset(product, declared.name)
    spec = dg.AssetSpec(
        key,
        skippable=True,
        partitions_def=cut,
        deps=[keys.upstream_key(upstream)] if upstream is not None else [],
        description=_description(product, declared),
        group_name=product.id,
        owners=describe.owners(product),
        tags=describe.tags(product, "input_port"),
        kinds=set(declared.port.badges(declared.config)),
        metadata=metadata,
    )

    @dg.multi_asset(
        name=keys.step_name(product.id, "input", declared.name),
        specs=[spec],
        check_specs=results.check_specs(key, declared.contract) if declared.contract else None,
        backfill_policy=partitions.backfill_policy(cut),
    )
    def land(context: dg.AssetExecutionContext) -> Iterator[Any]:
        with plain_failures(context):
            session = begin(context, product)
            outcome = land_input(session, declared.name)
            yield from partitions.told(context, _events(session, declared, key, outcome))

    return land


def _events(
    session: Session, declared: ResolvedInput, key: dg.AssetKey, outcome: InputOutcome
) -> Iterator[Any]:
    checks = []
    if declared.contract is not None:
        verdict = outcome.verdict or session.last_verdict(session.input_table(declared.name))
        checks = list(results.check_results(key, declared.contract, verdict))
    pinned = outcome.pinned
    if pinned is None:
        yield from checks
        reason = outcome.verdict.reason if outcome.verdict else ""
        raise dg.Failure(
            description=f"{session.product.id}/input/{declared.name} held: {reason}", allow_retries=False
        )
    metadata: dict[str, Any] = {
        "files": len(pinned.files),
        "provenance": dg.MetadataValue.json(json.loads(json.dumps(pinned.provenance))),
        "unchanged": outcome.unchanged,
    }
    if outcome.partitions:
        metadata["partitions"] = told(outcome.partitions, session.product.calendar)
    if pinned.rows is not None:
        metadata["dagster/row_count"] = pinned.rows
    if outcome.rows_read is not None:
        metadata["rows_read"] = outcome.rows_read
    if outcome.quarantined_rows:
        metadata["quarantined_rows"] = outcome.quarantined_rows
    if outcome.changes:
        metadata["schema_changes"] = dg.MetadataValue.md(
            "\n".join(f"- {change}" for change in outcome.changes)
        )
        session.say(f"{session.product.id}/input/{declared.name}: {'; '.join(outcome.changes)}")
    version = pinned.version if pinned.version is not None else pinned.provenance.get("fingerprint", "")
    if pinned.version is not None:
        metadata["version"] = pinned.version
    result: dg.MaterializeResult[Any] = dg.MaterializeResult(
        asset_key=key,
        metadata=metadata,
        data_version=dg.DataVersion(str(version)),
        check_results=checks,
    )
    made: dict[str, dict[str, Any]] = {one: {} for one in outcome.partitions}
    yield partitions.Made(result, made, tuple(pinned.partitions)) if declared.is_partitioned else result


def _description(product: ResolvedProduct, declared: ResolvedInput) -> str:
    text = declared.declaration.description
    location = declared.port.location(declared.config)
    contract = ""
    if declared.contract is not None:
        contract = describe.contract_summary(declared.contract) + ".\n\nWhat breaks it is stopped here."
    return describe.sections(
        describe.first_line(text, f"Input port {declared.name} of {product.id}"),
        ("", describe.rest(text)),
        ("Deprecated", upstream_notice(product, declared) or ""),
        ("Source", f"`{declared.port.kind}` {location}"),
        ("Contract", contract),
    )
