"""Places in a product's descriptor, as findings and exemptions name them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dp_dagster.resolve import ResolvedProduct

_PART = re.compile(r"(?P<list>[a-z_]+)\[(?P<number>[0-9]+)\]")


def line_of(product: ResolvedProduct, place: str) -> int:
    """The line of a place in the descriptor: its own, else that of the nearest value around it; 0 where none is.

    A mapping or list has the line of its first value.
    """
    while place:
        for line in product.lines:
            if line.path == place or line.path.startswith((f"{place}.", f"{place}[")):
                return line.number
        place = place.rpartition("[" if place.endswith("]") else ".")[0]
    return product.lines[0].number if product.lines else 0


def part_of(product: ResolvedProduct, place: str) -> str:
    """What exemptions call the part of a product that a place is in: ``output_ports.vw_flights``, ``owner``."""
    match = _PART.match(place)
    if match is None:
        return place.partition(".")[0]
    items = getattr(product.descriptor, match["list"], ())
    number = int(match["number"])
    name = getattr(items[number], "name", None) if number < len(items) else None
    return f"{match['list']}.{name or number}"


def parts_of(product: ResolvedProduct) -> tuple[str, ...]:
    """Everything that exemptions may call a part of a product: fields, and by name the items of its lists."""
    found = []
    for name in type(product.descriptor).model_fields:
        value = getattr(product.descriptor, name)
        named = [one.name for one in value if hasattr(one, "name")] if isinstance(value, tuple | list) else []
        found += [f"{name}.{one}" for one in named] or [name]
    return tuple(found)
