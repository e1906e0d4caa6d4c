"""What is known of the version that a port shows, as far as its objectives ask for it; each fact is found once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import DataProductError
from dp_dagster.sla.calendar import ticks_before
from dp_dagster.sla.facts import Unknown
from dp_dagster.sla.of_versions import (
    history_of,
    newest_value,
    partitions_of,
    readable_of,
    rows_in_of,
)
from dp_dagster.storage.arrivals import first_arrivals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_dagster.descriptor.objectives import Objective
    from dp_dagster.resolve import ResolvedOutput
    from dp_dagster.sla.facts import Partitions, PartitionsOnShow, Publication
    from dp_dagster.sla.kept import Kept
    from dp_dagster.storage import Table

_OF_ARRIVALS = frozenset({"frequency", "time_of_availability"})
_OF_ROWS = frozenset({"completeness", "volume", *_OF_ARRIVALS})


@dataclass(frozen=True)
class OfVersion:
    """Finds out about one version of a table, and keeps what can never change.

    Attributes:
        kept: Where it is kept.
        table: The dataset's table.
        storage: Where that lies.
        version: The version on show.
        now: The time of the round.
    """

    kept: Kept
    table: Table
    storage: str
    version: int
    now: datetime

    def facts(
        self, port: ResolvedOutput, objectives: Sequence[Objective], partitions: Partitions | None
    ) -> dict[str, Any]:
        """What the objectives need to know, by the names of :class:`~dp_dagster.sla.facts.Facts`."""
        names = {one.name for one in objectives}
        found: dict[str, Any] = {}
        key = partitions.newest if partitions is not None else None
        columns = [one.column for one in objectives if getattr(one, "column", None)]  # type: ignore[attr-defined]
        if columns and (partitions is None or key is not None):
            found["newest"] = {name: self._newest(name, key) for name in columns}
        for one in objectives:
            if one.name == "retention":
                back = self.now - one.target  # type: ignore[attr-defined]
                found["readable"] = readable_of(self.table, self.version, back)
        if partitions is not None:
            if names & _OF_ROWS:
                found["partitions"] = replace(partitions, on_show=self._partitions(port, names))
            return found
        if names & {"volume", *_OF_ARRIVALS}:
            found["history"] = self._history(objectives)
        if "completeness" in names:
            found["rows_in"] = self._get("verdict", make=partial(rows_in_of, self.table, self.version))
        return found

    def _get(self, *about: Any, make: Any) -> Any:
        return self.kept.get((self.storage, str(self.table.location), self.version, *about), make)

    def _newest(self, column: str, key: str | None) -> datetime | Unknown:
        make = partial(newest_value, self.table, self.version, column, key)
        found: datetime | Unknown = self._get("newest", column, key, make=make)
        return found

    def _partitions(self, port: ResolvedOutput, names: set[str]) -> PartitionsOnShow | Unknown:
        found: PartitionsOnShow | Unknown = self._get(
            "partitions", make=partial(partitions_of, self.table, self.version)
        )
        if isinstance(found, Unknown) or not names & _OF_ARRIVALS:
            return found
        try:
            # All objectives of the port, not only those that are due: what is read on must reach back for the longest.
            arrivals = self.kept.arrivals(self.table, self.version, _since(port.objectives, self.now))
        except DataProductError as error:
            return Unknown(str(error))
        return replace(found, came=first_arrivals(arrivals))

    def _history(self, objectives: Sequence[Objective]) -> tuple[Publication, ...] | Unknown:
        versions = max((one.versions for one in objectives if one.name == "volume"), default=1)  # type: ignore[attr-defined]
        windows = [one.window for one in objectives if one.name in _OF_ARRIVALS]  # type: ignore[attr-defined]
        longest = max(windows, default=timedelta(0))
        # Kept for the version on show: it holds all that came before, as far back as was wanted then.
        make = partial(history_of, self.table, self.version, self.now - longest, versions)
        found: tuple[Publication, ...] | Unknown = self._get("history", longest, versions, make=make)
        return found


def _since(objectives: Sequence[Objective], now: datetime) -> datetime:
    """How far back publications matter: for the longest window, and to the last deadline in any case."""
    found = [now]
    for one in objectives:
        if one.name in _OF_ARRIVALS:
            found.append(now - one.window)  # type: ignore[attr-defined]
        if one.name == "time_of_availability":
            found.append(next(ticks_before(one.by, one.timezone, now)))  # type: ignore[attr-defined]
    return min(found)
