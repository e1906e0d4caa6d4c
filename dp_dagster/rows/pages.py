"""Pages: from a query and a view to rows, from the row store or as SQL for the published files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from dp_dagster.contracts.duckdb_types import duckdb_type
from dp_dagster.engines.duckdb import quote
from dp_dagster.errors import UsageError
from dp_dagster.predicates.model import EVERYTHING
from dp_dagster.rows.conditions import Ordering, Sql, before, behind
from dp_dagster.rows.forms import form_of
from dp_dagster.rows.layout import FILES_ROW_NUMBER
from dp_dagster.rows.query import Page, Position
from dp_dagster.rows.source import (
    Reading,
    Source,
    both,
    check_selected,
    check_used,
    check_where,
    files_columns,
    reading_of,
    restriction,
    where_clause,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.access.view import DatasetView
    from dp_dagster.rows.query import Query, Row, Sort
    from dp_dagster.rows.store import StoreFile

_MOST_SHAPES = 1024


@dataclass(frozen=True)
class PageShape:
    """What is the same for all pages of one view, selection and order, whatever they are filtered by.

    Attributes:
        reading: How the rows are read.
        order: Columns of the total order; ``None`` is the row's number.
        selected: Columns that are read: those that were asked for, and those of the order.
        places: Where, in a row that DuckDB gives, the position's values stand.
        cheap: Whether the row store has its rows in this order.
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
    def stored(self) -> tuple[str, ...]:
        """The row store's names of the columns that were asked for."""
        return tuple(self.source.layout.names[name] for name in self.columns)

    @cached_property
    def files(self) -> _Clauses:
        """The clauses for the published files."""
        ordering = tuple(self._ordering(name, descending) for name, descending in self.order)
        chosen = files_columns(self.source, self.selected)
        if self.has_number:
            chosen.append(FILES_ROW_NUMBER)
        forward, backward = (
            f" order by {', '.join(one.clause(backward=way) for one in ordering)}" for way in (False, True)
        )
        select = f"select {', '.join(chosen)} from {self.source.layout.files_table()}"
        return _Clauses(select, ordering, forward, backward)

    def _ordering(self, name: str | None, descending: bool) -> Ordering:
        if name is None:
            return Ordering(FILES_ROW_NUMBER, descending, nullable=False)
        return Ordering(quote(name), descending, nullable=name not in self.source.layout.key)


class _Clauses(NamedTuple):
    """The parts of a page's statement that stay the same."""

    select: str
    ordering: tuple[Ordering, ...]
    forward: str
    backward: str


@dataclass(frozen=True)
class PagePlan:
    """A page, from either engine.

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
        """Whether the row store has its rows in this order."""
        return self.shape.cheap

    @property
    def backward(self) -> bool:
        """Whether rows are read from the end."""
        return self.query.backward or self.query.before is not None

    @property
    def is_as_published(self) -> bool:
        """Whether the published files hold their rows in this order already."""
        layout = self.source.layout
        return self.cheap and not self.shape.order[0][1] and (layout.sorted_by_key or not layout.key)

    # -- from the row store ------------------------------------------------------------------------------------

    def stored_page(self, store: StoreFile, seconds: float, most: int | None = None) -> Page:
        """The page from the row store, whose order must be this one (:attr:`cheap`).

        Raises:
            TooSlowError: it would take longer than that many seconds, or looking at more rows than ``most``.
            UsageError: a value is not of its column's type.
            StoreError: the file is damaged.
        """
        from dp_dagster.rows.wanted import wanted_rows

        query, shape = self.query, self.shape
        for position in (query.after, query.before):
            if position is not None:
                # For its checks.
                self.bound(position)
        after = query.after.values if query.after is not None else None
        before = query.before.values if query.before is not None else None
        descends = shape.order[0][1]
        if descends:
            after, before = before, after
        wanted = wanted_rows(
            store, shape.source.layout, shape.view.rows, query.where, after=after, before=before
        )
        limit = query.limit
        numbers = store.select(
            wanted.span,
            wanted.matches,
            None if limit is None else limit + 1,
            seconds,
            most,
            backward=descends != self.backward,
        )
        has_more = limit is not None and len(numbers) > limit
        if has_more:
            numbers.pop()
        if self.backward:
            numbers.reverse()
        texts: list[bytes] = []
        rows: list[Row] = []
        joined: bytes = b""
        if not shape.texts:
            rows, texts, joined = self._shaped(shape.reading.rows(store.values(numbers, shape.stored)))
        elif query.joined:
            joined = store.joined_texts(numbers)
        else:
            texts = store.texts(numbers)
        ends = [numbers[0], numbers[-1]] if numbers else []
        marked = [Position(key) for key in store.keys(numbers if query.positions else ends)]
        return Page(
            columns=query.columns,
            rows=rows,
            first=marked[0] if marked else None,
            last=marked[-1] if marked else None,
            has_more=has_more,
            positions=tuple(marked) if query.positions else (),
            texts=texts,
            joined=joined,
            count=len(numbers),
        )

    def _shaped(self, rows: list[Row]) -> tuple[list[Row], list[bytes], bytes]:
        """Rows in the form that the query asks for: values, texts, or texts that are joined."""
        if not self.query.texts and not self.query.joined:
            return rows, [], b""
        texts = json_texts(self.query.columns, rows)
        return ([], [], b",".join(texts)) if self.query.joined else ([], texts, b"")

    # -- from the published files ------------------------------------------------------------------------------

    def sql(self) -> Sql:
        """The statement for DuckDB; one row more than the limit tells whether there are more."""
        query, clauses = self.query, self.shape.files
        condition = restriction(self.source, self.view, query.where)
        if query.after is not None:
            condition = both(condition, behind(clauses.ordering, *self.bound(query.after)))
        if query.before is not None:
            condition = both(condition, before(clauses.ordering, *self.bound(query.before)))
        order = clauses.backward if self.backward else clauses.forward
        limit = f" limit {query.limit + 1}" if query.limit is not None else ""
        return Sql(f"{clauses.select}{where_clause(condition)}{order}{limit}", condition.values)

    @property
    def may_hold_nan(self) -> bool:
        """Whether a row may hold NaN, which DuckDB gives as it is."""
        types = self.source.layout.types
        return any(form_of(types[name]).has_nan for name in self.shape.selected)

    def page(self, stored: list[Row]) -> Page:
        """The page, from the rows that DuckDB gave."""
        query, shape = self.query, self.shape
        limit = query.limit
        has_more = limit is not None and len(stored) > limit
        if has_more:
            del stored[limit:]
        if self.backward:
            stored.reverse()
        places = shape.places
        width = len(query.columns)
        exact = len(shape.selected) == width and not shape.has_number
        rows, texts, joined = self._shaped(
            shape.reading.rows(stored if exact else [row[:width] for row in stored])
        )
        return Page(
            columns=query.columns,
            rows=rows,
            first=_position(stored[0], places) if stored else None,
            last=_position(stored[-1], places) if stored else None,
            has_more=has_more,
            positions=tuple(_position(row, places) for row in stored) if query.positions else (),
            texts=texts,
            joined=joined,
            count=len(stored),
        )

    @property
    def ordering(self) -> tuple[Ordering, ...]:
        """The total order of the published files."""
        return self.shape.files.ordering

    def bound(self, position: Position) -> tuple[list[Any], list[str]]:
        """The position's values as DuckDB compares them, and their marks.

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
                values.append(value if value is None or read is None else read(value))
            except (ValueError, TypeError, ArithmeticError, IndexError) as error:
                raise UsageError("the position belongs to another query; start again without it") from error
            marks.append(f"cast(? as {duckdb_type(kind)})")
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
    as_texts = query.texts or query.joined
    name = (id(view), query.columns, query.sort, query.encoded, as_texts)
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
        reading=reading_of(source, view, query.columns, encoded=query.encoded or query.texts or query.joined),
        order=order,
        selected=selected,
        places=places,
        cheap=tuple(name for name, _ in order) == natural and len({down for _, down in order}) == 1,
        texts=(query.texts or query.joined) and has_texts(source, view, query.columns),
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
