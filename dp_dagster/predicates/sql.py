"""Predicates as SQL with bound values, for engines whose columns have the contract's own types.

Both dialects are made to mean the same: text is compared by code point, NaN equals itself and is above every
number, and each value is cast to the column's type, so that no engine picks another one to compare in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dp_dagster.contracts.duckdb_types import SCALAR_TYPES
from dp_dagster.errors import UsageError
from dp_dagster.predicates.model import AllOf, Condition, Negation, Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dp_dagster.predicates.model import Predicate

Dialect = Literal["duckdb", "postgres"]

SQL_TYPES: dict[Dialect, dict[str, str]] = {
    "duckdb": SCALAR_TYPES,
    "postgres": {
        "bool": "boolean",
        "int8": "smallint",
        "int16": "smallint",
        "int32": "integer",
        "int64": "bigint",
        "float32": "real",
        "float64": "double precision",
        "string": "text",
        "binary": "bytea",
        "date": "date",
        "timestamp": "timestamp",
        "timestamp(UTC)": "timestamptz",
    },
}
"""Names of the canonical types; those of decimals are SQL's own."""

_MARKS: dict[Dialect, str] = {"duckdb": "?", "postgres": "%s"}
_SIGNS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


@dataclass(frozen=True)
class SqlCondition:
    """An SQL condition, and the values for its marks in order."""

    text: str
    parameters: tuple[Any, ...]


def to_sql(
    predicate: Predicate,
    types: Mapping[str, str],
    dialect: Dialect,
    references: Callable[[str, str, bool], str] | None = None,
) -> SqlCondition:
    """A predicate as SQL.

    Args:
        predicate: Bound; see :mod:`.binding`.
        types: Canonical types of the columns.
        dialect: ``duckdb`` (marks are ``?``) or ``postgres`` (``%s``, as psycopg has it).
        references: For conditions that the engine itself binds: the SQL for a reference's name, as a canonical type;
            for an array of all its values where the third argument says so.

    Raises:
        UsageError: a reference is not bound.
    """
    writer = _Writer(types, dialect, references)
    text = writer.write(predicate)
    return SqlCondition(text, tuple(writer.parameters))


def quoted(name: str, dialect: Dialect) -> str:
    """A name in double quotes. psycopg reads ``%`` even there, so it is doubled for PostgreSQL."""
    text = '"' + name.replace('"', '""') + '"'
    return text.replace("%", "%%") if dialect == "postgres" else text


class _Writer:
    def __init__(
        self,
        types: Mapping[str, str],
        dialect: Dialect,
        references: Callable[[str, str, bool], str] | None,
    ) -> None:
        self.types = types
        self.dialect: Dialect = dialect
        self.references = references
        self.parameters: list[Any] = []

    def write(self, predicate: Predicate) -> str:
        if isinstance(predicate, Condition):
            return self._condition(predicate)
        if isinstance(predicate, Negation):
            return f"(not {self.write(predicate.part)})"
        if not predicate.parts:
            return "true" if isinstance(predicate, AllOf) else "false"
        word = " and " if isinstance(predicate, AllOf) else " or "
        return f"({word.join(self.write(part) for part in predicate.parts)})"

    def _condition(self, condition: Condition) -> str:
        kind = self.types[condition.column]
        column = quoted(condition.column, self.dialect)
        value = condition.value
        if condition.operator == "is_null":
            return f"({column} is {'' if value else 'not '}null)"
        if condition.operator in {"in", "not_in"}:
            if not value:
                return "false" if condition.operator == "in" else "true"
            negation = "not " if condition.operator == "not_in" else ""
            compared = self._compared(column, kind)
            if self.references is not None and any(isinstance(one, Reference) for one in value):
                parts = " or ".join(
                    f"{compared} = any({self.references(one.name, kind, True)})"
                    if isinstance(one, Reference)
                    else f"{compared} = {self._value(one, kind)}"
                    for one in value
                )
                return f"({negation}({parts}))"
            marks = ", ".join(self._value(one, kind) for one in value)
            return f"({compared} {negation}in ({marks}))"
        if condition.operator in _SIGNS:
            return f"({self._compared(column, kind)} {_SIGNS[condition.operator]} {self._value(value, kind)})"
        return self._text(column, condition.operator, value)

    def _compared(self, column: str, kind: str) -> str:
        return f'{column} collate "C"' if self.dialect == "postgres" and kind == "string" else column

    def _text(self, column: str, operator: str, value: str) -> str:
        mark = self._value(value, "string")
        if operator == "contains":
            name = "contains" if self.dialect == "duckdb" else "strpos"
            more = "" if self.dialect == "duckdb" else " > 0"
            return f"({name}({column}, {mark}){more})"
        if operator == "starts_with":
            return f"starts_with({column}, {mark})"
        if self.dialect == "duckdb":
            return f"suffix({column}, {mark})"
        # right(column, 0) is empty, as an empty ending is.
        return f"(right({column}, length({mark})) = {self._value(value, 'string')})"

    def _value(self, value: Any, kind: str) -> str:
        if isinstance(value, Reference):
            if self.references is not None:
                return self.references(value.name, kind, False)
            raise UsageError(f"the filter's {{{value.name}}} is not bound to anybody who asks")
        self.parameters.append(value)
        return f"cast({_MARKS[self.dialect]} as {SQL_TYPES[self.dialect].get(kind, kind)})"
