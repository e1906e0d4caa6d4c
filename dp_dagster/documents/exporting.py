"""Which documents an export of a product consists of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dp_dagster.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_dagster.documents.written import Written
    from dp_dagster.resolve import ResolvedDataset, ResolvedProduct

Format = Literal["odps", "odcs", "jsonschema", "dbt"]


def export_product(product: ResolvedProduct, form: Format, dataset: str | None = None) -> tuple[Written, ...]:
    """Write a product in another format.

    Args:
        product: The product.
        form: ``odps`` is one document of the product; the others are one for each dataset.
        dataset: Only the document of this dataset.

    Raises:
        UsageError: there is no such dataset, or the format has no documents of datasets.
    """
    if form == "odps":
        from dp_dagster.documents.odps import export_odps

        if dataset is not None:
            raise UsageError("an ODPS document describes the whole product; leave --dataset out")
        return (export_odps(product),)
    kept = product.descriptor.documents
    if dataset is None and not product.datasets and not (form == "odcs" and kept and kept.odcs):
        raise UsageError(f"{product.id} has no datasets, so there is nothing to write as {form}")
    chosen = product.datasets if dataset is None else (product.dataset(dataset),)
    write = _writer(form)
    documents = [write(product, one) for one in chosen]
    if form == "odcs" and dataset is None:
        from dp_dagster.documents.odcs import other_contracts

        documents += other_contracts(product)
    by_file = {one.file: one for one in documents}
    clashing = [one.file for one in documents if by_file[one.file].text != one.text]
    if clashing:
        raise UsageError(f"two documents would be called {clashing[0]}; export one --dataset at a time")
    return tuple(by_file.values())


def _writer(form: Format) -> Callable[[ResolvedProduct, ResolvedDataset], Written]:
    if form == "odcs":
        from dp_dagster.documents.odcs import export_odcs

        return export_odcs
    if form == "dbt":
        from dp_dagster.documents.dbt import export_dbt

        return export_dbt
    from dp_dagster.documents.json_schema import export_json_schema

    return export_json_schema
