"""``PRODUCT`` and ``PRODUCT.DATASET`` on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.errors import UsageError

if TYPE_CHECKING:
    from dp_dagster.resolve import ResolvedDataset, ResolvedProduct


def find_named(product: str) -> ResolvedProduct:
    """The product of that id, or in that folder.

    Raises:
        UsageError: there is none; says which there are.
        DescriptorError: it is at fault; with every problem.
    """
    from pathlib import Path

    from dp_dagster.resolve import find_product, resolve
    from dp_dagster.settings import Settings

    settings = Settings.load()
    path = Path(product)
    is_path = path.name != product or path.suffix != "" or product == "."
    return resolve(path, settings) if is_path and path.exists() else find_product(product, settings)


def find_dataset(name: str) -> tuple[ResolvedProduct, ResolvedDataset]:
    """The product and dataset that ``product.dataset`` names; the dataset may be left out where there is one.

    Raises:
        UsageError: there is no such product or dataset; says which there are.
    """
    from dp_dagster.resolve import find_product
    from dp_dagster.settings import Settings

    product_id, dot, dataset = name.partition(".")
    if not product_id:
        raise UsageError(f"{name or 'an empty text'} names no dataset; write PRODUCT.DATASET, see dp list")
    product = find_product(product_id, Settings.load())
    if dot:
        return product, product.dataset(dataset)
    if len(product.datasets) == 1:
        return product, product.datasets[0]
    known = ", ".join(f"{product.id}.{dataset.label}" for dataset in product.datasets)
    raise UsageError(f"{name} names no dataset; write one of {known or 'none: the product has no datasets'}")
