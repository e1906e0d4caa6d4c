"""Datasets as assets: the step that writes, audits and publishes, and the quarantine beside it."""

# No postponed annotations here: Dagster looks at the annotation of the context itself.
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from dp_dagster.definitions import describe, keys, partitions, results
from dp_dagster.definitions.lineage import tell_lineage
from dp_dagster.definitions.policies import policy_check_result, policy_check_spec
from dp_dagster.definitions.words import count
from dp_dagster.definitions.work import begin, plain_failures
from dp_dagster.descriptor.partitions import told
from dp_dagster.errors import PolicyError
from dp_dagster.pipeline import PublicationOutcome, publish_dataset
from dp_dagster.policies import PolicyReport
from dp_dagster.resolve import ResolvedDataset, ResolvedProduct
from dp_dagster.storage import dataset_table


def dataset_asset(product: ResolvedProduct, dataset: ResolvedDataset) -> dg.AssetsDefinition:
    """One dataset with its quarantine.

    Both are skippable: a held candidate yields its failed checks and what went to quarantine, and the dataset
    keeps its old materialisation, so its freshness degrades as it should.
    """
    key = keys.dataset_key(product.id, dataset.major, dataset.name)
    quarantine = keys.quarantine_key(product.id, dataset.major, dataset.name)
    cut = partitions.partitions_definition(product) if dataset.partitioned_by else None
    common: dict[str, Any] = {
        "group_name": product.id,
        "owners": describe.owners(product),
        "skippable": True,
        "partitions_def": cut,
        # A dataset that this one refers to is published first, so that its newest rows are looked up.
        "deps": [
            keys.relation_key(product, dataset.source),
            *(keys.dataset_key(product.id, dataset.major, name) for name in dataset.references.values()),
        ],
    }
    specs = [
        dg.AssetSpec(
            key,
            description=describe.dataset_description(product, dataset),
            tags=describe.tags(product, "dataset"),
            kinds={"deltalake", "table"},
            metadata={
                "dagster/column_schema": describe.column_schema(dataset.contract),
                "dagster/table_name": f"{product.id}.v{dataset.major}.{dataset.name}",
                "contract": describe.contract_summary(dataset.contract),
                "contract hash": dataset.contract.hash,
                "dagster/uri": dataset_table(
                    product.settings.storage, product.id, dataset.major, dataset.name
                ).uri,
                **describe.links(
                    product,
                    f"datasets[{product.descriptor.datasets.index(dataset.declaration)}]",
                    product.root / dataset.contract.source.partition(":")[0],
                ),
            },
            **common,
        ),
        dg.AssetSpec(
            quarantine,
            description=f"Rows of {dataset.name} that broke its contract, with run, rules and reason\n\n"
            f"```shell\ndp quarantine {product.id}.{dataset.label}\n```",
            tags=describe.tags(product, "quarantine"),
            kinds={"deltalake"},
            **common,
        ),
    ]

    @dg.multi_asset(
        name=keys.step_name(product.id, f"v{dataset.major}", "dataset", dataset.name),
        specs=specs,
        check_specs=[*results.check_specs(key, dataset.contract), policy_check_spec(key)],
        backfill_policy=partitions.backfill_policy(cut),
    )
    def publish(context: dg.AssetExecutionContext) -> Iterator[Any]:
        with plain_failures(context):
            session = begin(context, product)
            started = datetime.now(UTC)
            try:
                outcome = publish_dataset(session, dataset.label)
            except PolicyError as error:
                if isinstance(error.report, PolicyReport):
                    yield policy_check_result(key, error.report)
                raise
            if outcome.warning:
                context.log.warning("%s", outcome.warning)
            lineage = tell_lineage(context, product, dataset, outcome, started)
            # A backfill takes an asset that it asked for, and that nothing is said of, for failed.
            tells_all = partitions.BACKFILL_TAG in context.run.tags
            yield from partitions.told(
                context, _events(product, dataset, outcome, lineage, tells_all=tells_all)
            )

    return publish


def _made(outcome: PublicationOutcome) -> dict[str, dict[str, Any]]:
    """Metadata of the partitions that were made."""
    there = outcome.snapshot.partitions if outcome.snapshot is not None else {}
    return {
        one: {"dagster/partition_row_count": there[one].rows, "partition made from": there[one].made_from}
        for one in outcome.partitions
    }


def _events(
    product: ResolvedProduct,
    dataset: ResolvedDataset,
    outcome: PublicationOutcome,
    lineage: dict[str, Any],
    *,
    tells_all: bool,
) -> Iterator[Any]:
    key = keys.dataset_key(product.id, dataset.major, dataset.name)
    quarantine = keys.quarantine_key(product.id, dataset.major, dataset.name)
    verdict = outcome.verdict
    checks = [
        *results.check_results(key, dataset.contract, verdict),
        policy_check_result(key, outcome.policies),
    ]
    if outcome.quarantined_rows or (tells_all and outcome.snapshot is not None):
        aside: dg.MaterializeResult[Any] = dg.MaterializeResult(
            asset_key=quarantine,
            metadata={
                "rows of this candidate": outcome.quarantined_rows,
                "truncated": outcome.quarantine_truncated,
                "verdict id": verdict.id if verdict is not None else "",
            },
        )
        # Which partitions the rows came with is not told apart there.
        kept: dict[str, dict[str, Any]] = {one: {} for one in outcome.partitions}
        yield partitions.Made(aside, kept) if dataset.partitioned_by else aside
    if outcome.snapshot is None and verdict is not None:
        yield from checks
        serving = (
            f"consumers keep version {outcome.serving.version}"
            if outcome.serving
            else "nothing was published before"
        )
        raise dg.Failure(
            description=f"{product.id}.{dataset.label} held: {verdict.reason.removesuffix(': held')}; {serving}. "
            f"See: dp quarantine {product.id}.{dataset.label}",
            metadata={"verdict": dg.MetadataValue.md(describe.verdict_markdown(verdict, dataset.contract))},
            allow_retries=False,
        )
    snapshot = outcome.snapshot
    if snapshot is None:
        raise AssertionError("only a verdict holds a version")
    told_verdict: dict[str, Any] = {}
    if verdict is not None:
        told_verdict = {
            "verdict": dg.MetadataValue.md(describe.verdict_markdown(verdict, dataset.contract)),
            "verdict id": verdict.id,
        }
    if outcome.partitions:
        told_verdict["partitions"] = told(outcome.partitions, product.calendar)
    published = "unchanged since" if outcome.unchanged else "published as"
    result: dg.MaterializeResult[Any] = dg.MaterializeResult(
        asset_key=key,
        data_version=dg.DataVersion(str(snapshot.version)),
        metadata={
            "version": snapshot.version,
            "dagster/row_count": snapshot.rows,
            **told_verdict,
            **({"unchanged": True} if outcome.unchanged else {}),
            "quarantined rows": outcome.quarantined_rows,
            "summary": f"{count(snapshot.rows)} rows {published} version {snapshot.version}",
            "made from": dg.MetadataValue.json(json.loads(snapshot.metadata.get("dp.upstream", "{}"))),
            "code version": snapshot.metadata.get("dp.code_version", ""),
            "dagster/uri": snapshot.location.uri,
            **lineage,
        },
        check_results=list(checks),
    )
    yield (
        partitions.Made(result, _made(outcome), tuple(snapshot.partitions))
        if dataset.partitioned_by
        else result
    )
