"""Conditions on stored forms, as SQLite's SQL with bound values; also where a page goes on.

Three-valued as in all engines: a comparison with null is neither true nor false, and ``Negation`` keeps that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import UsageError
from dp_dagster.predicates.model import AllOf, AnyOf, Condition, Negation
from dp_dagster.rows.forms import form_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dp_dagster.predicates.model import Predicate

_COMPARISONS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_MOST_VALUES = 10_000  # SQLite binds 32,766 values in one statement


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


def condition_sql(predicate: Predicate, names: Mapping[str, str], types: Mapping[str, str]) -> Sql:
    """A predicate over stored forms.

    Args:
        predicate: With typed values.
        names: From column to the name that it has in the store.
        types: From column to canonical type.

    Raises:
        UsageError: a value is not of its column's type, or a nested column is compared.
    """
    if isinstance(predicate, Condition):
        return _condition(predicate, names, types)
    if isinstance(predicate, Negation):
        part = condition_sql(predicate.part, names, types)
        return Sql(f"(not {part.text})", part.values)
    parts = [condition_sql(part, names, types) for part in predicate.parts]
    if not parts:
        return Sql("1" if isinstance(predicate, AllOf) else "0")
    word = " and " if isinstance(predicate, AllOf) else " or "
    assert isinstance(predicate, AllOf | AnyOf)
    return Sql(
        f"({word.join(part.text for part in parts)})", tuple(value for part in parts for value in part.values)
    )


def _condition(condition: Condition, names: Mapping[str, str], types: Mapping[str, str]) -> Sql:
    column, operator, value = condition.column, condition.operator, condition.value
    name, type_name = names[column], types[column]
    if operator == "is_null":
        return Sql(f"({name} is {'' if value else 'not '}null)")
    if not form_of(type_name).ordered:
        raise UsageError(f"column {column} is {type_name}; it can only be asked whether it is null")
    if operator in _COMPARISONS:
        return Sql(f"({name} {_COMPARISONS[operator]} ?)", (stored_value(value, type_name, column),))
    if operator in {"in", "not_in"}:
        values = tuple(stored_value(one, type_name, column) for one in value)
        if len(values) > _MOST_VALUES:
            raise UsageError(
                f"{len(values)} values of column {column} are too many; give at most {_MOST_VALUES}"
            )
        if not values:
            # `null in ()` is false in SQLite, and unknown elsewhere; a constant says what is meant.
            return Sql("0" if operator == "in" else "1")
        word = "in" if operator == "in" else "not in"
        return Sql(f"({name} {word} ({', '.join('?' * len(values))}))", values)
    return _text_condition(condition, name, type_name)


def _text_condition(condition: Condition, name: str, type_name: str) -> Sql:
    if type_name != "string":
        raise UsageError(
            f"column {condition.column} is {type_name}; {condition.operator} is for text, compare it with eq or gt"
        )
    text = str(stored_value(condition.value, type_name, condition.column))
    sought = text.encode()
    if not sought:
        return Sql(f"(case when {name} is not null then 1 end)")
    # As bytes: SQLite's text functions stop at a zero character.
    as_bytes = f"cast({name} as blob)"
    if condition.operator == "contains":
        return Sql(f"(instr({as_bytes}, ?) > 0)", (sought,))
    if condition.operator == "starts_with":
        return Sql(f"({name} >= ? and substr({as_bytes}, 1, {len(sought)}) = ?)", (text, sought))
    # The end of an empty text is null in SQLite; only that of no text is.
    is_there = f"case when {name} is not null then 0 end"
    return Sql(f"coalesce(substr({as_bytes}, -{len(sought)}) = ?, {is_there})", (sought,))


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
