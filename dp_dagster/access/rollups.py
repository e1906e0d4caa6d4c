"""What the accesses of ports come to, by minute, hour and day: answers, good ones, and how long they took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dp_dagster.access.access_tables import BOUNDS, BUCKETS, COUNTS, DAY, HOUR, ROLLUPS, SUMS, TABLES
from dp_dagster.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection, Select

    from dp_dagster.records import Records

PortKey = tuple[str, str]
"""Product, and label of the port."""

_AT_ONCE = 90
# Of spans in a statement: each has five pieces at most, and SQLite takes 500 in one.
_MOST_MINUTES = 366 * 24 * 60


@dataclass(frozen=True)
class Totals:
    """Answers of a port in a span of time.

    Attributes:
        answers: How many.
        good: Of these, how many were not the server's fault (status below 500).
        buckets: How many took at most so long: by :data:`~dp_dagster.access.access_tables.BOUNDS`, and one more.
        first: Beginning of the first minute that has any, where that was asked for.
    """

    answers: int = 0
    good: int = 0
    buckets: tuple[int, ...] = (0,) * len(BUCKETS)
    first: datetime | None = None

    def __add__(self, other: Totals) -> Totals:
        """Of two times together."""
        return Totals(
            self.answers + other.answers,
            self.good + other.good,
            tuple(one + more for one, more in zip(self.buckets, other.buckets, strict=True)),
            min((one for one in (self.first, other.first) if one is not None), default=None),
        )

    def quantile(self, share: float) -> float | None:
        """Milliseconds within which that share of the answers came; ``None`` without answers.

        Told by buckets: the upper end of the one in which the share is reached, so never too good.
        ``inf`` beyond the last bound.
        """
        total = sum(self.buckets)
        if not total:
            return None
        seen = 0
        for count, bound in zip(self.buckets, (*BOUNDS, float("inf")), strict=True):
            seen += count
            if seen >= share * total:
                return bound
        return float("inf")


@dataclass(frozen=True)
class Rollup:
    """One minute of a port."""

    minute: datetime
    totals: Totals


@dataclass(frozen=True)
class Span:
    """A span of time of some ports, in minutes since 1970: from the first to the one that does not count any more."""

    ports: Collection[PortKey]
    first: int
    end: int


class AccessRollups:
    """Reads the counts that :class:`~dp_dagster.access.log.AccessLog` keeps; never the accesses themselves.

    Args:
        records: The chain, in whose database they are.
    """

    def __init__(self, records: Records) -> None:
        self._records = records

    def between(self, product: str, port: str, start: datetime, end: datetime) -> list[Rollup]:
        """The minutes of a port that have answers, oldest first.

        Args:
            product: Id of the product.
            port: The port's label.
            start: First minute; the one that it lies in counts whole.
            end: First minute that does not count any more.

        Raises:
            UsageError: a time has no zone, or the span is longer than a year.
            StoreError: the database cannot be read.
        """
        first, last = _minute(start), _minute(end)
        if last - first > _MOST_MINUTES:
            raise UsageError("more than a year of minutes; ask for totals")
        table = self._table()
        statement = (
            table.select()
            .where(table.c.product == product, table.c.port == port)
            .where(table.c.minute >= first, table.c.minute < last)
            .order_by(table.c.minute)
        )
        with self._records.database().reading() as connection:
            return [
                Rollup(
                    datetime.fromtimestamp(row.minute * 60, UTC),
                    Totals(row.answers, row.good, tuple(getattr(row, name) for name in BUCKETS)),
                )
                for row in connection.execute(statement)
            ]

    def totals(
        self, since: Mapping[tuple[str, str], datetime], end: datetime
    ) -> dict[tuple[str, str], Totals]:
        """The sums of ports, each since a time of its own, made by the database.

        Args:
            since: First minute by product and port label.
            end: First minute that does not count any more.

        Raises:
            UsageError: a time has no zone.
            StoreError: the database cannot be read.
        """
        self._table()
        found = dict.fromkeys(since, Totals())
        ports: dict[int, list[PortKey]] = {}
        for key, start in since.items():
            ports.setdefault(_minute(start), []).append(key)
        spans = [Span(some, first, _minute(end)) for first, some in ports.items()]
        with self._records.database().reading() as connection:
            for part in totals_of(connection, spans):
                found |= part
        return found

    def _table(self) -> Any:
        self._records.database().make(TABLES)
        return ROLLUPS


def totals_of(connection: Connection, spans: Sequence[Span]) -> list[dict[PortKey, Totals]]:
    """What ports answered in spans of time, exact to the minute.

    Days and hours that lie in a span whole are read as such, so that a month is some two hundred rows of a port at
    most. One statement, unless there are very many spans.

    Args:
        connection: To a database that has the tables.
        spans: Each with its ports.

    Returns:
        By span, in the same order; ports without answers are left out.
    """
    from sqlalchemy import union_all

    found: list[dict[PortKey, Totals]] = [{} for _ in spans]
    for begin in range(0, len(spans), _AT_ONCE):
        parts = [
            _selected(number, span.ports, *piece)
            for number, span in enumerate(spans[begin : begin + _AT_ONCE], begin)
            for piece in pieces(span.first, span.end)
            if span.ports
        ]
        if not parts:
            continue
        row: Any
        for row in connection.execute(union_all(*parts)):
            number, product, port, first, *counts = row
            if first is None:
                continue
            answers, good, *buckets = (int(one) for one in counts)
            new = Totals(answers, good, tuple(buckets), datetime.fromtimestamp(first * 60, UTC))
            there = found[number].get((product, port))
            found[number][product, port] = new if there is None else there + new
    return found


def pieces(first: int, end: int) -> list[tuple[int, int, int]]:
    """Whole days, hours and minutes that make up a span: the size, the start of the first, and the end of the last."""
    found: list[tuple[int, int, int]] = []
    for size, larger in ((1, HOUR), (HOUR, DAY)):
        first_whole, last_whole = -(-first // larger) * larger, end // larger * larger
        if first_whole >= last_whole:
            return [*found, (size, first, end)] if first < end else found
        found += [(size, *edge) for edge in ((first, first_whole), (last_whole, end)) if edge[0] < edge[1]]
        first, end = first_whole, last_whole
    return [*found, (DAY, first, end)]


def _selected(number: int, ports: Collection[PortKey], size: int, start: int, end: int) -> Select[Any]:
    from sqlalchemy import func, literal, select, tuple_

    table, when = (ROLLUPS, ROLLUPS.c.minute) if size == 1 else (SUMS, SUMS.c.start)
    first = ROLLUPS.c.minute if size == 1 else SUMS.c.first
    statement = (
        select(
            literal(number),
            table.c.product,
            table.c.port,
            func.min(first),
            *(func.sum(table.c[name]) for name in COUNTS),
        )
        .where(tuple_(table.c.product, table.c.port).in_(sorted(ports)), when >= start, when < end)
        .group_by(table.c.product, table.c.port)
    )
    return statement if size == 1 else statement.where(SUMS.c.size == size)


def _minute(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise UsageError(f"{moment.isoformat()} has no time zone; add one")
    return int(moment.timestamp() // 60)
