"""One published version, asked through its row store where that is there, through its files where it is not."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dp_dagster.errors import QueryLimitError, StoreError
from dp_dagster.predicates.model import EVERYTHING, Condition, Negation
from dp_dagster.rows.files import too_long
from dp_dagster.rows.lookups import plan_lookup
from dp_dagster.rows.pages import json_texts, plan_page
from dp_dagster.rows.source import Source, check_where, restriction, where_clause
from dp_dagster.rows.store import TooSlowError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from datetime import datetime

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column
    from dp_dagster.predicates.model import Predicate
    from dp_dagster.rows.export import Export, Exports
    from dp_dagster.rows.files import FilesEngine
    from dp_dagster.rows.lookups import LookupPlan
    from dp_dagster.rows.pages import PagePlan, PageShape
    from dp_dagster.rows.query import Format, Page, Query, Row
    from dp_dagster.rows.store import StoreFile

_LOG = logging.getLogger("dp_dagster.serving")
_KEPT = 1024
"""How many plans, counts and slow filters are remembered."""
_AT_ONCE_LOOKS = 200_000
"""At how many rows an event loop may look for one page, some milliseconds; what takes more goes to a thread. Rows and
not time: how busy the machine is says nothing of the filter."""
_AT_ONCE_ROWS = 1000
_AT_ONCE_LOOKUPS = 100
_LONGEST_PAUSE = 7

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """What one question may cost.

    Attributes:
        seconds: How long it may take.
        related_rows: How many rows one :meth:`PublishedVersion.lookup_many` may give.
    """

    seconds: float = 30.0
    related_rows: int = 100_000


@dataclass
class _Slow:
    """A filter that took the row store too long: how often it is not tried now, and was not before."""

    left: int = 0
    pause: int = 0


class PublishedVersion:
    """See :class:`dp_dagster.rows.query.ServedVersion`.

    ``store`` is put in when the row store has been built, and taken out when it turns out to be damaged; both at
    any time, in any thread.
    """

    def __init__(
        self,
        source: Source,
        *,
        version: int,
        published_at: datetime,
        rows: int,
        engine: FilesEngine,
        exports: Exports,
        workers: Executor,
        limits: Limits,
        on_damage: Callable[[PublishedVersion, StoreFile], None] | None = None,
    ) -> None:
        self.version = version
        self.published_at = published_at
        self.rows = rows
        self.columns: tuple[Column, ...] = tuple(source.columns.values())
        self.key: tuple[str, ...] = source.layout.key
        self.source = source
        self.store: StoreFile | None = None
        self._engine = engine
        self._exports = exports
        self._workers = workers
        self._limits = limits
        self._on_damage = on_damage
        self._lookups: dict[tuple[Any, ...], LookupPlan] = {}
        self._counts: dict[tuple[str, Predicate], int] = {}
        self._slow: dict[tuple[Any, ...], _Slow] = {}
        self._shapes: dict[tuple[Any, ...], PageShape] = {}

    # -- one row ---------------------------------------------------------------------------------------

    def lookup(self, view: DatasetView, key: Row, columns: tuple[str, ...]) -> Row | None:
        """The row of that key; ``None`` if there is none, or none for this view."""
        plan = self._plan(view, self.key, columns)
        store = self.store
        if store is not None:
            try:
                return self._stored_row(store, plan, key)
            except StoreError as error:
                self.damaged(store, error)
        found = self._from_files(plan, [key], None)
        return next(iter(found.values()))[0] if found else None

    async def fetch_row(self, view: DatasetView, key: Row, columns: tuple[str, ...]) -> Row | None:
        """:meth:`lookup`, for an event loop."""
        store = self.store
        if store is not None:
            try:
                return self._stored_row(store, self._plan(view, self.key, columns), key)
            except StoreError as error:
                self.damaged(store, error)
        return await self._in_thread(self.lookup, view, key, columns)

    async def fetch_text(self, view: DatasetView, key: Row, columns: tuple[str, ...]) -> bytes | None:
        """:meth:`fetch_row` as the text of a JSON object."""
        plan = self._plan(view, self.key, columns, texts=True)
        store = self.store
        if store is not None:
            try:
                if plan.texts:
                    number = plan.find(store, key)
                    return None if number is None else store.texts((number,))[0]
                row = self._stored_row(store, plan, key)
            except StoreError as error:
                self.damaged(store, error)
            else:
                return None if row is None else json_texts(columns, [row])[0]
        many = await self._in_thread(self._from_files, plan, [key], None)
        return json_texts(columns, many[key])[0] if many else None

    def _stored_row(self, store: StoreFile, plan: LookupPlan, key: Row) -> Row | None:
        number = plan.find(store, key)
        return None if number is None else plan.reading.row(store.values((number,), plan.stored)[0])

    def _plan(
        self, view: DatasetView, by: tuple[str, ...], columns: tuple[str, ...], *, texts: bool = False
    ) -> LookupPlan:
        # By identity: views are kept, and hashing one costs more than the lookup. The plan keeps its view alive,
        # so nobody else can have its id.
        name = (id(view), by, columns, texts)
        plan = self._lookups.get(name)
        if plan is None or plan.view is not view:
            plan = plan_lookup(self.source, view, by, columns, texts=texts)
            _remember(self._lookups, name, plan)
        return plan

    # -- related rows ----------------------------------------------------------------------------------

    def lookup_many(
        self,
        view: DatasetView,
        by: tuple[str, ...],
        values: list[Row],
        columns: tuple[str, ...],
        *,
        limit: int | None = None,
    ) -> dict[Row, list[Row]]:
        """Rows by the values of some columns."""
        plan = self._plan(view, by, columns)
        wanted = list(dict.fromkeys(values))
        store = self.store
        if not wanted:
            return {}
        if store is not None and plan.indexed:
            try:
                return self._stored_rows(store, plan, wanted, limit)
            except TooSlowError:
                raise too_long(self._limits.seconds) from None
            except StoreError as error:
                self.damaged(store, error)
        return self._from_files(plan, wanted, limit)

    async def fetch_related(
        self,
        view: DatasetView,
        by: tuple[str, ...],
        values: list[Row],
        columns: tuple[str, ...],
        *,
        limit: int | None = None,
    ) -> dict[Row, list[Row]]:
        """:meth:`lookup_many`, for an event loop."""
        few = len(values) <= _AT_ONCE_LOOKUPS and (by == self.key or limit is not None)
        if few and self.store is not None and self._plan(view, by, columns).indexed:
            return self.lookup_many(view, by, values, columns, limit=limit)
        return await self._in_thread(lambda: self.lookup_many(view, by, values, columns, limit=limit))

    def _stored_rows(
        self, store: StoreFile, plan: LookupPlan, wanted: list[Row], limit: int | None
    ) -> dict[Row, list[Row]]:
        found: dict[Row, list[Row]] = {}
        left = self._limits.related_rows
        for value in wanted:
            most = left + 1 if limit is None else min(limit, left + 1)
            numbers = plan.related(store, value, most, self._limits.seconds)
            left -= len(numbers)
            if left < 0:
                raise self._too_many()
            if numbers:
                found[value] = plan.reading.rows(store.values(numbers, plan.stored))
        return found

    def _from_files(self, plan: LookupPlan, wanted: list[Row], limit: int | None) -> dict[Row, list[Row]]:
        by_stored = {plan.key(value): value for value in wanted}
        sql = plan.files(wanted, limit)
        most = self._limits.related_rows
        rows = self._engine.rows(f"{sql.text} limit {most + 1}", sql.values, self._limits.seconds)
        if len(rows) > most:
            raise self._too_many()
        width = len(plan.columns)
        found: dict[Row, list[Row]] = {}
        for row in rows:
            value = by_stored.get(_as_stored(row[width:]))
            if value is not None:
                found.setdefault(value, []).append(plan.reading.row(row[:width]) if width else ())
        return {value: found[value] for value in wanted if value in found}

    def _too_many(self) -> QueryLimitError:
        return QueryLimitError(
            f"more than {self._limits.related_rows} related rows; ask for fewer of them, or with a limit"
        )

    # -- pages -----------------------------------------------------------------------------------------

    def page(self, view: DatasetView, query: Query) -> Page:
        """Rows in order, at most ``query.limit``."""
        plan = plan_page(self.source, view, query, self._shapes)
        page = self._stored_page(plan)
        return self._page_from_files(plan) if page is None else page

    async def fetch_page(self, view: DatasetView, query: Query) -> Page:
        """:meth:`page`, for an event loop."""
        if query.limit is None or query.limit > _AT_ONCE_ROWS:
            return await self._in_thread(self.page, view, query)
        plan = plan_page(self.source, view, query, self._shapes)
        page = self._stored_page(plan, _AT_ONCE_LOOKS)
        return await self._in_thread(self._page_from_files, plan) if page is None else page

    def _stored_page(self, plan: PagePlan, most: int | None = None) -> Page | None:
        """The page from the row store; ``None`` where the files would be quicker."""
        store = self.store
        if store is None or not plan.cheap:
            return None
        query = plan.query
        slow = None
        if query.where != EVERYTHING or plan.view.rows != EVERYTHING:
            name = (plan.view.fingerprint, shape_of(query.where), plan.backward, plan.shape.order[0][1])
            slow = self._slow.get(name)
            if slow is not None and slow.left:
                slow.left -= 1
                return None
        try:
            page = plan.stored_page(store, self._limits.seconds, most)
        except TooSlowError:
            # A filter that few rows pass: the row store would look at all of them. The same filter with other values
            # may be quick, so it is tried again, at first soon and then less often.
            if slow is None:
                _remember(self._slow, name, _Slow())
            else:
                slow.left = slow.pause = min(2 * slow.pause + 1, _LONGEST_PAUSE)
        except StoreError as error:
            self.damaged(store, error)
        else:
            if slow is not None:
                self._slow.pop(name, None)
            return page
        return None

    def _page_from_files(self, plan: PagePlan) -> Page:
        sql = plan.sql()
        rows = self._engine.rows(sql.text, sql.values, self._limits.seconds)
        return plan.page([_as_stored(row) for row in rows] if plan.may_hold_nan else rows)

    # -- counts ----------------------------------------------------------------------------------------

    def count(self, view: DatasetView, where: Predicate = EVERYTHING) -> int:
        """How many rows there are for this view."""
        check_where(self.source, view, where)
        if where == EVERYTHING and view.rows == EVERYTHING:
            return self.rows
        name = (view.fingerprint, where)
        found = self._counts.get(name)
        if found is None:
            condition = restriction(self.source, view, where)
            found = int(
                self._engine.rows(
                    f"select count(*) from {self.files_scan}{where_clause(condition)}",
                    condition.values,
                    self._limits.seconds,
                )[0][0]
            )
            _remember(self._counts, name, found)
        return found

    async def fetch_count(self, view: DatasetView, where: Predicate = EVERYTHING) -> int:
        """:meth:`count`, for an event loop."""
        if (where == EVERYTHING and view.rows == EVERYTHING) or (view.fingerprint, where) in self._counts:
            return self.count(view, where)
        return await self._in_thread(self.count, view, where)

    def known_count(self, plan: PagePlan) -> int | None:
        """How many rows an export has, where that is known without counting."""
        query, view = plan.query, plan.view
        if not _is_all(query):
            return None
        if query.where == EVERYTHING and view.rows == EVERYTHING:
            return self.rows
        return self._counts.get((view.fingerprint, query.where))

    def remember_count(self, plan: PagePlan, rows: int) -> None:
        """How many rows an export had."""
        if _is_all(plan.query):
            _remember(self._counts, (plan.view.fingerprint, plan.query.where), rows)

    # -- everything ------------------------------------------------------------------------------------

    def export(self, view: DatasetView, query: Query, form: Format) -> Export:
        """All rows as a stream of bytes in bounded memory."""
        return self._exports.stream(self, plan_page(self.source, view, query, self._shapes), form)

    async def export_file(self, view: DatasetView, query: Query, form: Format) -> int:
        """:meth:`export`, made to its end, as an open file."""
        return await self._exports.file(self, plan_page(self.source, view, query), form)

    def hands_out_files(self, view: DatasetView) -> bool:
        """Whether this view may have the published files as they are."""
        return view.is_whole and set(view.columns) >= set(self.source.columns)

    def published_files(self) -> tuple[Path, ...]:
        """The version's own Parquet files."""
        return tuple(Path(file) for file in self.source.layout.files)

    # -- inside ----------------------------------------------------------------------------------------

    @property
    def files_scan(self) -> str:
        """The published files as a table of DuckDB."""
        return self.source.layout.files_table()

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, call, *arguments)

    def damaged(self, store: StoreFile, error: StoreError) -> None:
        """Go on with the files alone. Any thread may say so."""
        if self.store is store:
            self.store = None
            _LOG.error("%s", error)
            if self._on_damage is not None:
                self._on_damage(self, store)


def shape_of(predicate: Predicate) -> Any:
    """What is the same for all predicates that differ in their values alone."""
    if isinstance(predicate, Condition):
        return predicate.column, predicate.operator
    if isinstance(predicate, Negation):
        return "not", shape_of(predicate.part)
    return type(predicate).__name__, tuple(map(shape_of, predicate.parts))


def _is_all(query: Query) -> bool:
    return query.limit is None and query.after is None and query.before is None


def _as_stored(row: Row) -> Row:
    """DuckDB's NaN as the row store keeps it."""
    from dp_dagster.rows.forms import NAN

    return tuple(NAN if value != value else value for value in row)  # noqa: PLR0124 - only NaN is not itself


def _remember(kept: dict[Any, T], name: Any, value: T) -> None:
    """Keep it; where there is too much, what came first goes."""
    if len(kept) >= _KEPT:
        kept.pop(next(iter(kept)), None)
    kept[name] = value
