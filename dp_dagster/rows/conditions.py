"""Conditions on stored forms, which are the same for both engines, and where a page goes on as DuckDB's SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import UsageError
from dp_dagster.predicates.model import Condition, Negation
from dp_dagster.rows.forms import form_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dp_dagster.predicates.model import Predicate

TEXT_OPERATORS = frozenset({"contains", "starts_with", "ends_with"})
"""Operators that are for texts alone."""
_MOST_VALUES = 10_000


@dataclass(frozen=True)
class Sql:
    """A piece of SQL, and the values that are bound in it, in order."""

    text: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Ordering:
    """One column of a total order.

    Attributes:
        name: The column, as SQL.
        descending: Its direction.
        nullable: Whether it may hold null, which comes last.
    """

    name: str
    descending: bool
    nullable: bool

    def reversed(self) -> Ordering:
        """The same column the other way round; nulls are then first, as :meth:`clause` says."""
        return Ordering(self.name, not self.descending, self.nullable)

    def clause(self, *, backward: bool = False) -> str:
        """What stands in ORDER BY."""
        direction = " desc" if self.descending != backward else ""
        nulls = f" nulls {'first' if backward else 'last'}" if self.nullable else ""
        return f"{self.name}{direction}{nulls}"


def stored_value(value: Any, type_name: str, column: str) -> Any:
    """A value of a condition in the form in which it is compared.

    Raises:
        UsageError: it is no value of the column's type.
    """
    try:
        stored = form_of(type_name).write(value)
        if isinstance(stored, str):
            stored.encode()
    except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise UsageError(f"{value!r} is no value of column {column} ({type_name}): {error}") from error
    return stored


def stored_condition(predicate: Predicate, types: Mapping[str, str]) -> Predicate:
    """The same predicate with values as they are stored.

    Args:
        predicate: With typed values.
        types: From column to canonical type.

    Raises:
        UsageError: a value is not of its column's type, or a nested column is compared.
    """
    if isinstance(predicate, Condition):
        return _stored(predicate, types[predicate.column])
    if isinstance(predicate, Negation):
        return Negation(stored_condition(predicate.part, types))
    return type(predicate)(tuple(stored_condition(part, types) for part in predicate.parts))


def _stored(condition: Condition, type_name: str) -> Condition:
    column, operator, value = condition.column, condition.operator, condition.value
    if operator == "is_null":
        return condition
    if not form_of(type_name).ordered:
        raise UsageError(f"column {column} is {type_name}; it can only be asked whether it is null")
    if operator in {"in", "not_in"}:
        values = tuple(stored_value(one, type_name, column) for one in value)
        if len(values) > _MOST_VALUES:
            raise UsageError(
                f"{len(values)} values of column {column} are too many; give at most {_MOST_VALUES}"
            )
        return Condition(column, operator, values)
    if operator in TEXT_OPERATORS and type_name != "string":
        raise UsageError(f"column {column} is {type_name}; {operator} is for text, compare it with eq or gt")
    return Condition(column, operator, stored_value(value, type_name, column))


def behind(order: Sequence[Ordering], values: Sequence[Any], marks: Sequence[str] | None = None) -> Sql:
    """What holds of the rows that come after a position in a total order, nulls last.

    Args:
        order: The columns.
        values: The position's values of them.
        marks: What stands for each value in the text; by default a question mark.
    """
    marks = marks or ["?"] * len(order)
    if not any(one.nullable for one in order) and len({one.descending for one in order}) == 1:
        sign = "<" if order[0].descending else ">"
        names = ", ".join(one.name for one in order)
        return Sql(f"(({names}) {sign} ({', '.join(marks)}))", tuple(values))
    return _either(order, values, marks, nulls_first=False)


def before(order: Sequence[Ordering], values: Sequence[Any], marks: Sequence[str] | None = None) -> Sql:
    """What holds of the rows that come before a position."""
    marks = marks or ["?"] * len(order)
    flipped = [one.reversed() for one in order]
    if not any(one.nullable for one in order):
        return behind(flipped, values, marks)
    return _either(flipped, values, marks, nulls_first=True)


def _either(
    order: Sequence[Ordering], values: Sequence[Any], marks: Sequence[str], *, nulls_first: bool
) -> Sql:
    """One alternative for each column: those before it are the same, it lies behind."""
    alternatives: list[str] = []
    bound: list[Any] = []
    same: list[str] = []
    same_values: list[Any] = []
    for one, value, mark in zip(order, values, marks, strict=True):
        sign = "<" if one.descending else ">"
        if value is None:
            # Nulls are one another's equals; behind them is nothing, or (where they are first) everything else.
            later, later_values = (f"{one.name} is not null", []) if nulls_first else ("", [])
            equal, equal_values = f"{one.name} is null", []
        else:
            nulls = f" or {one.name} is null" if one.nullable and not nulls_first else ""
            later, later_values = f"({one.name} {sign} {mark}{nulls})", [value]
            equal, equal_values = f"{one.name} = {mark}", [value]
        if later:
            alternatives.append(" and ".join([*same, later]))
            bound += [*same_values, *later_values]
        same.append(equal)
        same_values += equal_values
    if not alternatives:
        return Sql("(1 = 0)")
    return Sql(f"({' or '.join(f'({text})' for text in alternatives)})", tuple(bound))
