"""Contracts that refer to other datasets of the product: which dataset is meant, and whether that can work."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dp_dagster.descriptor.problems import suggestion
from dp_dagster.resolve.order import ordered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dp_dagster.contracts.model import Contract
    from dp_dagster.descriptor.loading import Draft
    from dp_dagster.descriptor.paths import Keys
    from dp_dagster.resolve.model import ResolvedDataset, ResolvedInput


def with_references(draft: Draft, datasets: Sequence[ResolvedDataset]) -> list[ResolvedDataset]:
    """The datasets, each with the datasets that its contract refers to; what cannot work is noted in the draft.

    A contract calls another table by the name of its contract. What is meant is the dataset whose contract has
    that name, from the same file first, else the dataset of that name.
    """
    places: dict[str, Keys] = {
        part.name: ("datasets", number, "contract") for number, part in draft.datasets.items()
    }
    found = []
    for dataset in datasets:
        references: dict[str, str] = {}
        for target in referred(dataset.contract):
            other = _meant(target, dataset, datasets)
            if other is None:
                draft.add(
                    places[dataset.name],
                    f"{dataset.contract.source} refers to {target}, which no dataset of the product is",
                    suggestion(target, [one.name for one in datasets if one is not dataset]),
                )
                continue
            references[target] = other.name
            _check_columns(draft, places[dataset.name], dataset.contract, target, other.contract)
        found.append(replace(dataset, references=references))
    _, circles = ordered({one.name: one.references.values() for one in found})
    for circle in circles:
        draft.add(
            places[circle[0]],
            f"datasets refer to each other in a circle: {' -> '.join(circle)}",
            "take one reference out: none of them could ever be published first",
        )
    return found


def refuse_references(draft: Draft, inputs: Iterable[ResolvedInput]) -> None:
    """Refuse references in contracts of inputs: what is landed is judged before any dataset is there."""
    numbers = {part.name: number for number, part in draft.inputs.items()}
    for one in inputs:
        for target in referred(one.contract) if one.contract else ():
            draft.add(
                ("input_ports", numbers[one.name], "contract"),
                f"{one.contract.source if one.contract else ''} refers to {target}, and an input is judged by itself",
                "move the relationship to the contract of a dataset",
            )


def referred(contract: Contract) -> tuple[str, ...]:
    """The other tables that a contract's rules name."""
    names = (rule.params["dataset"] for rule in contract.rules if rule.kind == "reference")
    return tuple(dict.fromkeys(name for name in names if name != contract.name))


def _meant(
    target: str, dataset: ResolvedDataset, datasets: Sequence[ResolvedDataset]
) -> ResolvedDataset | None:
    file = dataset.contract.source.partition(":")[0]
    others = [one for one in datasets if one is not dataset]
    by_contract = [one for one in others if one.contract.name == target]
    same_file = [one for one in by_contract if one.contract.source.partition(":")[0] == file]
    by_name = [one for one in others if one.name == target]
    return next(iter([*same_file, *by_name, *by_contract]), None)


def _check_columns(draft: Draft, place: Keys, contract: Contract, target: str, other: Contract) -> None:
    known: Mapping[str, object] = {column.name: column for column in other.columns}
    wanted = [
        column
        for rule in contract.rules
        if rule.kind == "reference" and rule.params["dataset"] == target
        for column in rule.params["columns"]
    ]
    for column in dict.fromkeys(wanted):
        if column not in known:
            draft.add(
                place,
                f"{contract.source} refers to column {column} of {target}, which {other.source} does not promise",
                suggestion(column, known),
            )
