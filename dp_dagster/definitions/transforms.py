"""Transforms of kind ``session`` as assets; dbt models are in :mod:`dp_dagster.definitions.dbt`."""

# No postponed annotations here: Dagster looks at the annotation of the context itself.
from typing import Any

import dagster as dg

from dp_dagster.definitions import describe, keys
from dp_dagster.definitions.lineage import declared_lineage
from dp_dagster.definitions.work import begin, plain_failures
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

    @dg.asset(
        key=key,
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
    def run(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
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
        return dg.MaterializeResult(metadata=metadata)

    return run


def _declared_at(product: ResolvedProduct, transform: ResolvedTransform) -> str:
    return f"transforms[{product.descriptor.transforms.index(transform.declaration)}]"
