"""From a query and a view to SQL for either engine. What the view refuses is refused here, before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dp_dagster.engines.duckdb import quote
from dp_dagster.errors import AccessDeniedError, UsageError
from dp_dagster.predicates.model import EVERYTHING, columns_of
from dp_dagster.predicates.sql import to_sql
from dp_dagster.rows.conditions import Ordering, Sql, before, behind, condition_sql, stored_value
from dp_dagster.rows.files import duckdb_type
from dp_dagster.rows.forms import form_of, read_rows, readers
from dp_dagster.rows.layout import FILES_ROW_NUMBER, ROW_NUMBER, TABLE
from dp_dagster.rows.query import Page, Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dp_dagster.access.view import DatasetView, MaskMethod
    from dp_dagster.contracts.model import Column
    from dp_dagster.predicates.model import Predicate
    from dp_dagster.rows.layout import Layout
    from dp_dagster.rows.query import Query, Row, Sort


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
    granted = set(view.columns)
    for name in columns:
        if name not in granted:
            raise AccessDeniedError(f"column {name!r} is not granted")
        if name not in clear:
            raise AccessDeniedError(f"column {name!r} is masked for you; it cannot be {purpose}")
        _known(source, name)


def check_where(source: Source, view: DatasetView, where: Predicate) -> None:
    """:func:`check_used` for a filter, whose values must fit, too."""
    check_used(source, view, sorted(columns_of(where)), "filtered by")
    # Rendered for its checks: both engines then refuse the same.
    condition_sql(where, source.layout.names, source.layout.types)


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


def stored_columns(source: Source, columns: Iterable[str], *, of_files: bool) -> list[str]:
    """The stored forms of columns, in SQLite's SQL or (``of_files``) in DuckDB's."""
    layout = source.layout
    if of_files:
        return [form_of(layout.types[name]).store(quote(name)) for name in columns]
    return [layout.names[name] for name in columns]


def restriction(source: Source, view: DatasetView, where: Predicate, *, of_files: bool) -> Sql:
    """The query's filter and the view's own, as one condition; empty where there is none."""
    parts = []
    for predicate in (where, view.rows):
        if predicate == EVERYTHING:
            continue
        if of_files:
            found = to_sql(predicate, source.layout.types, "duckdb")
            parts.append(Sql(found.text, found.parameters))
        else:
            parts.append(condition_sql(predicate, source.layout.names, source.layout.types))
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


# -- pages -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PagePlan:
    """A page as SQL for either engine.

    Attributes:
        query: What was asked.
        reading: How the rows are read.
        order: Columns of the total order; ``None`` is the row's number.
        places: Where, in a row that the engines give, the position's values stand.
        cheap: Whether the row store gives rows in this order without sorting.
    """

    source: Source
    view: DatasetView
    query: Query
    reading: Reading
    order: tuple[tuple[str | None, bool], ...]
    selected: tuple[str, ...]
    places: tuple[int, ...]
    cheap: bool

    def sql(self, *, of_files: bool) -> Sql:
        """The statement; one row more than the limit tells whether there are more."""
        source, query = self.source, self.query
        chosen = stored_columns(source, self.selected, of_files=of_files)
        if self.has_number:
            chosen.append(FILES_ROW_NUMBER if of_files else ROW_NUMBER)
        ordering = self.ordering(of_files=of_files)
        condition = restriction(source, self.view, query.where, of_files=of_files)
        backward = self.backward
        if query.after is not None:
            condition = both(condition, behind(ordering, *self.bound(query.after, of_files=of_files)))
        if query.before is not None:
            condition = both(condition, before(ordering, *self.bound(query.before, of_files=of_files)))
        order = ", ".join(one.clause(backward=backward) for one in ordering)
        table = source.layout.files_table() if of_files else TABLE
        limit = f" limit {query.limit + 1}" if query.limit is not None else ""
        return replace(
            condition,
            text=f"select {', '.join(chosen)} from {table}{where_clause(condition)} order by {order}{limit}",
        )

    @property
    def may_hold_nan(self) -> bool:
        """Whether a row may hold NaN, which the engines keep apart differently."""
        types = self.source.layout.types
        return any(form_of(types[name]).has_nan for name in self.selected)

    @property
    def has_number(self) -> bool:
        """Whether the row's number is part of the order."""
        return self.order[-1][0] is None

    @property
    def backward(self) -> bool:
        """Whether rows are read from the end."""
        return self.query.backward or self.query.before is not None

    def page(self, stored: list[Row]) -> Page:
        """The page, from the rows that an engine gave."""
        limit = self.query.limit
        has_more = limit is not None and len(stored) > limit
        if has_more:
            del stored[limit:]
        if self.backward:
            stored.reverse()
        width = len(self.query.columns)
        exact = len(self.selected) == width and not self.has_number
        rows = self.reading.rows(stored if exact else [row[:width] for row in stored])
        return Page(
            columns=self.query.columns,
            rows=rows,
            first=self._position(stored[0]) if stored else None,
            last=self._position(stored[-1]) if stored else None,
            has_more=has_more,
            positions=tuple(map(self._position, stored)) if self.query.positions else (),
        )

    def _position(self, row: Row) -> Position:
        return Position(tuple(row[place] for place in self.places))

    def ordering(self, *, of_files: bool) -> list[Ordering]:
        """The total order."""
        return [self._ordering(name, descending, of_files) for name, descending in self.order]

    @property
    def is_as_published(self) -> bool:
        """Whether the published files hold their rows in this order already."""
        layout = self.source.layout
        return self.cheap and not self.order[0][1] and (layout.sorted_by_key or not layout.key)

    def _ordering(self, name: str | None, descending: bool, of_files: bool) -> Ordering:
        if name is None:
            return Ordering(FILES_ROW_NUMBER if of_files else ROW_NUMBER, descending, nullable=False)
        column = quote(name) if of_files else self.source.layout.names[name]
        return Ordering(column, descending, nullable=name not in self.source.layout.key)

    def bound(self, position: Position, *, of_files: bool) -> tuple[list[Any], list[str]]:
        """The position's values as the engine compares them, and their marks.

        Raises:
            UsageError: the position belongs to another query.
        """
        if len(position.values) != len(self.order):
            raise UsageError("the position belongs to another query; start again without it")
        values, marks = [], []
        for value, (name, _) in zip(position.values, self.order, strict=True):
            kind = "int64" if name is None else self.source.layout.types[name]
            read = form_of(kind).read
            try:
                natural = value if value is None or read is None else read(value)
            except (ValueError, TypeError, ArithmeticError, IndexError) as error:
                raise UsageError("the position belongs to another query; start again without it") from error
            values.append(natural if of_files else value)
            marks.append(f"cast(? as {duckdb_type(kind)})" if of_files else "?")
        return values, marks


def plan_page(source: Source, view: DatasetView, query: Query) -> PagePlan:
    """Plan a page.

    Raises:
        AccessDeniedError: the view refuses a column.
        UsageError: the query asks for what cannot be.
    """
    check_selected(source, view, query.columns)
    check_where(source, view, query.where)
    if query.limit is not None and query.limit < 1:
        raise UsageError(f"a limit of {query.limit} is refused; give 1 or more")
    if query.after is not None and query.before is not None:
        raise UsageError("a page goes on behind one position or in front of one, not both")
    order = total_order(source, view, query.sort)
    by = [name for name, _ in order if name is not None]
    selected = (*query.columns, *(name for name in by if name not in query.columns))
    places = tuple(len(selected) if name is None else selected.index(name) for name, _ in order)
    natural: tuple[str | None, ...] = source.layout.key or (None,)
    cheap = tuple(name for name, _ in order) == natural and len({down for _, down in order}) == 1
    return PagePlan(
        source,
        view,
        query,
        reading_of(source, view, query.columns, encoded=query.encoded),
        order,
        selected,
        places,
        cheap,
    )


def total_order(
    source: Source, view: DatasetView, sort: tuple[Sort, ...]
) -> tuple[tuple[str | None, bool], ...]:
    """The columns of a total order with their directions; the key, or the row's number, comes last.

    What the caller does not sort by goes in the direction of the last column given.

    Raises:
        AccessDeniedError: the view refuses a column.
        UsageError: a column cannot be sorted by, or is named twice.
    """
    key = source.layout.key
    named = [one.column for one in sort]
    check_used(source, view, [*named, *key], "sorted by")
    if len(set(named)) != len(named):
        raise UsageError("a column is sorted by twice; name each once")
    for name in named:
        if not form_of(source.layout.types[name]).ordered:
            raise UsageError(f"column {name} is {source.layout.types[name]}; it cannot be sorted by")
    down = sort[-1].descending if sort else False
    order: list[tuple[str | None, bool]] = [(one.column, one.descending) for one in sort]
    if set(key) <= set(named) and key:
        return tuple(order)
    order += [(name, down) for name in key if name not in named] if key else [(None, down)]
    return tuple(order)


# -- looking up --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LookupPlan:
    """Rows of given values of some columns, as SQL for either engine.

    Attributes:
        by: The columns.
        store: For the row store: one value of ``by`` at a time, in the order of the key.
        bound: The values of the view's own filter, which come after those of ``by``.
        indexed: Whether the row store finds them without reading everything.
    """

    source: Source
    view: DatasetView
    by: tuple[str, ...]
    columns: tuple[str, ...]
    reading: Reading
    store: str
    bound: tuple[Any, ...]
    indexed: bool

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
        condition = both(wanted, restriction(source, self.view, EVERYTHING, of_files=True))
        chosen = stored_columns(source, (*self.columns, *self.by), of_files=True)
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
    source: Source, view: DatasetView, by: tuple[str, ...], columns: tuple[str, ...]
) -> LookupPlan:
    """Plan looking rows up by the values of some columns.

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
    own = restriction(source, view, EVERYTHING, of_files=False)
    wanted = " and ".join(f"{layout.names[name]} = ?" for name in by)
    chosen = stored_columns(source, columns, of_files=False) or ["1"]
    order = ", ".join(layout.names[name] for name in layout.key) or ROW_NUMBER
    ordered = "" if by == layout.key else f" order by {order}"
    also = f" and {own.text}" if own.text else ""
    return LookupPlan(
        source=source,
        view=view,
        by=by,
        columns=columns,
        reading=reading_of(source, view, columns),
        store=f"select {', '.join(chosen)} from {TABLE} where {wanted}{also}{ordered}",
        bound=own.values,
        indexed=any(
            set(index[: len(by)]) == set(by)
            for index in (layout.key, *layout.indexes)
            if len(index) >= len(by)
        ),
    )
