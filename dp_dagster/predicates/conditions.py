"""Conditions from what a request says: a column, an operator and values as text or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from dp_dagster.contracts.literals import is_nested
from dp_dagster.predicates.model import OPERATORS, Condition
from dp_dagster.predicates.values import BadValueError, read_value

if TYPE_CHECKING:
    from dp_dagster.contracts.model import Column
    from dp_dagster.predicates.model import Operator

TEXT_OPERATORS: frozenset[Operator] = frozenset({"contains", "starts_with", "ends_with"})
LIST_OPERATORS: frozenset[Operator] = frozenset({"in", "not_in"})
_UNORDERED = frozenset({"bool", "binary"})
_ORDER: frozenset[Operator] = frozenset({"lt", "le", "gt", "ge"})
MOST_VALUES = 1000
"""As many values as ``in`` takes; more are a join, not a filter."""


@lru_cache(maxsize=4096)
def operators_for(type_name: str) -> tuple[Operator, ...]:
    """What a column of that canonical type can be asked."""
    if is_nested(type_name):
        return ("is_null",)
    refused: frozenset[Operator] = frozenset() if type_name == "string" else TEXT_OPERATORS
    if type_name in _UNORDERED:
        refused |= _ORDER
    return tuple(operator for operator in OPERATORS if operator not in refused)


def condition(column: Column, operator: Operator, value: object) -> Condition:
    """A condition on a column.

    Args:
        column: The column.
        operator: One of :func:`operators_for` its type.
        value: Text or JSON; for ``in`` and ``not_in`` a sequence of them, for ``is_null`` whether it is.

    Raises:
        BadValueError: the column cannot be asked that, or the value is not of its type.
    """
    allowed = operators_for(column.type)
    if operator not in allowed:
        raise BadValueError(
            f"a column of type {column.type} cannot be asked {operator}; use {', '.join(allowed)}"
        )
    if operator == "is_null":
        return Condition(column.name, operator, read_value(value, "bool"))
    if operator in LIST_OPERATORS:
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise BadValueError(f"{operator} wants a list of values")
        if len(value) > MOST_VALUES:
            raise BadValueError(f"{operator} takes at most {MOST_VALUES} values, not {len(value)}")
        return Condition(column.name, operator, tuple(read_value(one, column.type) for one in value))
    return Condition(column.name, operator, read_value(value, column.type))
