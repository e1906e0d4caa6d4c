"""Filters and orders as input types, and what a request gave for them as predicates and sorts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
)

from dp_dagster.contracts.literals import is_nested
from dp_dagster.ports.outputs.graphql.scalars import RefusedError, masked_scalar, scalar_of
from dp_dagster.predicates.conditions import condition, operators_for
from dp_dagster.predicates.model import AllOf, AnyOf, Negation, Predicate
from dp_dagster.predicates.values import BadValueError
from dp_dagster.rows.query import Sort

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column
    from dp_dagster.predicates.model import Operator

#: Names of operators in a request, where they are not those of the model.
_NAMES: dict[Operator, str] = {"le": "lte", "ge": "gte"}
_WORDS: dict[Operator, str] = {
    "eq": "Equal.",
    "ne": "Not equal, and not null.",
    "lt": "Less.",
    "le": "Less or equal.",
    "gt": "Greater.",
    "ge": "Greater or equal.",
    "in": "One of these; of none, if the list is empty.",
    "not_in": "None of these, and not null.",
    "is_null": "Whether it is null.",
    "contains": "Holds this text, with case.",
    "starts_with": "Begins with this text, with case.",
    "ends_with": "Ends with this text, with case.",
}
_DEEPEST = 20


@dataclass(frozen=True)
class Inputs:
    """The input types of one dataset as one view sees it.

    Attributes:
        where: The filter.
        order: One entry of ``orderBy``; ``None`` where nothing can be sorted by.
    """

    where: GraphQLInputObjectType
    order: GraphQLInputObjectType | None


def inputs_of(
    base: str, dataset: str, columns: Iterable[Column], names: Mapping[str, str], view: DatasetView
) -> Inputs:
    """The input types for a dataset's columns.

    Masked columns are named there, too, so that asking by them is refused with the reason.

    Args:
        base: What the dataset's types are called.
        dataset: Its name.
        columns: Those that the view may select.
        names: What each column is called.
        view: What is masked.
    """
    columns = tuple(columns)
    masked = {
        column.name: masked_scalar(f"{base}_{names[column.name]}_masked", column.name)
        for column in columns
        if column.name in view.masks
    }

    def fields() -> dict[str, GraphQLInputField]:
        made = {
            names[column.name]: GraphQLInputField(
                masked[column.name] if column.name in view.masks else _conditions_on(column.type),
                description=column.description or None,
            )
            for column in columns
        }
        both = GraphQLList(GraphQLNonNull(where))
        made["and"] = GraphQLInputField(both, description="All of these hold.")
        made["or"] = GraphQLInputField(both, description="At least one of these holds.")
        made["not"] = GraphQLInputField(
            where, description="This does not hold (and is not unknown, as of null)."
        )
        return made

    where = GraphQLInputObjectType(
        f"{base}Filter",
        fields,
        description=f"What must hold of rows of {dataset}: everything that is said here.",
    )
    sortable = [column for column in columns if column.name in view.masks or not is_nested(column.type)]
    if not sortable:
        return Inputs(where, None)
    choices = GraphQLEnumType(
        f"{base}Column",
        {
            names[column.name]: GraphQLEnumValue(column.name, description=column.description or None)
            for column in sortable
        },
        description=f"Columns that rows of {dataset} can be sorted by.",
    )
    order = GraphQLInputObjectType(
        f"{base}Order",
        {
            "column": GraphQLInputField(GraphQLNonNull(choices)),
            "direction": GraphQLInputField(GraphQLNonNull(DIRECTION), default_value="ASC"),
        },
        description="One column to sort by. Nulls come last in either direction.",
    )
    return Inputs(where, order)


DIRECTION = GraphQLEnumType(
    "Direction",
    {
        "ASC": GraphQLEnumValue("ASC", description="Least first."),
        "DESC": GraphQLEnumValue("DESC", description="Greatest first."),
    },
)


_CONDITIONS: dict[str, GraphQLInputObjectType] = {}


def _conditions_on(column_type: str) -> GraphQLInputObjectType:
    """Conditions on a column of that type; one input type for all types that are one scalar."""
    scalar = scalar_of(column_type)
    name = f"{scalar.name if scalar else 'Presence'}Conditions"
    if name in _CONDITIONS:
        return _CONDITIONS[name]
    fields: dict[str, GraphQLInputField] = {}
    for operator in operators_for(column_type) if scalar else ("is_null",):
        kind: Any = scalar
        if operator in ("in", "not_in"):
            kind = GraphQLList(GraphQLNonNull(kind))
        elif operator == "is_null":
            kind = GraphQLBoolean
        fields[_NAMES.get(operator, operator)] = GraphQLInputField(kind, description=_WORDS[operator])
    description = (
        f"Conditions on a value of type {scalar}: all that are said hold."
        if scalar
        else "Whether there is a value."
    )
    return _CONDITIONS.setdefault(name, GraphQLInputObjectType(name, fields, description=description))


_OPERATORS: dict[str, Operator] = {_NAMES.get(operator, operator): operator for operator in _WORDS}


class FilterReader:
    """Reads filters and orders of one dataset.

    Args:
        columns: By what they are called in GraphQL.
        most: As many conditions as one filter may have.
    """

    def __init__(self, columns: Mapping[str, Column], most: int) -> None:
        self._columns = columns
        self._most = most

    def predicate(self, given: Mapping[str, Any] | None) -> Predicate:
        """What a filter means.

        Raises:
            RefusedError: a value does not fit its column, or the filter is too large.
        """
        self._left = self._most
        return self._read(given or {}, 0)

    def sort(self, given: Iterable[Mapping[str, Any]] | None, view: DatasetView) -> tuple[Sort, ...]:
        """What an order means.

        Raises:
            RefusedError: a column is named twice, or is masked.
        """
        found: dict[str, Sort] = {}
        for entry in given or ():
            column = entry["column"]
            if column in view.masks:
                raise RefusedError(
                    f"orderBy: {column} is masked for you: it can be neither filtered nor sorted by"
                )
            if column in found:
                raise RefusedError(f"orderBy: {column} is named twice; name it once")
            found[column] = Sort(column, descending=entry["direction"] == "DESC")
        return tuple(found.values())

    def _read(self, given: Mapping[str, Any], depth: int) -> Predicate:
        if depth > _DEEPEST:
            raise RefusedError(f"where: is nested more than {_DEEPEST} deep; flatten it")
        parts: list[Predicate] = []
        for name, value in given.items():
            if name in ("and", "or"):
                if value is None:
                    raise RefusedError(f"where.{name}: is null; give a list, or leave it out")
                among = tuple(self._read(one, depth + 1) for one in value)
                parts.append(AllOf(among) if name == "and" else AnyOf(among))
            elif name == "not":
                if value is None:
                    raise RefusedError("where.not: is null; give a filter, or leave it out")
                parts.append(Negation(self._read(value, depth + 1)))
            else:
                parts += self._conditions(name, value)
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _conditions(self, name: str, given: Mapping[str, Any] | None) -> Iterable[Predicate]:
        if given is None:
            raise RefusedError(
                f"where.{name}: is null; write {{is_null: true}} for rows without a value, or leave it out"
            )
        column = self._columns[name]
        for spoken, value in given.items():
            self._left -= 1
            if self._left < 0:
                raise RefusedError(f"where: has more than {self._most} conditions; ask for less at once")
            if value is None:
                raise RefusedError(
                    f"where.{name}.{spoken}: is null, and nothing compares with null; "
                    "write {is_null: true}, or leave it out"
                )
            try:
                yield condition(column, _OPERATORS[spoken], value)
            except BadValueError as fault:
                raise RefusedError(f"where.{name}.{spoken}: {fault}") from None


def argument_types(inputs: Inputs) -> dict[str, GraphQLArgument]:
    """The arguments that choose and order rows."""
    found = {"where": GraphQLArgument(inputs.where, description="What must hold of the rows.")}
    if inputs.order is not None:
        found["orderBy"] = GraphQLArgument(
            GraphQLList(GraphQLNonNull(inputs.order)),
            description="Order of the rows; rows that are equal in it come in the order of the key.",
        )
    return found
