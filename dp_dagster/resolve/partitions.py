"""Which inputs, transforms and datasets of a product are cut into its partitions; what cannot work is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dp_dagster.contracts.model import Contract
    from dp_dagster.descriptor.loading import Draft
    from dp_dagster.descriptor.model import Dataset as DeclaredDataset
    from dp_dagster.descriptor.model import DatasetVersion
    from dp_dagster.descriptor.paths import Keys
    from dp_dagster.resolve.model import ResolvedDataset, ResolvedInput, ResolvedTransform

_TYPES = ("date", "timestamp", "timestamp(UTC)")


def with_partitions(draft: Draft, inputs: Sequence[ResolvedInput]) -> list[ResolvedInput]:
    """The inputs, each with how its rows are told apart by partition; notes what cannot work."""
    numbers = {part.name: number for number, part in draft.inputs.items()}
    found = []
    for one in inputs:
        keys: Keys = ("input_ports", numbers[one.name])
        column = one.declaration.partitioned_by
        by_place = one.port.names_partition(one.config)
        if (column or by_place) and not _declared(draft):
            place: Keys = (*keys, "partitioned_by") if column else keys
            draft.add(place, "needs partitions, and the product declares none", _ADD)
            continue
        if column and by_place:
            draft.add(
                (*keys, "partitioned_by"), "is said by the place of the data already", "leave one of them out"
            )
        if (column or by_place) and (fault := _comes_in_parts(one)):
            draft.add((*keys, "partitioned_by") if column else keys, *fault)
        if column and one.contract is not None:
            _check_column(draft, (*keys, "partitioned_by"), column, one.contract)
        found.append(replace(one, partitioned_by=column, names_partition=by_place))
    return found


def _comes_in_parts(one: ResolvedInput) -> tuple[str, str] | None:
    """Why partitions cannot be cut of what comes in, and the fix; ``None`` where it is read as a whole."""
    mode = one.port.landing(one.config).mode
    if mode != "replace":
        why = "it reads what is new, which may belong to any partition"
        return (
            f"wants partitions, and {one.port.kind} input {one.name} has mode {mode}: {why}",
            "read it as a whole (mode: replace, no cursor), or leave partitioned_by out here and at the datasets",
        )
    # What a kind does by default is about versions before, and partitions are told apart by their rows.
    if "on_schema_change" in one.config.model_fields_set and one.config.on_schema_change is not None:
        return (
            f"wants partitions, and on_schema_change: {one.config.on_schema_change} compares whole versions",
            "leave on_schema_change out: when columns change all partitions are landed again, judged by the contract",
        )
    return None


def refuse_dbt(draft: Draft, transforms: Iterable[ResolvedTransform], partitioned: frozenset[str]) -> None:
    """Refuse dbt between an input and a dataset with partitions: it builds all models at once."""
    numbers = {part.name: number for number, part in draft.transforms.items()}
    for one in transforms:
        between = ", ".join(sorted(partitioned.intersection(one.provides)))
        if one.transform.runs_in == "dbt" and between:
            draft.add(
                ("transforms", numbers[one.name]),
                f"{one.name} stands between an input and a dataset with partitions ({between}), and dbt makes all "
                "models at once, no partition by itself",
                "make it a SQL or Python transform, or leave partitioned_by out at the dataset that is made from it",
            )


def check_datasets(
    draft: Draft, datasets: Iterable[ResolvedDataset], partitioned: frozenset[str], *, knowable: bool
) -> None:
    """Note what cannot work of datasets with partitions, and partitions that nothing has."""
    for dataset in datasets:
        keys, part = _place(draft, dataset)
        if part.partitioned_by is None:
            continue
        place: Keys = (*keys, "partitioned_by")
        if not _declared(draft):
            draft.add(place, "needs partitions, and the product declares none", _ADD)
            continue
        _check_column(draft, place, part.partitioned_by, dataset.contract)
        if knowable and dataset.source not in partitioned:
            draft.add(
                place,
                f"{dataset.source} is made from no input port that has partitions",
                "say partitioned_by at an input port, too",
            )
    wanted = any(one.partitioned_by for one in draft.inputs.values()) or any(
        one.partitioned_by for one in draft.datasets.values()
    )
    has_any = draft.head is not None and draft.head.partitions is not None
    if has_any and knowable and not partitioned and not wanted:
        draft.add(
            ("partitions",), "nothing has partitions", "say partitioned_by at an input port and a dataset"
        )


_ADD = "add partitions: {by: day, start: 2026-01-01}"


def partitioned_relations(
    inputs: Iterable[ResolvedInput],
    transforms: Sequence[ResolvedTransform],
    datasets: Iterable[ResolvedDataset],
) -> frozenset[str]:
    """Inputs with partitions, and what lies between them and a dataset with partitions.

    What else reads such an input reads all of it.
    """
    owners = {name: one for one in transforms for name in one.provides}
    found = {one.name for one in inputs if one.is_partitioned}
    reading = set(found)
    for one in transforms:  # each stands after what it reads
        if reading.intersection(one.depends_on):
            reading.update(one.provides)
    needed: set[str] = set()
    waiting = [one.source for one in datasets if one.partitioned_by]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        owner = owners.get(name)
        needed.update(owner.provides if owner else (name,))
        waiting.extend(owner.depends_on if owner else ())
    return frozenset(found | (reading & needed))


def _declared(draft: Draft) -> bool:
    # Without a head nobody knows; its own fault is told already.
    return draft.head is None or draft.head.partitions is not None


def _place(draft: Draft, dataset: ResolvedDataset) -> tuple[Keys, DeclaredDataset | DatasetVersion]:
    number, part = next((n, one) for n, one in draft.datasets.items() if one.name == dataset.name)
    if dataset.is_current:
        return ("datasets", number), part
    position, version = next(
        (position, one) for position, one in enumerate(part.versions) if one.major == dataset.major
    )
    return ("datasets", number, "versions", position), version


def _check_column(draft: Draft, place: Keys, name: str, contract: Contract) -> None:
    column = contract.column(name)
    calendar = draft.head.partitions if draft.head else None
    if column is None:
        from dp_dagster.descriptor.problems import suggestion

        known = [one.name for one in contract.columns]
        draft.add(place, f"{name} is no column of {contract.source}", suggestion(name, known))
    elif not column.type.startswith(_TYPES):
        draft.add(place, f"{name} is of type {column.type}", "name a date or timestamp column")
    elif column.type == "date" and calendar is not None and calendar.by == "hour":
        draft.add(place, f"{name} is a date, and partitions are hours", "name a timestamp column")
    elif column.nullable:
        draft.add(
            place,
            f"{name} may be null in {contract.source}: such a row belongs to no partition",
            "make it nullable=False",
        )
