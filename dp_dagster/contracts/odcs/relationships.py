"""Relationships: each value that is there must be a value of another dataset, or of this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.contracts.odcs.drafts import Draft, unevaluated
from dp_dagster.contracts.odcs.types import field_name
from dp_dagster.descriptor.problems import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dp_dagster.contracts.odcs.drafts import Subject
    from dp_dagster.contracts.odcs.models import Property, Relationship, SchemaObject
    from dp_dagster.descriptor.paths import Keys

    Add = Callable[[Keys, str, str], None]


def split_reference(reference: str) -> tuple[str | None, tuple[str, ...]]:
    """A reference as a file, if it names one, and the names on the way: ``customers.id``, ``…/schema/customers/…``."""
    if "/" not in reference:
        return None, tuple(reference.split("."))
    file, _, path = reference.rpartition("#")
    parts = [part for part in path.split("/") if part]
    # Kind, name, kind, name: the kinds say nothing that the names do not.
    return file or None, tuple(parts[1::2])


class Relationships:
    """The relationships of one schema object.

    Args:
        own: The object.
        objects: All objects of the document.
        add: Notes a problem.
    """

    def __init__(self, own: SchemaObject, objects: Sequence[SchemaObject], add: Add) -> None:
        self.own = own
        self.objects = {one.name: one for one in objects} | {one.id: one for one in objects if one.id}
        self.add = add

    def of_property(self, relationship: Relationship, keys: Keys, subject: Subject) -> Iterator[Draft]:
        """The rule of a relationship that stands on a property."""
        if subject.path:
            yield unevaluated(
                keys, subject, "a relationship of a part of a column is not checked", name="reference"
            )
        elif isinstance(relationship.target, list):
            self.add(
                (*keys, "to"),
                "names several properties for one",
                "move it to the schema, with as many in `from`",
            )
        else:
            yield from self._rule((subject.column,), [relationship.target], keys)

    def of_schema(self, relationship: Relationship, keys: Keys) -> Iterator[Draft]:
        """The rule of a relationship that stands on the schema, perhaps of several columns."""
        sources = relationship.source if isinstance(relationship.source, list) else [relationship.source]
        targets = relationship.target if isinstance(relationship.target, list) else [relationship.target]
        if len(sources) != len(targets):
            self.add(
                (*keys, "to"),
                f"names {len(targets)} properties for {len(sources)}",
                "name as many as in `from`",
            )
            return
        columns = []
        for number, source in enumerate(sources):
            place: Keys = (
                (*keys, "from", number) if isinstance(relationship.source, list) else (*keys, "from")
            )
            _, names = split_reference(source)
            if len(names) == 2 and self.objects.get(names[0]) is self.own:
                found = self._column(self.own, names[1], place)
                columns += [found] if found is not None else []
            else:
                self.add(
                    place, f"{source} is no property of {self.own.name}", f"write {self.own.name}.<property>"
                )
        if len(columns) == len(sources):
            yield from self._rule(tuple(columns), targets, keys)

    def _rule(self, columns: tuple[str, ...], targets: list[str], keys: Keys) -> Iterator[Draft]:
        found: list[tuple[str, str]] = []
        for number, target in enumerate(targets):
            place: Keys = (*keys, "to", number) if len(targets) > 1 else (*keys, "to")
            file, names = split_reference(target)
            if len(names) != 2:
                self.add(place, f"{target} does not name a property of a schema", "write schema.property")
                return
            known = self.objects.get(names[0]) if file is None else None
            column: str | None = names[1]
            if known is not None:
                column = self._column(known, names[1], place)
            if column is None:
                return
            found.append((known.name if known is not None else names[0], column))
        if len({name for name, _ in found}) != 1:
            self.add((*keys, "to"), "names properties of several schemas", "name properties of one")
            return
        yield Draft(
            "reference",
            keys,
            None,
            columns,
            {"dataset": found[0][0], "columns": [column for _, column in found]},
            name="reference",
        )

    def _column(self, owner: SchemaObject, name: str, keys: Keys) -> str | None:
        properties: dict[str, Property] = {}
        for part in owner.properties or ():
            properties |= {label: part for label in (part.name, part.id) if label}
        if name not in properties:
            self.add(keys, f"{name} is no property of {owner.name}", suggestion(name, properties))
            return None
        return field_name(properties[name])
