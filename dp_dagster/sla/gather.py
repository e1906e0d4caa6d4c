"""Gathering what is known of ports: a few questions to the databases for all products of a round together.

What follows from a committed version alone (:mod:`dp_dagster.sla.of_versions`) never changes, and is kept as long as
the process lives. Between two publications a round opens no table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.due import due_partitions
from dp_dagster.descriptor.partitions import read_told
from dp_dagster.errors import DataProductError
from dp_dagster.sla.deadlines import first_due, partition_late_at
from dp_dagster.sla.facts import Facts, Partitions, Shown, Unknown
from dp_dagster.sla.incidents import arrived_before, incidents_of
from dp_dagster.sla.of_versions import table_of
from dp_dagster.sla.on_show import OfVersion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dp_dagster.descriptor.due import Due
    from dp_dagster.descriptor.objectives import Objective
    from dp_dagster.descriptor.partitions import Calendar
    from dp_dagster.resolve import ResolvedDataset, ResolvedOutput, ResolvedProduct
    from dp_dagster.sla.counts import Counts
    from dp_dagster.sla.incidents import VersionEvent
    from dp_dagster.sla.kept import Kept
    from dp_dagster.sla.model import ObjectiveState
    from dp_dagster.sla.store import Readings
    from dp_dagster.storage.manifest import Manifest, PortEntry

Wanted = tuple["ResolvedProduct", "ResolvedOutput", "tuple[Objective, ...]"]
"""A port, and the objectives of it that are to be evaluated."""

_OF_INCIDENTS = frozenset({"time_to_detect", "time_to_repair"})


@dataclass(frozen=True)
class _Shared:
    """What is asked once for all ports of a round."""

    states: Mapping[tuple[str, str, str], ObjectiveState]
    breaches: Mapping[tuple[str, str, str], list[tuple[datetime, datetime]]]
    events: Mapping[str, list[VersionEvent]]


class Gatherer:
    """Gathers facts for one round."""

    def __init__(self, readings: Readings, counts: Counts, kept: Kept, now: datetime) -> None:
        self._readings = readings
        self._counts = counts
        self._kept = kept
        self._now = now

    def facts(
        self,
        wanted: Sequence[Wanted],
        states: Mapping[tuple[str, str, str], ObjectiveState],
        manifests: Mapping[str, Manifest | None],
    ) -> list[Facts]:
        """What is known of each port, in the same order.

        Args:
            wanted: Ports with the objectives that are to be evaluated.
            states: Where the objectives of their products stand.
            manifests: What their products show, by id.

        Raises:
            StoreError: a database or a manifest cannot be read.
        """
        shared = self._shared(wanted, states)
        return [self._of_port(*one, manifests[one[0].id], shared) for one in wanted]

    # -- for all ports together -------------------------------------------------------------------------

    def _shared(
        self, wanted: Sequence[Wanted], states: Mapping[tuple[str, str, str], ObjectiveState]
    ) -> _Shared:
        objectives = [objective for _, _, some in wanted for objective in some]
        products = {product.id for product, _, _ in wanted}
        windows = [one.window for one in objectives if one.name in _OF_INCIDENTS]  # type: ignore[attr-defined]
        since = self._now - max(windows, default=timedelta(0))
        detects = any(one.name == "time_to_detect" for one in objectives)
        return _Shared(
            states,
            self._readings.breaches(since, products) if detects else {},
            self._kept.held.events(self._readings, since) if windows else {},
        )

    # -- for one port -----------------------------------------------------------------------------------

    def _of_port(
        self,
        product: ResolvedProduct,
        port: ResolvedOutput,
        objectives: tuple[Objective, ...],
        manifest: Manifest | None,
        shared: _Shared,
    ) -> Facts:
        entry = manifest.port(port.major, port.name) if manifest is not None else None
        watched = [one.first_at for key, one in shared.states.items() if key[:2] == (product.id, port.label)]
        since = min([*watched, self._now])
        descriptor = product.descriptor
        facts = Facts(
            watched_since=since,
            first_due=first_due(port.objectives, since),
            support=descriptor.support is not None
            or (descriptor.owner is not None and descriptor.owner.email is not None),
            answers=self._counts.of((product.id, port.label)),
        )
        calendar = product.calendar
        if calendar is not None and port.dataset is not None and port.dataset.partitioned_by:
            facts = self._with_partitions(facts, calendar, port, entry)
        if entry is None or port.dataset is None or manifest is None:
            return facts
        shown = Shown(
            entry.version,
            datetime.fromisoformat(entry.published_at),
            datetime.fromisoformat(entry.projected_at),
            entry.rows,
        )
        version = OfVersion(
            self._kept, table_of(product, port.dataset), product.settings.storage, shown.version, self._now
        )
        facts = replace(facts, shown=shown, **version.facts(port, objectives, facts.partitions))
        if any(getattr(one, "of", "") == "upstream" for one in objectives):
            facts = replace(facts, lag=_lag(product, port))
        if {one.name for one in objectives} & _OF_INCIDENTS:
            facts = replace(facts, **self._incidents(product, port, port.dataset, shared))
        return facts

    def _with_partitions(
        self, facts: Facts, calendar: Calendar, port: ResolvedOutput, entry: PortEntry | None
    ) -> Facts:
        """With where the partitions stand: what is due, and by when what is missing must be there."""
        there, since = entry.partitions if entry is not None else "", facts.watched_since

        def compare() -> Due:
            return due_partitions(calendar, read_told(there, calendar), self._now, port.refresh, since)

        # Nothing of it changes until the next one is due: of hours, there are many.
        due: Due = self._kept.get(
            ("due", calendar, there, calendar.newest_due(self._now), port.refresh, since), compare
        )
        late_at = partition_late_at(port.objectives, due, calendar, since)
        dates = [one.date for one in port.objectives if one.name == "general_availability"]  # type: ignore[attr-defined]
        first = min([*dates, *([late_at] if late_at is not None else [])], default=None)
        return replace(facts, partitions=Partitions(calendar, due, late_at), first_due=first)

    def _incidents(
        self, product: ResolvedProduct, port: ResolvedOutput, dataset: ResolvedDataset, shared: _Shared
    ) -> dict[str, Any]:
        key = (product.id, f"v{dataset.major}/dataset/{dataset.name}", "arrived")

        def arrived(at: datetime) -> datetime | None:
            found: datetime | None = self._kept.get((*key, at), partial(arrived_before, product, dataset, at))
            return found

        breaches = tuple(
            one
            for key, some in shared.breaches.items()
            if key[:2] == (product.id, port.label) and not key[2].startswith("time_to_")
            for one in some
        )
        incidents = incidents_of(product, dataset, shared.events.get(product.id, []), arrived)
        return {"incidents": incidents, "breaches": breaches}


def _lag(product: ResolvedProduct, port: ResolvedOutput) -> tuple[timedelta, str] | Unknown:
    from dp_dagster.pipeline.lag import measure_lag

    try:
        lag = measure_lag(product, port)
    except DataProductError as error:
        return Unknown(str(error))
    return lag.duration, lag.reason
