"""The version that is asked, what a view sees of it, and how its rows are read. What is refused is refused here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dp_dagster.engines.duckdb import quote
from dp_dagster.errors import AccessDeniedError, UsageError
from dp_dagster.predicates.model import EVERYTHING, columns_of
from dp_dagster.predicates.sql import to_sql
from dp_dagster.rows.conditions import Sql, stored_condition
from dp_dagster.rows.forms import form_of, read_rows, readers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dp_dagster.access.view import DatasetView, MaskMethod
    from dp_dagster.contracts.model import Column
    from dp_dagster.predicates.model import Predicate
    from dp_dagster.rows.layout import Layout
    from dp_dagster.rows.query import Row


class Masking(Protocol):
    """How values are masked: :class:`dp_dagster.access.masks.Masks`."""

    def row_function(
        self, view: DatasetView, columns: Sequence[str]
    ) -> Callable[[Sequence[Any]], Row] | None:
        """What masks a row of these columns; ``None`` where none of them is masked."""

    def sql(
        self, column: Column, method: MaskMethod, dialect: Literal["duckdb"]
    ) -> tuple[str, tuple[Any, ...]]:
        """An expression for the masked value of a column, and the values bound in it."""


@dataclass(frozen=True)
class Source:
    """The version that is asked: its layout, its columns and how values are masked.

    Attributes:
        layout: Its columns, key and files.
        columns: By name.
        masks: How values are masked.
    """

    layout: Layout
    columns: dict[str, Column]
    masks: Masking


# -- what a view allows ------------------------------------------------------------------------------------


def check_selected(source: Source, view: DatasetView, columns: Iterable[str]) -> None:
    """Refuse columns that may not be seen, and those that the version lacks.

    Raises:
        AccessDeniedError: names the column; says the same whether or not there is one.
        UsageError: the column may be seen, but this version lacks it.
    """
    granted = set(view.columns)
    for name in columns:
        if name not in granted:
            raise AccessDeniedError(f"column {name!r} is not granted")
        _known(source, name)


def check_used(source: Source, view: DatasetView, columns: Iterable[str], purpose: str) -> None:
    """Refuse columns whose value an answer would tell.

    Raises:
        AccessDeniedError: the column is not granted, or masked; says which.
        UsageError: this version lacks it.
    """
    clear = view.clear
    granted = view.columns
    for name in columns:
        if name not in granted:
            raise AccessDeniedError(f"column {name!r} is not granted")
        if name not in clear:
            raise AccessDeniedError(f"column {name!r} is masked for you; it cannot be {purpose}")
        _known(source, name)


def check_where(source: Source, view: DatasetView, where: Predicate) -> None:
    """:func:`check_used` for a filter; whether its values fit shows when it is written as SQL."""
    check_used(source, view, sorted(columns_of(where)), "filtered by")


def _known(source: Source, name: str) -> None:
    if name not in source.columns:
        raise UsageError(f"this version has no column {name!r}; it has {', '.join(source.columns)}")


# -- rows --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """From stored rows to Python values with masks applied.

    Attributes:
        changed: See :func:`dp_dagster.rows.forms.readers`.
        mask: What masks a row; ``None`` where nothing is masked.
    """

    changed: tuple[tuple[int, Callable[[Any], Any]], ...]
    mask: Callable[[Row], Row] | None

    def row(self, stored: Row) -> Row:
        """One row."""
        if self.changed:
            values = list(stored)
            for number, read in self.changed:
                if values[number] is not None:
                    values[number] = read(values[number])
            stored = tuple(values)
        return stored if self.mask is None else self.mask(stored)

    def rows(self, stored: list[Row]) -> list[Row]:
        """Many rows."""
        found = read_rows(stored, self.changed)
        return found if self.mask is None else list(map(self.mask, found))


def reading_of(
    source: Source, view: DatasetView, columns: tuple[str, ...], *, encoded: bool = False
) -> Reading:
    """How rows of these columns are read for a view. Masks give texts or null, whichever way values are read."""
    types = tuple(source.layout.types[name] for name in columns)
    return Reading(readers(types, encoded=encoded), source.masks.row_function(view, columns))


def files_columns(source: Source, columns: Iterable[str]) -> list[str]:
    """The stored forms of columns, in DuckDB's SQL."""
    types = source.layout.types
    return [form_of(types[name]).store(quote(name)) for name in columns]


def restriction(source: Source, view: DatasetView, where: Predicate) -> Sql:
    """The query's filter and the view's own, as one condition in DuckDB's SQL; empty where there is none."""
    parts = []
    types = source.layout.types
    for predicate in (view.rows, where):
        if predicate != EVERYTHING:
            # For its checks: both engines then refuse the same.
            stored_condition(predicate, types)
            found = to_sql(predicate, types, "duckdb")
            parts.append(Sql(found.text, found.parameters))
    return both(*parts)


def both(*parts: Sql) -> Sql:
    """All of these conditions; those that are empty are left out."""
    given = [part for part in parts if part.text]
    return Sql(
        " and ".join(part.text for part in given), tuple(value for part in given for value in part.values)
    )


def where_clause(condition: Sql) -> str:
    """``where …``, or nothing."""
    return f" where {condition.text}" if condition.text else ""
