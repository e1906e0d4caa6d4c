"""Transforms of kind ``session`` as assets; dbt models are in :mod:`dp_dagster.definitions.dbt`."""

# No postponed annotations here: Dagster looks at the annotation of the context itself.
from collections.abc import Iterator
from typing import Any

import dagster as dg

from dp_dagster.definitions import describe, keys, partitions
from dp_dagster.definitions.lineage import declared_lineage
from dp_dagster.definitions.work import begin, plain_failures
from dp_dagster.descriptor.partitions import told
from dp_dagster.folder import code_version
from dp_dagster.pipeline import run_transform
from dp_dagster.resolve import ResolvedProduct, ResolvedTransform
from dp_dagster.transforms.base import TransformPlace


def transform_asset(product: ResolvedProduct, transform: ResolvedTransform) -> dg.AssetsDefinition:
    """One transform."""
    place = TransformPlace(transform.name, product.id, product.root, product.settings)
    kept = transform.transform.kept(transform.config)
    text = transform.declaration.description
    key = keys.transform_key(product.id, transform.name)
    sources = transform.transform.sources(transform.config, place)

    cut = partitions.of_asset(product, transform.name)

    spec = dg.AssetSpec(
        key,
        partitions_def=cut,
        deps=[keys.relation_key(product, name) for name in transform.depends_on],
        description=describe.sections(
            describe.first_line(text, f"Transform {transform.name} of {product.id}"),
            ("", describe.rest(text)),
            ("", "Kept in the store." if kept else "A view: computed by whoever reads it."),
        ),
        group_name=product.id,
        owners=describe.owners(product),
        tags=describe.tags(product, "transform"),
        kinds=set(transform.transform.badges(transform.config)),
        code_version=code_version(sources),
        metadata={
            "code": ", ".join(str(path.relative_to(product.root)) for path in sources),
            **describe.links(product, _declared_at(product, transform), *sources),
        },
    )

    @dg.multi_asset(
        name=keys.step_name(product.id, "transform", transform.name),
        specs=[spec],
        backfill_policy=partitions.backfill_policy(cut),
    )
    def run(context: dg.AssetExecutionContext) -> Iterator[Any]:
        with plain_failures(context):
            session = begin(context, product)
            outcome = run_transform(session, transform.name)
        metadata: dict[str, Any] = {
            "dagster/column_schema": dg.TableSchema(
                columns=[dg.TableColumn(name=name, type=dtype.lower()) for name, dtype in outcome.columns]
            )
        }
        metadata |= declared_lineage(context, product, key)
        if outcome.rows is not None:
            metadata["dagster/row_count"] = outcome.rows
        if outcome.version is not None:
            metadata["version"] = outcome.version
        if outcome.unchanged:
            metadata["unchanged"] = True
        elif outcome.partitions:
            metadata["partitions"] = told(outcome.partitions, product.calendar)
        result: dg.MaterializeResult[Any] = dg.MaterializeResult(asset_key=key, metadata=metadata)
        made: dict[str, dict[str, Any]] = {one: {} for one in outcome.partitions}
        yield from partitions.told(
            context, [partitions.Made(result, made, outcome.there) if cut is not None else result]
        )

    return run


def _declared_at(product: ResolvedProduct, transform: ResolvedTransform) -> str:
    return f"transforms[{product.descriptor.transforms.index(transform.declaration)}]"
