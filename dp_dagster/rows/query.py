"""What can be asked of a published version, and what comes back. Plain values; no engine is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from dp_dagster.predicates.model import EVERYTHING, Predicate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from pathlib import Path

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column

Format = Literal["json", "ndjson", "csv", "arrow", "parquet"]
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Sort:
    """One column to sort by. Nulls come last in either direction."""

    column: str
    descending: bool = False


@dataclass(frozen=True)
class Position:
    """Where a row stands: the values of the sort columns and then of the key, as they are stored.

    They are integers, floats, texts, bytes or ``None``; only who made a position can read it.
    """

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
        backward: Take the last rows instead of the first, also without ``before``.
        positions: Give the position of every row.
        encoded: Give values as JSON has them (:mod:`dp_dagster.ports.values` makes the same of Python values).
        texts: Give each row as the text of a JSON object, in :attr:`Page.texts`, and no values.
        joined: Give all of these texts as one, with commas between them, in :attr:`Page.joined`, and nothing else: the
            quickest way to a page of JSON.
    """

    columns: tuple[str, ...]
    where: Predicate = EVERYTHING
    sort: tuple[Sort, ...] = ()
    limit: int | None = 100
    after: Position | None = None
    before: Position | None = None
    backward: bool = False
    positions: bool = False
    encoded: bool = False
    texts: bool = False
    joined: bool = False


@dataclass(frozen=True)
class Page:
    """Some rows.

    Attributes:
        columns: Names, in the order of the query.
        rows: Python values in that order, masks applied.
        first: Position of the first row; ``None`` without rows.
        last: Position of the last row.
        has_more: Whether there are more rows in the direction that was asked for.
        positions: Of every row, where the query asked for them.
        texts: Every row as a JSON object in UTF-8, where the query asked for them; ``rows`` is empty then.
        joined: All of these objects with commas between them, where the query asked for that; ``texts`` is empty then.
        count: How many rows there are, in whichever form.
    """

    columns: tuple[str, ...]
    rows: list[Row]
    first: Position | None
    last: Position | None
    has_more: bool
    positions: tuple[Position, ...] = ()
    texts: list[bytes] = field(default_factory=list)
    joined: bytes = b""
    count: int = 0


class Pieces(Protocol):
    """An answer in pieces of bytes. Close it when nobody listens any more.

    Attributes:
        size: Its bytes, known with the first piece; ``None`` where it is still being made.
        rows: How many rows there are in what was read so far, or in all of it; ``None`` where nobody has counted.
    """

    size: int | None
    rows: int | None

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None:
        """Read no more of it."""


class ServedVersion(Protocol):
    """One published version that can be asked. Never changes, so every answer may be kept for good.

    The plain methods block their caller: microseconds from the row store, tens of milliseconds from the published
    files. Their ``fetch_`` twins are for an event loop: they answer at once what is cheap, and take everything else
    to a worker thread. Each takes the view of who asks, refuses what the view refuses, and applies its masks and
    row filter.

    Raises (all of them):
        AccessDeniedError: a column is not granted, or is masked and was filtered, sorted or looked up by.
        UsageError: the version lacks a column, or a value is not of its column's type.
        QueryLimitError: the answer takes too long or is too large.
        VersionGoneError: the version's files are no longer kept.
    """

    version: int
    published_at: datetime
    rows: int
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    def lookup(self, view: DatasetView, key: Row, columns: tuple[str, ...]) -> Row | None:
        """The row of that key; ``None`` if there is none, or none for this view."""

    def lookup_many(
        self,
        view: DatasetView,
        by: tuple[str, ...],
        values: list[Row],
        columns: tuple[str, ...],
        *,
        limit: int | None = None,
    ) -> dict[Row, list[Row]]:
        """Rows by the values of some columns, in one query: what relationships are loaded with.

        Args:
            view: What may be seen.
            by: The columns that are looked at.
            values: Values of these columns; those that no row has are left out of the answer.
            columns: What to give back.
            limit: At most that many rows for each of the values, the first by key.
        """

    def page(self, view: DatasetView, query: Query) -> Page:
        """Rows in order, at most ``query.limit``."""

    def count(self, view: DatasetView, where: Predicate = EVERYTHING) -> int:
        """How many rows there are for this view."""

    async def fetch_row(self, view: DatasetView, key: Row, columns: tuple[str, ...]) -> Row | None:
        """:meth:`lookup`, for an event loop."""

    async def fetch_text(self, view: DatasetView, key: Row, columns: tuple[str, ...]) -> bytes | None:
        """:meth:`fetch_row` as the text of a JSON object in UTF-8."""

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

    async def fetch_page(self, view: DatasetView, query: Query) -> Page:
        """:meth:`page`, for an event loop."""

    async def fetch_count(self, view: DatasetView, where: Predicate = EVERYTHING) -> int:
        """:meth:`count`, for an event loop."""

    def export(self, view: DatasetView, query: Query, form: Format) -> Pieces:
        """All rows as a stream of bytes in bounded memory; kept, where that pays, for the next who asks the same.

        ``json`` is one array of objects. Close the iterator (``aclose``) when nobody listens any more.
        """

    async def export_file(self, view: DatasetView, query: Query, form: Format) -> int:
        """:meth:`export`, made to its end, as the descriptor of an open file, which the caller closes.

        The same answer has the same bytes, whenever and by whichever process it was made.
        """

    def hands_out_files(self, view: DatasetView) -> bool:
        """Whether this view may have the published files as they are: nothing hidden, no column withheld."""

    def published_files(self) -> tuple[Path, ...]:
        """The version's own Parquet files; only for a view that :meth:`hands_out_files`."""
