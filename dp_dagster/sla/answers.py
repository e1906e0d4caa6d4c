"""Answers of served ports, added up from the counts that the access log keeps by the minute, hour and day.

The accesses themselves are never read, and nothing is kept from one reading to the next: each is exact to the minute,
and reads some two hundred rows of a port for a month, however much was answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dp_dagster.access.access_tables import BOUNDS, TABLES
from dp_dagster.access.rollups import Span, totals_of
from dp_dagster.sla.facts import Answered

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from dp_dagster.access.rollups import Totals
    from dp_dagster.records_database import RecordsDatabase
    from dp_dagster.sla.probes import PortKey
    from dp_dagster.sla.store import Readings

_BOUNDS = (*(bound / 1000 for bound in BOUNDS), float("inf"))


class Answers(Protocol):
    """Where the answers of served ports are counted."""

    def totals(
        self, wanted: Mapping[datetime, Collection[PortKey]], until: datetime
    ) -> Mapping[datetime, Mapping[PortKey, Answered]]:
        """What ports answered since several times, in a number of queries that does not grow with what they answered.

        Ports that answered nothing may be left out.

        Args:
            wanted: Ports by the time since when.
            until: Up to when; the minute that it lies in counts whole, as the first one does.

        Raises:
            StoreError: the counts cannot be read.
        """


class AccessAnswers:
    """Reads the counts of the access log, in one query.

    Args:
        readings: The store of readings, in whose database the counts are.
    """

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._made: RecordsDatabase | None = None

    def totals(
        self, wanted: Mapping[datetime, Collection[PortKey]], until: datetime
    ) -> Mapping[datetime, Mapping[PortKey, Answered]]:
        """What ports answered since several times.

        Raises:
            StoreError: the counts cannot be read.
        """
        if not any(wanted.values()):
            return {since: {} for since in wanted}
        database, _ = self._readings.opened()
        if self._made is not database:
            database.make(TABLES)
            self._made = database
        end = _minute(until) + 1
        spans = [Span(ports, _minute(since), end) for since, ports in wanted.items()]
        with database.reading() as connection:
            found = totals_of(connection, spans)
        return {
            since: {key: _answered(one, since) for key, one in some.items()}
            for since, some in zip(wanted, found, strict=True)
        }


def _answered(totals: Totals, since: datetime) -> Answered:
    return Answered(
        total=totals.answers,
        good=totals.good,
        since=max(totals.first, since) if totals.first is not None else None,
        buckets=tuple(zip(_BOUNDS, totals.buckets, strict=True)),
    )


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
