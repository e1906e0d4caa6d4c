"""Contracts as JSON Schema, in a file a dataset."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dp_dagster.contracts.row_schema import DIALECT, row_schema
from dp_dagster.documents.odcs import document_name
from dp_dagster.documents.written import Written

if TYPE_CHECKING:
    from dp_dagster.resolve import ResolvedDataset, ResolvedProduct


def export_json_schema(product: ResolvedProduct, dataset: ResolvedDataset) -> Written:
    """The schema of a dataset's rows."""
    schema, notes = row_schema(dataset.contract)
    name = document_name(dataset)
    title = f"{product.id}.{name}"
    described = dataset.declaration.description or dataset.contract.description
    head = {"$schema": DIALECT, "title": title} | ({"description": described} if described else {})
    text = json.dumps({**head, **schema}, indent=2, ensure_ascii=False) + "\n"
    return Written(f"{name}.schema.json", text, notes)
