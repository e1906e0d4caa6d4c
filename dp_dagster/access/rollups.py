"""What the accesses of ports come to, by minute: answers, good ones, and how long they took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dp_dagster.access.access_tables import BOUNDS, BUCKETS, ROLLUPS, TABLES
from dp_dagster.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dp_dagster.records import Records

_AT_ONCE = 200
_MOST_MINUTES = 366 * 24 * 60


@dataclass(frozen=True)
class Totals:
    """Answers of a port in a span of time.

    Attributes:
        answers: How many.
        good: Of these, how many were not the server's fault (status below 500).
        buckets: How many took at most so long: by :data:`~dp_dagster.access.access_tables.BOUNDS`, and one more.
    """

    answers: int = 0
    good: int = 0
    buckets: tuple[int, ...] = (0,) * len(BUCKETS)

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
        from sqlalchemy import and_, func, or_, select

        table = self._table()
        found = dict.fromkeys(since, Totals())
        names = ("answers", "good", *BUCKETS)
        with self._records.database().reading() as connection:
            for part in _parts(since):
                wanted = [
                    and_(table.c.product == product, table.c.port == port, table.c.minute >= _minute(start))
                    for (product, port), start in part.items()
                ]
                statement = (
                    select(
                        table.c.product,
                        table.c.port,
                        *(func.sum(table.c[name]).label(name) for name in names),
                    )
                    .where(or_(*wanted), table.c.minute < _minute(end))
                    .group_by(table.c.product, table.c.port)
                )
                for row in connection.execute(statement):
                    counts = [int(getattr(row, name)) for name in names]
                    found[row.product, row.port] = Totals(counts[0], counts[1], tuple(counts[2:]))
        return found

    def _table(self) -> Any:
        self._records.database().make(TABLES)
        return ROLLUPS


def _parts(
    since: Mapping[tuple[str, str], datetime],
) -> Iterator[dict[tuple[str, str], datetime]]:
    items = list(since.items())
    for start in range(0, len(items), _AT_ONCE):
        yield dict(items[start : start + _AT_ONCE])


def _minute(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise UsageError(f"{moment.isoformat()} has no time zone; add one")
    return int(moment.timestamp() // 60)
