"""Older major versions of a dataset, which stay live beside the current one until their sunset."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dp_dagster.descriptor.problems import suggestion
from dp_dagster.resolve.model import ResolvedDataset, ResolvedOutput
from dp_dagster.resolve.objectives import promises_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dp_dagster.contracts.model import Contract
    from dp_dagster.descriptor.loading import Draft
    from dp_dagster.descriptor.model import DatasetVersion
    from dp_dagster.descriptor.paths import Keys

    Understood = Callable[[DatasetVersion, Keys], tuple[Contract, tuple[str, ...]] | None]


def older_datasets(draft: Draft, relations: set[str], understood: Understood) -> list[ResolvedDataset]:
    """The older versions of all datasets.

    Args:
        draft: The descriptor.
        relations: Names of input ports and of what transforms make.
        understood: Loads a version's contract and finds its key; notes what is wrong.
    """
    own = draft.head.major if draft.head else 0
    found = []
    for number, dataset in draft.datasets.items():
        seen = {own}
        for position, part in enumerate(dataset.versions):
            keys: Keys = ("datasets", number, "versions", position)
            if part.major in seen:
                is_own = "the product's own" if part.major == own else "declared twice"
                draft.add((*keys, "major"), f"{part.major} is {is_own}", "give each version its own major")
            seen.add(part.major)
            if part.major > own:
                draft.add(
                    (*keys, "major"),
                    f"{part.major} is newer than the product's own {own}",
                    "raise the product's version, and name the older majors here",
                )
            if part.source not in relations:
                draft.add(
                    (*keys, "from"),
                    f"{part.source} is no transform and no input port of the product",
                    suggestion(part.source, relations),
                )
            known = understood(part, keys)
            if known is None:
                continue
            contract, key = known
            found.append(
                ResolvedDataset(
                    dataset.name,
                    part.source,
                    contract,
                    key,
                    part.sort_by,
                    part.quarantine.max_invalid if part.quarantine else None,
                    dataset,
                    major=part.major,
                    is_current=False,
                    deprecated=part.deprecated,
                    partitioned_by=part.partitioned_by,
                )
            )
    return found


def older_ports(ports: Iterable[ResolvedOutput], older: list[ResolvedDataset]) -> list[ResolvedOutput]:
    """Every active port of a dataset once more, for each of its older versions."""
    return [
        with_promises(replace(port, dataset=dataset, major=dataset.major, is_current=False))
        for port in ports
        for dataset in older
        if port.state == "active" and port.dataset is not None and port.dataset.name == dataset.name
    ]


def with_promises(port: ResolvedOutput) -> ResolvedOutput:
    """The port with all that is promised of it, and of the dataset that it shows."""
    promises = promises_of(
        declared=port.sla,
        dataset=port.dataset,
        refresh=port.refresh,
        port=port.port,
        inactive="" if port.state == "active" else port.reason,
    )
    return replace(port, promises=promises)
