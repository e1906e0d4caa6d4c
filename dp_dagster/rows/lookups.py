"""Looking rows up by the values of some columns: the key, or what relates datasets to one another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from dp_dagster.contracts.duckdb_types import duckdb_type
from dp_dagster.engines.duckdb import quote
from dp_dagster.errors import UsageError
from dp_dagster.predicates.model import EVERYTHING
from dp_dagster.rows.conditions import Sql, stored_condition, stored_value
from dp_dagster.rows.forms import form_of
from dp_dagster.rows.layout import FILES_ROW_NUMBER
from dp_dagster.rows.pages import has_texts
from dp_dagster.rows.source import (
    Reading,
    Source,
    both,
    check_selected,
    check_used,
    files_columns,
    reading_of,
    restriction,
    where_clause,
)
from dp_dagster.rows.store import Span

if TYPE_CHECKING:
    from dp_dagster.access.view import DatasetView
    from dp_dagster.rows.matching import Matches
    from dp_dagster.rows.query import Row
    from dp_dagster.rows.store import StoreFile

_ONE_ROW_SECONDS = 1.0


@dataclass(frozen=True)
class LookupPlan:
    """Rows of given values of some columns, from either engine.

    Attributes:
        by: The columns.
        stored: The row store's names of what is given back.
        index: The number of the index that the row store finds them by; ``None`` for the key.
        places: Of the columns of that index or key, in its order, where in ``by`` each stands.
        indexed: Whether there is such a one.
        texts: Whether the row store gives each row as its text.
    """

    source: Source
    view: DatasetView
    by: tuple[str, ...]
    columns: tuple[str, ...]
    reading: Reading
    stored: tuple[str, ...]
    index: int | None
    places: tuple[int, ...]
    indexed: bool
    texts: bool = False

    def key(self, values: Row) -> Row:
        """Values of the columns, as they are stored.

        Raises:
            UsageError: they do not fit.
        """
        if len(values) != len(self.by):
            raise UsageError(f"{len(values)} values are given for {', '.join(self.by)}")
        types = self.source.layout.types
        return tuple(
            stored_value(value, types[name], name) for value, name in zip(values, self.by, strict=True)
        )

    @cached_property
    def own(self) -> tuple[Matches, ...]:
        """The view's own filter; nothing without one."""
        from dp_dagster.rows.matching import matcher

        layout, where = self.source.layout, self.view.rows
        if where == EVERYTHING:
            return ()
        return (matcher(stored_condition(where, layout.types), layout.names, layout.types),)

    def find(self, store: StoreFile, key: Row) -> int | None:
        """The number of the row of a key, where ``by`` is the key and the view has the row.

        Raises:
            StoreError: the file is damaged.
        """
        number = store.find(self.key(key))
        if number is None or not self.own:
            return number
        return next(iter(store.select(Span(number, number + 1), self.own, 1, _ONE_ROW_SECONDS)), None)

    def related(self, store: StoreFile, value: Row, limit: int, seconds: float) -> list[int]:
        """The numbers of the first rows, by key, that have a value.

        Raises:
            TooSlowError: it would take longer than that many seconds.
            StoreError: the file is damaged.
        """
        stored = self.key(value)
        sought = tuple(stored[place] for place in self.places)
        span = Span(
            store.bound(sought, index=self.index),
            store.bound(sought, after=True, index=self.index),
            self.index,
        )
        if self.index is None or len(self.source.layout.indexes[self.index]) == len(sought):
            return store.select(span, self.own, limit, seconds)
        # Of equal beginnings, the rows come in the order of what follows.
        return sorted(store.select(span, self.own, None, seconds))[:limit]

    def files(self, values: list[Row], limit: int | None) -> Sql:
        """For the published files: all values at once; each row is followed by its values of ``by``."""
        source = self.source
        types = source.layout.types
        marks = ", ".join(f"cast(? as {duckdb_type(types[name])})" for name in self.by)
        names = ", ".join(quote(name) for name in self.by)
        tuples = ", ".join([f"({marks})"] * len(values))
        wanted = Sql(
            f"(({names}) in ({tuples}))" if len(self.by) > 1 else f"({names} in ({tuples}))",
            tuple(value for row in values for value in row),
        )
        condition = both(wanted, restriction(source, self.view, EVERYTHING))
        chosen = files_columns(source, (*self.columns, *self.by))
        key = [quote(name) for name in source.layout.key] or [FILES_ROW_NUMBER]
        order = ", ".join(key)
        most = (
            f" qualify row_number() over (partition by {names} order by {order}) <= {limit}"
            if limit is not None
            else ""
        )
        table = source.layout.files_table()
        return replace(
            condition,
            text=f"select {', '.join(chosen)} from {table}{where_clause(condition)}{most} order by {order}",
        )


def plan_lookup(
    source: Source, view: DatasetView, by: tuple[str, ...], columns: tuple[str, ...], *, texts: bool = False
) -> LookupPlan:
    """Plan looking rows up by the values of some columns; with ``texts``, for JSON.

    Raises:
        AccessDeniedError: the view refuses a column.
        UsageError: the version lacks a column, or it cannot be compared.
    """
    layout = source.layout
    check_selected(source, view, columns)
    check_used(source, view, by, "looked up by")
    if not by:
        raise UsageError("there are no columns to look up by")
    for name in by:
        if not form_of(layout.types[name]).ordered:
            raise UsageError(f"column {name} is {layout.types[name]}; it cannot be looked up by")
    width = len(by)
    ways: list[tuple[int | None, tuple[str, ...]]] = [(None, layout.key), *enumerate(layout.indexes)]
    found = [(number, index[:width]) for number, index in ways if set(index[:width]) == set(by)]
    number, ordered = found[0] if found else (None, by)
    return LookupPlan(
        source=source,
        view=view,
        by=by,
        columns=columns,
        reading=reading_of(source, view, columns, encoded=texts),
        stored=tuple(layout.names[name] for name in columns),
        index=number,
        places=tuple(by.index(name) for name in ordered),
        indexed=bool(found),
        texts=texts and has_texts(source, view, columns),
    )
