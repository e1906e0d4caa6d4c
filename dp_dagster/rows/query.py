"""What can be asked of a published version, and what comes back. Plain values; no engine is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dp_dagster.predicates.model import EVERYTHING, Predicate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from pathlib import Path

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column

Format = Literal["json", "ndjson", "csv", "arrow", "parquet"]


@dataclass(frozen=True)
class Sort:
    """One column to sort by. Nulls come last in either direction."""

    column: str
    descending: bool = False


@dataclass(frozen=True)
class Position:
    """Where a page ends: the values of the sort columns and then of the key, as they are stored, of its last row."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Query:
    """Rows of one version.

    Attributes:
        columns: What to give back, in this order.
        where: What must hold of the rows, besides the view's own filter.
        sort: Order; the key is always appended, so that the order is total. Empty: the order of the key.
        limit: At most that many rows; ``None`` for all of them (exports only).
        after: Go on behind this position.
        before: Go back in front of this position (the rows still come in the order of ``sort``).
    """

    columns: tuple[str, ...]
    where: Predicate = EVERYTHING
    sort: tuple[Sort, ...] = ()
    limit: int | None = 100
    after: Position | None = None
    before: Position | None = None


@dataclass(frozen=True)
class Page:
    """Some rows. ``rows`` are tuples in the order of ``columns``, of Python values, masks applied."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    first: Position | None
    last: Position | None
    has_more: bool


class ServedVersion(Protocol):
    """One published version that can be asked. Never changes, so every answer may be kept for good.

    ``lookup``, ``page`` and ``count`` answer in the calling thread, in micro- to milliseconds, once the row store
    of the version is there; before that they read the published files. Each takes the view of who asks, refuses
    what the view refuses, and applies its masks and row filter.
    """

    version: int
    published_at: datetime
    rows: int
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    def lookup(
        self, view: DatasetView, key: tuple[Any, ...], columns: tuple[str, ...]
    ) -> tuple[Any, ...] | None:
        """The row of that key; ``None`` if there is none, or none for this view."""

    def lookup_many(
        self, view: DatasetView, by: tuple[str, ...], values: list[tuple[Any, ...]], columns: tuple[str, ...]
    ) -> dict[tuple[Any, ...], list[tuple[Any, ...]]]:
        """Rows by the values of some columns, in one query: what relationships are loaded with."""

    def page(self, view: DatasetView, query: Query) -> Page:
        """Rows in order, at most ``query.limit``."""

    def count(self, view: DatasetView, where: Predicate = EVERYTHING) -> int:
        """How many rows there are for this view."""

    def export(self, view: DatasetView, query: Query, form: Format) -> AsyncIterator[bytes]:
        """All rows as a stream of bytes in bounded memory; kept, where that pays, for the next who asks the same."""

    def published_files(self) -> tuple[Path, ...]:
        """The version's own Parquet files; only for a view that is whole."""
