"""Conditions as a tree of plain values; engines write them as SQL with bound values, each in its own way.

The values are typed: what a condition compares with has been read as the column's type, so no engine has to
guess. A comparison with null is never true, as in SQL; ``is_null`` asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

Operator = Literal[
    "eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "is_null", "contains", "starts_with", "ends_with"
]
OPERATORS: tuple[Operator, ...] = get_args(Operator)


@dataclass(frozen=True)
class Reference:
    """A value that is known only when somebody asks: ``subject``, ``client`` or ``claim.region`` of their identity.

    :func:`~dp_dagster.predicates.binding.bind` puts the value in its place; engines never see one.
    """

    name: str


@dataclass(frozen=True)
class Condition:
    """One column compared with a value.

    Attributes:
        column: Exact name.
        operator: How; ``in`` and ``not_in`` take a tuple, ``is_null`` a bool, the text operators a text (compared
            with case).
        value: Of the column's type: ``int``, ``float``, ``Decimal``, ``str``, ``bool``, ``bytes``, ``date``,
            ``datetime`` (aware for columns with a zone); before it is bound, also a :class:`Reference`.
    """

    column: str
    operator: Operator
    value: Any


@dataclass(frozen=True)
class AllOf:
    """True where every part is; without parts, everywhere."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True)
class AnyOf:
    """True where at least one part is; without parts, nowhere."""

    parts: tuple[Predicate, ...]


@dataclass(frozen=True)
class Negation:
    """True where the part is false. Where the part is unknown (a null was compared), so is this."""

    part: Predicate


Predicate: TypeAlias = Condition | AllOf | AnyOf | Negation
EVERYTHING = AllOf(())
NOTHING = AnyOf(())


def columns_of(predicate: Predicate) -> frozenset[str]:
    """The columns that a predicate looks at."""
    if isinstance(predicate, Condition):
        return frozenset({predicate.column})
    if isinstance(predicate, Negation):
        return columns_of(predicate.part)
    return frozenset().union(*(columns_of(part) for part in predicate.parts))
