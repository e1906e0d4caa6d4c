"""From a query and a view to SQL for either engine. What the view refuses is refused here, before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from dp_dagster.contracts.duckdb_types import duckdb_type
from dp_dagster.engines.duckdb import quote
from dp_dagster.errors import AccessDeniedError, UsageError
from dp_dagster.predicates.model import EVERYTHING, columns_of
from dp_dagster.predicates.sql import to_sql
from dp_dagster.rows.conditions import Ordering, Sql, before, behind, condition_sql, stored_value
from dp_dagster.rows.forms import form_of, read_rows, readers
from dp_dagster.rows.layout import FILES_ROW_NUMBER, ROW_NUMBER, TABLE, TEXT
from dp_dagster.rows.query import Page, Position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dp_dagster.access.view import DatasetView, MaskMethod
    from dp_dagster.contracts.model import Column
    from dp_dagster.predicates.model import Predicate
    from dp_dagster.rows.layout import Layout
    from dp_dagster.rows.query import Query, Row, Sort


_MOST_SHAPES = 1024


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


def stored_columns(source: Source, columns: Iterable[str], *, of_files: bool) -> list[str]:
    """The stored forms of columns, in SQLite's SQL or (``of_files``) in DuckDB's."""
    layout = source.layout
    if of_files:
        return [form_of(layout.types[name]).store(quote(name)) for name in columns]
    return [layout.names[name] for name in columns]


def restriction(source: Source, view: DatasetView, where: Predicate, *, of_files: bool) -> Sql:
    """The query's filter and the view's own, as one condition; empty where there is none."""
    parts = []
    # The view's comes first: SQLite looks at nothing else of a row that is hidden, so its values cost nobody anything.
    for predicate in (view.rows, where):
        if predicate == EVERYTHING:
            continue
        stored = condition_sql(predicate, source.layout.names, source.layout.types)
        if of_files:
            # Rendered for the row store nonetheless, for its checks: both engines then refuse the same.
            found = to_sql(predicate, source.layout.types, "duckdb")
            parts.append(Sql(found.text, found.parameters))
        else:
            parts.append(stored)
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
class PageShape:
    """What is the same for all pages of one view, selection and order, whatever they are filtered by.

    Attributes:
        reading: How the rows are read.
        order: Columns of the total order; ``None`` is the row's number.
        selected: Columns that are read: those that were asked for, and those of the order.
        places: Where, in a row that the engines give, the position's values stand.
        cheap: Whether the row store gives rows in this order without sorting.
        texts: Whether the row store has what was asked for as texts.
    """

    source: Source
    view: DatasetView
    columns: tuple[str, ...]
    reading: Reading
    order: tuple[tuple[str | None, bool], ...]
    selected: tuple[str, ...]
    places: tuple[int, ...]
    cheap: bool
    texts: bool

    @property
    def has_number(self) -> bool:
        """Whether the row's number is part of the order."""
        return self.order[-1][0] is None

    @cached_property
    def stored(self) -> _Clauses:
        """The clauses for the row store."""
        return self._clauses(of_files=False)

    @cached_property
    def files(self) -> _Clauses:
        """The clauses for the published files."""
        return self._clauses(of_files=True)

    def _clauses(self, *, of_files: bool) -> _Clauses:
        layout = self.source.layout
        ordering = tuple(self._ordering(name, descending, of_files) for name, descending in self.order)
        if self.texts and not of_files:
            chosen = [TEXT, *(one.name for one in ordering)]
        else:
            chosen = stored_columns(self.source, self.selected, of_files=of_files)
            if self.has_number:
                chosen.append(FILES_ROW_NUMBER if of_files else ROW_NUMBER)
        table = layout.files_table() if of_files else TABLE
        forward, backward = (
            f" order by {', '.join(one.clause(backward=way) for one in ordering)}" for way in (False, True)
        )
        return _Clauses(f"select {', '.join(chosen)} from {table}", ordering, forward, backward)

    def _ordering(self, name: str | None, descending: bool, of_files: bool) -> Ordering:
        if name is None:
            return Ordering(FILES_ROW_NUMBER if of_files else ROW_NUMBER, descending, nullable=False)
        column = quote(name) if of_files else self.source.layout.names[name]
        return Ordering(column, descending, nullable=name not in self.source.layout.key)


class _Clauses(NamedTuple):
    """The parts of a page's statement that stay the same."""

    select: str
    ordering: tuple[Ordering, ...]
    forward: str
    backward: str


@dataclass(frozen=True)
class PagePlan:
    """A page as SQL for either engine.

    Attributes:
        shape: What does not depend on the filter.
        query: What was asked.
    """

    shape: PageShape
    query: Query

    @property
    def source(self) -> Source:
        """The version that is asked."""
        return self.shape.source

    @property
    def view(self) -> DatasetView:
        """Who asks, as far as rows and columns are concerned."""
        return self.shape.view

    @property
    def cheap(self) -> bool:
        """Whether the row store gives rows in this order without sorting."""
        return self.shape.cheap

    def sql(self, *, of_files: bool) -> Sql:
        """The statement; one row more than the limit tells whether there are more."""
        query = self.query
        clauses = self.shape.files if of_files else self.shape.stored
        condition = restriction(self.source, self.view, query.where, of_files=of_files)
        if query.after is not None:
            condition = both(condition, behind(clauses.ordering, *self.bound(query.after, of_files=of_files)))
        if query.before is not None:
            condition = both(
                condition, before(clauses.ordering, *self.bound(query.before, of_files=of_files))
            )
        order = clauses.backward if self.backward else clauses.forward
        limit = f" limit {query.limit + 1}" if query.limit is not None else ""
        return Sql(f"{clauses.select}{where_clause(condition)}{order}{limit}", condition.values)

    @property
    def may_hold_nan(self) -> bool:
        """Whether a row may hold NaN, which the engines keep apart differently."""
        types = self.source.layout.types
        return any(form_of(types[name]).has_nan for name in self.shape.selected)

    @property
    def backward(self) -> bool:
        """Whether rows are read from the end."""
        return self.query.backward or self.query.before is not None

    def page(self, stored: list[Row], *, of_files: bool = False) -> Page:
        """The page, from the rows that an engine gave."""
        query, shape = self.query, self.shape
        limit = query.limit
        has_more = limit is not None and len(stored) > limit
        if has_more:
            del stored[limit:]
        if self.backward:
            stored.reverse()
        places = shape.places
        texts: list[bytes] = []
        rows: list[Row] = []
        if shape.texts and not of_files:
            texts = [row[0] for row in stored]
            places = tuple(range(1, 1 + len(shape.order)))
        else:
            width = len(query.columns)
            exact = len(shape.selected) == width and not shape.has_number
            rows = shape.reading.rows(stored if exact else [row[:width] for row in stored])
            if query.texts:
                texts, rows = json_texts(query.columns, rows), []
        return Page(
            columns=query.columns,
            rows=rows,
            first=_position(stored[0], places) if stored else None,
            last=_position(stored[-1], places) if stored else None,
            has_more=has_more,
            positions=tuple(_position(row, places) for row in stored) if query.positions else (),
            texts=texts,
        )

    def ordering(self, *, of_files: bool) -> tuple[Ordering, ...]:
        """The total order."""
        return (self.shape.files if of_files else self.shape.stored).ordering

    @property
    def is_as_published(self) -> bool:
        """Whether the published files hold their rows in this order already."""
        layout = self.source.layout
        return self.cheap and not self.shape.order[0][1] and (layout.sorted_by_key or not layout.key)

    def bound(self, position: Position, *, of_files: bool) -> tuple[list[Any], list[str]]:
        """The position's values as the engine compares them, and their marks.

        Raises:
            UsageError: the position belongs to another query.
        """
        order = self.shape.order
        if len(position.values) != len(order):
            raise UsageError("the position belongs to another query; start again without it")
        values, marks = [], []
        for value, (name, _) in zip(position.values, order, strict=True):
            kind = "int64" if name is None else self.source.layout.types[name]
            read = form_of(kind).read
            try:
                natural = value if value is None or read is None else read(value)
            except (ValueError, TypeError, ArithmeticError, IndexError) as error:
                raise UsageError("the position belongs to another query; start again without it") from error
            values.append(natural if of_files else value)
            marks.append(f"cast(? as {duckdb_type(kind)})" if of_files else "?")
        return values, marks


def _position(row: Row, places: tuple[int, ...]) -> Position:
    return Position(tuple(row[place] for place in places))


def json_texts(columns: tuple[str, ...], rows: Iterable[Row]) -> list[bytes]:
    """Encoded rows as the texts of JSON objects."""
    import orjson

    return [orjson.dumps(dict(zip(columns, row, strict=True))) for row in rows]


def plan_page(
    source: Source, view: DatasetView, query: Query, shapes: dict[tuple[Any, ...], PageShape] | None = None
) -> PagePlan:
    """Plan a page.

    Args:
        source: The version that is asked.
        view: Who asks.
        query: What is asked.
        shapes: Those that were made before, of the same version; new ones are added.

    Raises:
        AccessDeniedError: the view refuses a column.
        UsageError: the query asks for what cannot be.
    """
    # By identity, which costs nothing. The shape keeps its view alive, so nobody else can have its id.
    name = (id(view), query.columns, query.sort, query.encoded, query.texts)
    shape = None if shapes is None else shapes.get(name)
    if shape is None or shape.view is not view:
        shape = page_shape(source, view, query)
        if shapes is not None:
            if len(shapes) >= _MOST_SHAPES:
                shapes.clear()
            shapes[name] = shape
    if query.where != EVERYTHING:
        check_where(source, view, query.where)
    if query.limit is not None and query.limit < 1:
        raise UsageError(f"a limit of {query.limit} is refused; give 1 or more")
    if query.after is not None and query.before is not None:
        raise UsageError("a page goes on behind one position or in front of one, not both")
    return PagePlan(shape, query)


def page_shape(source: Source, view: DatasetView, query: Query) -> PageShape:
    """What is the same for all pages of this selection and order.

    Raises:
        AccessDeniedError: the view refuses a column.
        UsageError: the query asks for what cannot be.
    """
    check_selected(source, view, query.columns)
    order = total_order(source, view, query.sort)
    by = [name for name, _ in order if name is not None]
    selected = (*query.columns, *(name for name in by if name not in query.columns))
    places = tuple(len(selected) if name is None else selected.index(name) for name, _ in order)
    natural: tuple[str | None, ...] = source.layout.key or (None,)
    return PageShape(
        source=source,
        view=view,
        columns=query.columns,
        reading=reading_of(source, view, query.columns, encoded=query.encoded or query.texts),
        order=order,
        selected=selected,
        places=places,
        cheap=tuple(name for name, _ in order) == natural and len({down for _, down in order}) == 1,
        texts=query.texts and has_texts(source, view, query.columns),
    )


def has_texts(source: Source, view: DatasetView, columns: tuple[str, ...]) -> bool:
    """Whether the texts of the row store are what a view sees in these columns."""
    layout = source.layout
    return layout.texts and not view.masks and columns == tuple(layout.types)


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
        texts: Whether the row store gives each row as its text.
    """

    source: Source
    view: DatasetView
    by: tuple[str, ...]
    columns: tuple[str, ...]
    reading: Reading
    store: str
    bound: tuple[Any, ...]
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
    own = restriction(source, view, EVERYTHING, of_files=False)
    wanted = " and ".join(f"{layout.names[name]} = ?" for name in by)
    stored_texts = texts and has_texts(source, view, columns)
    chosen = [TEXT] if stored_texts else stored_columns(source, columns, of_files=False) or ["1"]
    order = ", ".join(layout.names[name] for name in layout.key) or ROW_NUMBER
    ordered = "" if by == layout.key else f" order by {order}"
    also = f" and {own.text}" if own.text else ""
    return LookupPlan(
        source=source,
        view=view,
        by=by,
        columns=columns,
        reading=reading_of(source, view, columns, encoded=texts),
        store=f"select {', '.join(chosen)} from {TABLE} where {wanted}{also}{ordered}",
        bound=own.values,
        indexed=any(
            set(index[: len(by)]) == set(by)
            for index in (layout.key, *layout.indexes)
            if len(index) >= len(by)
        ),
        texts=stored_texts,
    )
