"""The lineage of a resolved product: from its input ports, through its transforms, to its output ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.lineage.model import Influence, Node, ProductLineage, Source
from dp_dagster.transforms.base import TransformPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dp_dagster.engines.column_origins import Origins
    from dp_dagster.ports.base import UpstreamPort
    from dp_dagster.resolve import ResolvedDataset, ResolvedInput, ResolvedOutput, ResolvedProduct

    OriginsOfTransform = Callable[[Mapping[str, Sequence[str] | None]], Mapping[str, Origins]]


def input_id(product_id: str, name: str) -> str:
    """Node of an input port."""
    return f"{product_id}/input/{name}"


def transform_id(product_id: str, name: str) -> str:
    """Node of a relation that a transform provides."""
    return f"{product_id}/transform/{name}"


def dataset_id(product_id: str, major: int, name: str) -> str:
    """Node of a dataset."""
    return f"{product_id}/v{major}/dataset/{name}"


def port_id(product_id: str, major: int, name: str) -> str:
    """Node of an output port."""
    return f"{product_id}/v{major}/port/{name}"


def lineage_of(
    product: ResolvedProduct, origins: Mapping[str, OriginsOfTransform] | None = None
) -> ProductLineage:
    """The lineage of a product as it is declared now.

    What cannot be known is said in the nodes, never left out.

    Args:
        product: The product, resolved.
        origins: By transform, where its origins are known better than from what it left when it ran last: a function of
            the columns of what it reads.

    Raises:
        TransformError: a query does not parse.
        StoreError: what an input has landed cannot be read.
    """
    nodes: dict[str, Node] = {}
    for declared in product.inputs:
        nodes[declared.name] = _input(product, declared)
    for transform in product.transforms:
        place = TransformPlace(transform.name, product.id, product.root, product.settings)
        tables = {name: _columns(nodes[name]) for name in transform.depends_on if name in nodes}
        if origins is not None and transform.name in origins:
            found = origins[transform.name](tables)
        else:
            found = transform.transform.origins(transform.config, place, tables)
        for name, made in found.items():
            known = {**nodes, **{other: _placeholder(product, other) for other in found}}
            reads = transform.depends_on if name == transform.name else tuple(_read(made))
            nodes[name] = _relation(product, name, made, known, reads)
    finished = [_dataset(product, dataset, nodes.get(dataset.source)) for dataset in product.datasets]
    ports = [_port(product, port) for port in product.ports if port.dataset is not None]
    return ProductLineage(product.id, product.version, (*nodes.values(), *finished, *ports))


def _placeholder(product: ResolvedProduct, name: str) -> Node:
    return Node(transform_id(product.id, name), "transform", name)


def _columns(node: Node) -> tuple[str, ...] | None:
    return None if "*" in node.unknown else tuple(node.columns)


def _read(origins: Origins) -> Iterable[str]:
    used = [origin.relation for found in origins.columns.values() for origin in found]
    return dict.fromkeys([*used, *(influence.relation for influence in origins.influences)])


def _input(product: ResolvedProduct, declared: ResolvedInput) -> Node:
    upstream = declared.port.upstream(declared.config)
    names = _input_columns(product, declared, upstream)
    producer = port_id(upstream.product, upstream.major, upstream.port) if upstream else None
    return Node(
        id=input_id(product.id, declared.name),
        role="input",
        name=declared.name,
        reads=(producer,) if producer else (),
        columns={name: (Source(producer, name),) if producer else () for name in names or ()},
        unknown={"*": "no contract declares its columns, and nothing has been landed yet"}
        if names is None
        else {},
        place=declared.port.location(declared.config),
    )


def _input_columns(
    product: ResolvedProduct, declared: ResolvedInput, upstream: UpstreamPort | None
) -> tuple[str, ...] | None:
    from dp_dagster.storage import Table, input_table
    from dp_dagster.storage.manifest import read_manifest

    storage = product.settings.storage
    if upstream is not None:
        manifest = read_manifest(storage, upstream.product)
        entry = manifest.port(upstream.major, upstream.port) if manifest else None
        if entry is not None:
            return tuple(column["name"] for column in entry.columns)
    else:
        newest = Table(input_table(storage, product.id, declared.name)).newest()
        if newest is not None:
            return tuple(column.name for column in newest.columns)
    if declared.contract is not None:
        return tuple(column.name for column in declared.contract.columns)
    return None


def _relation(
    product: ResolvedProduct, name: str, origins: Origins, known: Mapping[str, Node], reads: Iterable[str]
) -> Node:
    return Node(
        id=transform_id(product.id, name),
        role="transform",
        name=name,
        reads=tuple(known[one].id for one in reads if one in known),
        columns={
            column: tuple(
                Source(known[origin.relation].id, origin.column, origin.how)
                for origin in found
                if origin.relation in known
            )
            for column, found in origins.columns.items()
        },
        influences=tuple(
            Influence(known[one.relation].id, one.column, one.why)
            for one in origins.influences
            if one.relation in known
        ),
        unknown=dict(origins.unknown),
    )


def _dataset(product: ResolvedProduct, dataset: ResolvedDataset, source: Node | None) -> Node:
    columns: dict[str, tuple[Source, ...]] = {}
    unknown: dict[str, str] = {}
    spelled = {name.lower(): name for name in source.columns} if source else {}
    for column in dataset.contract.columns:
        made = spelled.get(column.name.lower())
        columns[column.name] = (Source(source.id, made),) if source and made else ()
        if made is None:
            unknown[column.name] = (source.unknown.get("*") if source else None) or (
                f"{dataset.source} is not known to have this column"
            )
    return Node(
        id=dataset_id(product.id, dataset.major, dataset.name),
        role="dataset",
        name=dataset.label,
        reads=(source.id,) if source else (),
        columns=columns,
        unknown=unknown,
    )


def _port(product: ResolvedProduct, port: ResolvedOutput) -> Node:
    if port.dataset is None:
        raise AssertionError("only ports with a dataset have a lineage")
    shown = dataset_id(product.id, port.major, port.dataset.name)
    return Node(
        id=port_id(product.id, port.major, port.name),
        role="port",
        name=port.label,
        reads=(shown,),
        columns={column.name: (Source(shown, column.name),) for column in port.dataset.contract.columns},
    )
