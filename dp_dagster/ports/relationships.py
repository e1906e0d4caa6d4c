"""Relationships between datasets, followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from dp_dagster.ports.base import Relationship


def datasets_near(dataset: str, relationships: Collection[Relationship]) -> tuple[str, ...]:
    """The other datasets that relationships lead to, in either direction, directly or over others."""
    found = [dataset]
    for here in found:
        for one in relationships:
            ends = {one.dataset, one.target}
            if here in ends:
                found += sorted(ends - set(found))
    return tuple(found[1:])
