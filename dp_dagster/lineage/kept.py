"""Lineage at the storage root: how other checkouts and machines know what a product is made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.errors import DataProductError, StoreError
from dp_dagster.lineage.build import lineage_of
from dp_dagster.lineage.model import Graph, ProductLineage
from dp_dagster.storage.documents import read_document, write_document
from dp_dagster.storage.location import product_place
from dp_dagster.storage.manifest import products as published_products

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.settings import Settings
    from dp_dagster.storage.places import Place

_FORMAT = 1
_FILE = "lineage.json"


def keep_lineage(product: ResolvedProduct) -> ProductLineage:
    """Write down the lineage of a product that has just published. Doing it again is harmless.

    Raises:
        TransformError: a query does not parse.
        StoreError: the storage cannot be written.
    """
    lineage = lineage_of(product)
    if read_lineage(product.settings.storage, product.id) != lineage:
        write_document(_path(product.settings.storage, product.id), {"format": _FORMAT, **lineage.to_dict()})
    return lineage


def read_lineage(root: str, product: str) -> ProductLineage | None:
    """What a product wrote down when it published last; ``None`` if it never did.

    Raises:
        StoreError: the document is damaged, or was written by a newer release.
    """
    path = _path(root, product)
    content = read_document(path)
    if content is None:
        return None
    written = content.pop("format", None)
    if written != _FORMAT:
        raise StoreError(f"{path} has format {written!r}, this release reads {_FORMAT}; upgrade dp_dagster")
    try:
        return ProductLineage.from_dict(content)
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is damaged: {error}; publish the product again") from error


def graph_of(settings: Settings, products: Iterable[ResolvedProduct]) -> tuple[Graph, dict[str, str]]:
    """The lineage of all products that can be known here, and of which it cannot and why.

    Products of this project count as they are declared now, so that a change shows what it would reach; all others
    as they were published last.
    """
    found: list[ProductLineage] = []
    faults: dict[str, str] = {}
    here = set()
    for product in products:
        here.add(product.id)
        try:
            found.append(lineage_of(product))
        except DataProductError as error:
            faults[product.id] = str(error)
    for name in published_products(settings.storage):
        if name in here:
            continue
        try:
            kept = read_lineage(settings.storage, name)
        except StoreError as error:
            faults[name] = str(error)
            continue
        if kept is None:
            faults[name] = "it has written no lineage down; publish it again"
        else:
            found.append(kept)
    return Graph(found), faults


def _path(root: str, product: str) -> Place:
    return product_place(root, product) / _FILE
