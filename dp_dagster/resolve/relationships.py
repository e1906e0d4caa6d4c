"""Relationships between the datasets of a product: what its contracts refer to, joined with what is unique."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.ports.base import Relationship

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.resolve.model import ResolvedDataset, ResolvedProduct


def relationships_of(product: ResolvedProduct, major: int) -> tuple[Relationship, ...]:
    """The relationships between datasets that are published under one major version."""
    datasets = {dataset.name: dataset for dataset in product.datasets if dataset.major == major}
    found: dict[Relationship, None] = {}
    for dataset in datasets.values():
        for rule in dataset.contract.rules:
            if rule.kind != "reference":
                continue
            called = rule.params["dataset"]
            # A contract that refers to itself means the dataset's own rows.
            name = dataset.name if called == dataset.contract.name else dataset.references.get(called)
            target = datasets.get(name) if name is not None else None
            if target is None:
                continue
            columns = tuple(rule.params["columns"])
            relationship = Relationship(
                dataset.name,
                rule.columns,
                target.name,
                columns,
                to_one=is_unique(target, columns),
                from_one=is_unique(dataset, rule.columns),
            )
            found[relationship] = None
    return tuple(found)


def is_unique(dataset: ResolvedDataset, columns: Iterable[str]) -> bool:
    """Whether no two published rows have the same values in these columns, as the contract proves."""
    among = set(columns)
    proven = (
        set(rule.columns)
        for rule in dataset.contract.rules
        # A warning publishes the rows all the same; a rule that ignores nulls says nothing of rows that hold one.
        if rule.kind == "unique" and rule.severity == "error" and "path" not in rule.params
    )
    return any(unique <= among for unique in proven if unique)
