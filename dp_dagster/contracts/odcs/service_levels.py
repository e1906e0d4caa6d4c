"""``slaProperties`` of a document: what it promises about the service of one of its objects."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.model import ServiceLevel
from dp_dagster.descriptor.paths import dotted

if TYPE_CHECKING:
    from dp_dagster.contracts.odcs.reading import OdcsDocument


def service_levels(document: OdcsDocument, name: str) -> tuple[ServiceLevel, ...]:
    """The promises about the object of that name: those about all objects, and those about its columns.

    Args:
        document: The document.
        name: Of the schema object.
    """
    head = document.head
    objects = [one.name for one in head.schema_ or ()]
    found = []
    for number, level in enumerate(head.sla_properties or ()):
        named = level.element if level.element is not None else head.sla_default_element
        elements = tuple(part.strip() for part in (named or "").split(",") if part.strip())
        columns = tuple(_column(element, name, objects) for element in elements)
        if elements and not any(columns):
            continue  # about another object
        keys = ("slaProperties", number)
        found.append(
            ServiceLevel(
                property=level.property,
                value=_plain(level.value),
                extension=_plain(level.value_ext),
                unit=level.unit or "",
                elements=tuple(column for column in columns if column),
                driver=level.driver or "",
                scheduler=level.scheduler or "",
                schedule=level.schedule or "",
                line=document.document.mark(keys).line,
                place=dotted(keys),
            )
        )
    return tuple(found)


def _column(element: str, name: str, objects: list[str]) -> str:
    """The column that an element names, ``*`` for the object itself; empty where it is about another object."""
    first, dot, rest = element.partition(".")
    if first == name:
        return rest or "*"
    if first in objects:
        return ""
    # Where there is one object, its name may be left out.
    return element if not dot or len(objects) == 1 else ""


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
