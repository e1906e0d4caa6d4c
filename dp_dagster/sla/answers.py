"""Answers of served ports, added up from the counts that the access log keeps by the minute.

The accesses themselves are never read. Hours that have passed do not change any more and are kept as long as the
process lives, so that a reading of a month asks for the last hours alone, however much was answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from dp_dagster.access.access_tables import BOUNDS, BUCKETS, ROLLUPS, TABLES
from dp_dagster.sla.facts import Answered

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from dp_dagster.records_database import RecordsDatabase
    from dp_dagster.sla.probes import PortKey
    from dp_dagster.sla.store import Readings

HOUR = 60
"""In minutes, as the counts are kept."""
OPEN_HOURS = 2
"""Hours that may still change: a server writes its counts down a little later than it answers."""
_EXACT_MINUTES = 3 * HOUR
_MOST_HOURS = 400 * 24
_AT_ONCE = 200
_BOUNDS = (*(bound / 1000 for bound in BOUNDS), float("inf"))


class Answers(Protocol):
    """Where the answers of served ports are counted."""

    def totals(
        self, ports: Collection[PortKey], since: datetime, until: datetime
    ) -> Mapping[PortKey, Answered]:
        """What ports answered between two times, in a number of queries that does not grow with what they answered.

        Ports that answered nothing may be left out.

        Raises:
            StoreError: the counts cannot be read.
        """


@dataclass(frozen=True)
class _Counts:
    """What an hour holds: answers, good ones, those in each bucket, and the first minute that has any."""

    answers: int
    good: int
    buckets: tuple[int, ...]
    first: int


@dataclass
class _Hours:
    """The hours of a port that are known: all from one to before another, those without answers left out."""

    start: int
    end: int
    counts: dict[int, _Counts] = field(default_factory=dict)


class AccessAnswers:
    """Reads the counts of the access log.

    Args:
        readings: The store of readings, in whose database the counts are.
    """

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._known: dict[PortKey, _Hours] = {}
        self._made: RecordsDatabase | None = None

    def totals(
        self, ports: Collection[PortKey], since: datetime, until: datetime
    ) -> Mapping[PortKey, Answered]:
        """What ports answered between two times; over more than three hours, from the beginning of the first.

        Raises:
            StoreError: the counts cannot be read.
        """
        first, last = _minute(since), _minute(until)
        if last - first <= _EXACT_MINUTES:
            found = self._ask(dict.fromkeys(ports, first), last)
            return {key: _added(hours.values(), since) for key, hours in found.items()}
        begin = first // HOUR * HOUR
        closed = last // HOUR * HOUR - OPEN_HOURS * HOUR
        starts: dict[PortKey, int] = {}
        for key in ports:
            known = self._known.get(key)
            # A clock that was set back makes the future unknown again.
            if known is None or known.start > begin or known.end > closed:
                self._known[key] = known = _Hours(begin, begin)
            starts[key] = known.end
        asked = self._ask(starts, last)
        result: dict[PortKey, Answered] = {}
        for key in ports:
            known, new = self._known[key], asked.get(key, {})
            known.counts.update({hour: one for hour, one in new.items() if hour * HOUR < closed})
            known.end = max(known.end, closed)
            if len(known.counts) > _MOST_HOURS:
                # Of a clock that goes on; what is older than the longest window is asked for by nobody.
                del self._known[key]
            result[key] = _added(
                [
                    *(one for hour, one in known.counts.items() if hour * HOUR >= begin and hour not in new),
                    *new.values(),
                ],
                since,
            )
        return result

    def _ask(self, starts: Mapping[PortKey, int], end: int) -> dict[PortKey, dict[int, _Counts]]:
        """The counts of ports by the hour, each from a minute of its own, added up by the database."""
        import sqlalchemy

        database, _ = self._readings.opened()
        if self._made is not database:
            database.make(TABLES)
            self._made = database
        table = ROLLUPS
        # Whole hours, without relying on how a database divides.
        hour = sqlalchemy.cast((table.c.minute - table.c.minute % HOUR) / HOUR, sqlalchemy.Integer).label(
            "hour"
        )
        names = ("answers", "good", *BUCKETS)
        found: dict[PortKey, dict[int, _Counts]] = {}
        with database.reading() as connection:
            for part in _parts(starts):
                wanted = [
                    sqlalchemy.and_(table.c.product == product, table.c.port == port, table.c.minute >= start)
                    for (product, port), start in part
                ]
                statement = (
                    sqlalchemy.select(
                        table.c.product,
                        table.c.port,
                        hour,
                        sqlalchemy.func.min(table.c.minute),
                        *(sqlalchemy.func.sum(table.c[name]) for name in names),
                    )
                    .where(sqlalchemy.or_(*wanted), table.c.minute <= end)
                    .group_by(table.c.product, table.c.port, hour)
                )
                row: Any
                for row in connection.execute(statement):
                    product, port, number, first, answers, good, *buckets = row
                    found.setdefault((product, port), {})[int(number)] = _Counts(
                        int(answers), int(good), tuple(int(one) for one in buckets), int(first)
                    )
        return found


def _added(counts: Iterable[_Counts], since: datetime) -> Answered:
    parts = list(counts)
    if not parts:
        return Answered()
    first = datetime.fromtimestamp(min(one.first for one in parts) * 60, UTC)
    columns = zip(*(one.buckets for one in parts), strict=True)
    return Answered(
        total=sum(one.answers for one in parts),
        good=sum(one.good for one in parts),
        since=max(first, since),
        buckets=tuple(zip(_BOUNDS, (sum(column) for column in columns), strict=True)),
    )


def _parts(starts: Mapping[PortKey, int]) -> Iterator[list[tuple[PortKey, int]]]:
    items = list(starts.items())
    for number in range(0, len(items), _AT_ONCE):
        yield items[number : number + _AT_ONCE]


def _minute(moment: datetime) -> int:
    return int(moment.timestamp() // 60)


def together(answers: Answered | None, probes: Answered | None) -> Answered:
    """Answers and probes of the same time."""
    parts = [one for one in (answers, probes) if one is not None and one.total]
    if len(parts) < 2:
        return parts[0] if parts else Answered()
    first, second = parts
    begun = [one.since for one in parts if one.since is not None]
    return Answered(
        total=first.total + second.total,
        good=first.good + second.good,
        since=min(begun, default=None),
        buckets=first.buckets,
        probes=first.probes + second.probes,
    )
