"""Lineage as Dagster keeps and shows it: column dependencies, and a diagram on the asset's page.

Open-source Dagster stores column lineage but does not show it, so the page gets it as text as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.definitions import keys
from dp_dagster.definitions.words import escape_cell
from dp_dagster.errors import DataProductError
from dp_dagster.lineage.build import lineage_of
from dp_dagster.lineage.kept import keep_lineage, read_lineage
from dp_dagster.lineage.model import Graph, leaves
from dp_dagster.lineage.openlineage import Audited, events_of, send
from dp_dagster.lineage.text import tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from dp_dagster.lineage.build import OriginsOfTransform
    from dp_dagster.lineage.model import Node, ProductLineage
    from dp_dagster.pipeline import PublicationOutcome
    from dp_dagster.resolve import ResolvedDataset, ResolvedProduct

# Dagster's page is slow with cells of thousands of names; `dp lineage` shows all.
_SOURCES_SHOWN = 12
# Characters; longer Markdown is behind a button on Dagster's pages, so the diagram alone is better than none.
_SHOWN_AT_ONCE = 990


def lineage_metadata(lineage: ProductLineage, key: dg.AssetKey) -> dict[str, Any]:
    """Column lineage of one asset, and what it is made from as a diagram; nothing for an asset without columns."""
    node = lineage.node("/".join(key.path))
    if node is None:
        return {}
    graph = Graph([lineage])
    diagram, columns = _diagram(graph, node), _columns(graph, node)
    metadata: dict[str, Any] = {
        name: dg.MetadataValue.md(text)
        for name, text in (
            {"lineage": f"{diagram}\n\n{columns}".rstrip()}
            if len(diagram) + len(columns) < _SHOWN_AT_ONCE
            else {"lineage": diagram, "lineage of columns": columns}
        ).items()
    }
    dependencies = {
        column: [
            dg.TableColumnDep(asset_key=dg.AssetKey(source.node.split("/")), column_name=source.column)
            for source in sources
        ]
        for column, sources in node.columns.items()
        if sources
    }
    if dependencies:
        metadata["dagster/column_lineage"] = dg.TableColumnLineage(dependencies)
    return metadata


def tell_lineage(
    context: dg.AssetExecutionContext,
    product: ResolvedProduct,
    dataset: ResolvedDataset,
    outcome: PublicationOutcome,
    started: datetime,
) -> dict[str, Any]:
    """Keep the product's lineage, send the OpenLineage events of a publication, and give what the page shows.

    What fails here is told and fails nothing: the version is published already.
    """
    key = keys.dataset_key(product.id, dataset.major, dataset.name)
    try:
        published = outcome.snapshot is not None
        lineage = keep_lineage(product) if published else lineage_of(product)
    except DataProductError as error:
        context.log.warning("lineage of %s is not known: %s", product.id, error)
        return not_known(error)
    metadata = lineage_metadata(lineage, key)
    # Where no partition had changed, nothing was read, judged or written that could be told.
    if product.settings.openlineage is not None and outcome.verdict is not None and not outcome.unchanged:
        try:
            audited = Audited(
                product=product,
                dataset=dataset,
                lineage=lineage,
                run_id=context.run.run_id,
                started=started,
                verdict=outcome.verdict,
                snapshot=outcome.snapshot,
            )
            send(product.settings, events_of(audited))
        except DataProductError as error:
            context.log.warning("%s", error)
            metadata["OpenLineage"] = f"not sent: {error}"
    return metadata


def port_lineage(
    context: dg.AssetExecutionContext, product: ResolvedProduct, key: dg.AssetKey
) -> dict[str, Any]:
    """What the page of an output port shows: the lineage that its dataset's publication wrote down."""
    try:
        kept = read_lineage(product.settings.storage, product.id)
    except DataProductError as error:
        context.log.warning("lineage of %s is not known: %s", product.id, error)
        return not_known(error)
    return {} if kept is None else lineage_metadata(kept, key)


def declared_lineage(
    context: dg.AssetExecutionContext,
    product: ResolvedProduct,
    key: dg.AssetKey,
    origins: Mapping[str, OriginsOfTransform] | None = None,
) -> dict[str, Any]:
    """What the page of something that is made on the way shows: the lineage as it is declared now.

    Args:
        context: Of the step.
        product: The product.
        key: The asset.
        origins: As for :func:`~dp_dagster.lineage.build.lineage_of`.
    """
    try:
        return lineage_metadata(lineage_of(product, origins), key)
    except DataProductError as error:
        context.log.warning("lineage of %s is not known: %s", product.id, error)
        return not_known(error)


def not_known(error: DataProductError) -> dict[str, Any]:
    """What is shown where the lineage cannot be read: that it is not known, and why."""
    return {"lineage": dg.MetadataValue.md(f"not known: {error}")}


def _diagram(graph: Graph, node: Node) -> str:
    return f"```text\n{tree(graph.up(node.id), graph)}\n```"


def _columns(graph: Graph, node: Node) -> str:
    lines = []
    if node.columns:
        lines += ["| column | made from | how |", "|---|---|---|"]
        lines += [_row(graph, node, column) for column in node.columns]
    if node.unknown.get("*"):
        lines += ["", f"Further columns are not known: {node.unknown['*']}"]
    return "\n".join(lines).lstrip()


def _row(graph: Graph, node: Node, column: str) -> str:
    found = leaves(graph.up(node.id, column))
    found.pop((node.id, column), None)
    names = [
        f"{place.split('/', 1)[1] if place.startswith(f'{node.product}/') else place}.{name}"
        for place, name in sorted(found, key=str)
    ]
    shown = ", ".join(f"`{name}`" for name in names[:_SOURCES_SHOWN])
    more = f" and {len(names) - _SOURCES_SHOWN} more" if len(names) > _SOURCES_SHOWN else ""
    why = node.unknown.get(column)
    how = ", ".join(sorted(set(found.values())))
    without = escape_cell(f"not known: {why}" if why else "no column")
    return f"| {escape_cell(column)} | {shown or without}{more} | {how} |"
