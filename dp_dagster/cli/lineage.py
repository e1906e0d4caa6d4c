"""``dp lineage``: what a dataset or column is made from, and what a change of it would reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from dp_dagster.lineage.model import Graph, Node


def lineage(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PRODUCT.DATASET[.COLUMN]",
            help="A dataset, or any other part of a product (port, transform, input), or one column of it.",
        ),
    ],
    *,
    up: Annotated[bool, typer.Option("--up", help="Only what it is made from.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Only what is made from it.")] = False,
    versions: Annotated[
        bool, typer.Option("--versions", help="Instead, the versions that its newest version was made from.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show lineage over all products: what is made from what, and so what a change would reach."""
    from dp_dagster.cli.output import print_json
    from dp_dagster.errors import UsageError
    from dp_dagster.lineage.kept import graph_of
    from dp_dagster.lineage.text import tree
    from dp_dagster.resolve import resolve_project
    from dp_dagster.settings import Settings

    if versions:
        if up or down:
            raise UsageError("--versions stands alone; leave --up and --down out")
        _versions(name, as_json=as_json)
        return
    settings = Settings.load()
    project = resolve_project(settings)
    graph, faults = graph_of(settings, project.products)
    faults |= {
        failure.product_id: "its product.yaml is refused; see dp validate" for failure in project.failures
    }
    node, column = _find(graph, name, faults)
    both = up == down
    upward = graph.up(node.id, column) if up or both else None
    downward = graph.down(node.id, column) if down or both else None
    if as_json:
        print_json({"node": node.id, "column": column, "up": upward, "down": downward, "not_known": faults})
        return
    if upward is not None:
        typer.echo("made from" if both else "", nl=both)
        typer.echo(tree(upward, graph))
    if downward is not None:
        typer.echo("\nreaches" if both else "", nl=both)
        typer.echo(tree(downward, graph))
    for product, why in sorted(faults.items()):
        typer.echo(f"{product} is left out: {why}", err=True)


def _find(graph: Graph, name: str, faults: dict[str, str]) -> tuple[Node, str | None]:
    from dp_dagster.errors import UsageError

    product, _, rest = name.partition(".")
    nodes = [node for node in graph.nodes.values() if node.product == product]
    if not nodes:
        known = ", ".join(sorted({node.product for node in graph.nodes.values()})) or "none"
        why = f": {faults[product]}" if product in faults else f"; there are {known}"
        raise UsageError(f"no lineage of a product {product} is known{why}")
    part, _, column = rest.partition(".")
    # Of several that share a name, the dataset is meant; then what is nearest to consumers.
    order = ("dataset", "port", "transform", "input")
    found = sorted((node for node in nodes if node.name == part), key=lambda node: order.index(node.role))
    if not found:
        names = ", ".join(dict.fromkeys(f"{product}.{node.name}" for node in nodes))
        raise UsageError(f"{name} names nothing of {product}; there are {names}")
    if column and not any(column in node.columns or "*" in node.unknown for node in found):
        raise UsageError(f"{found[0].id} has no column {column}; it has {', '.join(found[0].columns)}")
    for node in found:
        if not column or column in node.columns:
            return node, column or None
    return found[0], column


def _versions(name: str, *, as_json: bool) -> None:
    from dp_dagster.cli.names import find_dataset
    from dp_dagster.cli.output import print_json
    from dp_dagster.lineage.text import versions_tree
    from dp_dagster.lineage.versions import made_from
    from dp_dagster.storage import dataset_table

    product, declared = find_dataset(name)
    made = made_from(dataset_table(product.settings.storage, product.id, declared.major, declared.name))
    if as_json:
        print_json(made)
    else:
        typer.echo(versions_tree(made))
