"""Putting values in the place of references: what an identity says of itself, as values of the columns' types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.predicates.conditions import LIST_OPERATORS
from dp_dagster.predicates.model import AllOf, AnyOf, Condition, Negation, Reference
from dp_dagster.predicates.values import BadValueError, read_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dp_dagster.predicates.model import Predicate


class UnboundError(Exception):
    """A reference has no value, or none of the column's type, so nothing can be said of any row."""


def references_of(predicate: Predicate) -> frozenset[str]:
    """Names of the references that stand in a predicate."""
    if isinstance(predicate, Condition):
        values = predicate.value if isinstance(predicate.value, tuple) else (predicate.value,)
        return frozenset(value.name for value in values if isinstance(value, Reference))
    if isinstance(predicate, Negation):
        return references_of(predicate.part)
    return frozenset().union(*(references_of(part) for part in predicate.parts))


def bind(predicate: Predicate, types: Mapping[str, str], value_of: Callable[[str], object]) -> Predicate:
    """The predicate with all references replaced.

    A reference in ``in`` may stand for several values, and then stands for all of them. Anywhere else it must have
    exactly one.

    Args:
        predicate: With references.
        types: Canonical types of the columns.
        value_of: The value of a reference; ``None`` where it has none.

    Raises:
        UnboundError: a reference has no value, or it is not one of the column's type.
    """
    if isinstance(predicate, Negation):
        return Negation(bind(predicate.part, types, value_of))
    if isinstance(predicate, AllOf):
        return AllOf(tuple(bind(part, types, value_of) for part in predicate.parts))
    if isinstance(predicate, AnyOf):
        return AnyOf(tuple(bind(part, types, value_of) for part in predicate.parts))
    if not references_of(predicate):
        return predicate
    kind = types[predicate.column]
    if predicate.operator in LIST_OPERATORS:
        found: list[object] = []
        for one in predicate.value:
            found += _values(one, kind, value_of) if isinstance(one, Reference) else [one]
        return Condition(predicate.column, predicate.operator, tuple(dict.fromkeys(found)))
    values = _values(predicate.value, kind, value_of)
    if len(values) != 1:
        raise UnboundError(predicate.value.name)
    return Condition(predicate.column, predicate.operator, values[0])


def _values(reference: Reference, type_name: str, value_of: Callable[[str], object]) -> list[object]:
    value = value_of(reference.name)
    if value is None:
        raise UnboundError(reference.name)
    try:
        return [
            read_value(one, type_name)
            for one in (value if isinstance(value, tuple | list | frozenset) else (value,))
        ]
    except BadValueError:
        # What the value is stays untold: it is somebody's claim.
        raise UnboundError(reference.name) from None
