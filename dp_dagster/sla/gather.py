"""Gathering what is known of ports: a few questions to the databases for all products of a round together.

What follows from a committed version alone (its verdict, the newest value of a column, the history before it) never
changes, and is kept as long as the process lives. Between two publications a round opens no table.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.due import due_partitions
from dp_dagster.descriptor.partitions import read_told
from dp_dagster.errors import DataProductError
from dp_dagster.sla.calendar import tick_after
from dp_dagster.sla.facts import Facts, Incident, Publication, Readable, Shown, Unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dp_dagster.descriptor.objectives import Objective
    from dp_dagster.resolve import ResolvedDataset, ResolvedOutput, ResolvedProduct
    from dp_dagster.sla.counts import Counts
    from dp_dagster.sla.model import ObjectiveState
    from dp_dagster.sla.store import Readings
    from dp_dagster.storage import Snapshot, Table
    from dp_dagster.storage.manifest import Manifest

Wanted = tuple["ResolvedProduct", "ResolvedOutput", "tuple[Objective, ...]"]
"""A port, and the objectives of it that are to be evaluated."""

_KEPT = 10_000
_OF_INCIDENTS = frozenset({"time_to_detect", "time_to_repair"})


class Kept:
    """Facts that follow from a committed version, by what they are about; the oldest go when there are too many."""

    def __init__(self) -> None:
        self._facts: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self.held = HeldVersions()

    def get(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """What is kept under the key, or is made now. What could not be found out is asked for again."""
        if key in self._facts:
            self._facts.move_to_end(key)
            return self._facts[key]
        made = make()
        if not isinstance(made, Unknown):
            self._facts[key] = made
            if len(self._facts) > _KEPT:
                self._facts.popitem(last=False)
        return made


class HeldVersions:
    """Records of held and published versions, read on from where the last round stopped."""

    def __init__(self) -> None:
        self._last = 0
        self._since: datetime | None = None
        self._events: dict[str, list[tuple[datetime, str, str]]] = {}

    def events(self, readings: Readings, since: datetime) -> Mapping[str, list[tuple[datetime, str, str]]]:
        """Time, kind and subject of what was held or published since then, by product, oldest first.

        Raises:
            StoreError: the records cannot be read.
        """
        import sqlalchemy

        if self._since is None or since < self._since:
            self._last, self._since, self._events = 0, since, {}
        database, _ = readings.opened()
        table = database.records
        columns = (table.c.id, table.c.at, table.c.kind, table.c.product, table.c.subject)
        statement = (
            sqlalchemy.select(*columns)
            .where(table.c.kind.in_(("held", "published")), table.c.id > self._last)
            .order_by(table.c.id)
        )
        if self._last == 0:
            statement = statement.where(
                table.c.at >= since.astimezone(UTC).isoformat(timespec="microseconds")
            )
        with database.reading() as connection:
            row: Any
            for row in connection.execute(statement):
                number, at, kind, product, subject = row
                self._last = number
                event = (datetime.fromisoformat(at), kind, subject)
                self._events.setdefault(product, []).append(event)
        # What is older than anybody asks for goes.
        self._since = max(self._since, since)
        for product, events in self._events.items():
            self._events[product] = [one for one in events if one[0] >= self._since]
        return self._events


@dataclass(frozen=True)
class _Shared:
    """What is asked once for all ports of a round."""

    states: Mapping[tuple[str, str, str], ObjectiveState]
    breaches: Mapping[tuple[str, str, str], list[tuple[datetime, datetime]]]
    events: Mapping[str, list[tuple[datetime, str, str]]]


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
            first_due=first_due(port, since),
            support=descriptor.support is not None
            or (descriptor.owner is not None and descriptor.owner.email is not None),
            answers=self._counts.of((product.id, port.label)),
        )
        if product.calendar is not None and port.dataset is not None and port.dataset.partitioned_by:
            there = read_told(entry.partitions, product.calendar) if entry is not None else ()
            due = due_partitions(product.calendar, there, self._now, port.refresh)
            facts = replace(facts, partitions=due)
        if entry is None or port.dataset is None or manifest is None:
            return facts
        shown = Shown(
            entry.version,
            datetime.fromisoformat(entry.published_at),
            datetime.fromisoformat(entry.projected_at),
            entry.rows,
        )
        facts = replace(facts, shown=shown)
        names = {one.name for one in objectives}
        table = _table(product, port.dataset)
        key = (product.settings.storage, str(table.location), shown.version)
        if names & {"volume", "frequency", "time_of_availability"}:
            facts = replace(facts, history=self._history(table, key, shown, objectives))
        if "completeness" in names:
            facts = replace(
                facts, rows_in=self._kept.get((*key, "verdict"), partial(_rows_in, table, shown.version))
            )
        columns = [one.column for one in objectives if getattr(one, "column", None)]  # type: ignore[attr-defined]
        if columns:
            newest = {
                name: self._kept.get((*key, "newest", name), partial(_newest, table, shown.version, name))
                for name in columns
            }
            facts = replace(facts, newest=newest)
        if any(getattr(one, "of", "") == "upstream" for one in objectives):
            facts = replace(facts, lag=_lag(product, port))
        if names & _OF_INCIDENTS:
            facts = replace(facts, **self._incidents(product, port, port.dataset, shared))
        for one in objectives:
            if one.name == "retention":
                back = self._now - one.target  # type: ignore[attr-defined]
                facts = replace(facts, readable=_readable(table, shown.version, back))
        return facts

    def _history(
        self, table: Table, key: tuple[Any, ...], shown: Shown, objectives: Iterable[Objective]
    ) -> tuple[Publication, ...] | Unknown:
        versions = max((one.versions for one in objectives if one.name == "volume"), default=1)  # type: ignore[attr-defined]
        windows = [
            getattr(one, "window", None)
            for one in objectives
            if one.name in {"frequency", "time_of_availability"}
        ]
        longest = max((one for one in windows if one is not None), default=timedelta(0))
        # Kept for the version on show: it holds all that came before, as far back as was wanted then.
        made = (self._now - longest, versions)
        found = self._kept.get(
            (*key, "history", longest, versions), partial(_history, table, shown.version, *made)
        )
        return found if isinstance(found, Unknown) else tuple(found)

    def _incidents(
        self, product: ResolvedProduct, port: ResolvedOutput, dataset: ResolvedDataset, shared: _Shared
    ) -> dict[str, Any]:
        subject = f"v{dataset.major}/dataset/{dataset.name}"
        inputs = {f"input/{name}" for name in product.inputs_of(dataset.source)}
        events = shared.events.get(product.id, [])
        published = [at for at, kind, about in events if kind == "published" and about == subject]
        incidents = tuple(
            Incident(
                at,
                self._kept.get((product.id, subject, "arrived", at), partial(_arrived, product, dataset, at)),
                next((one for one in published if one > at), None),
            )
            for at, kind, about in events
            if kind == "held" and (about == subject or about in inputs)
        )
        breaches = tuple(
            one
            for key, some in shared.breaches.items()
            if key[:2] == (product.id, port.label) and not key[2].startswith("time_to_")
            for one in some
        )
        return {"incidents": incidents, "breaches": breaches}


def first_due(port: ResolvedOutput, since: datetime) -> datetime | None:
    """By when a port that never showed anything should: the earliest of what its objectives say."""
    found: list[datetime] = []
    for one in port.objectives:
        match one.name:
            case "freshness":
                found.append(since + one.target)  # type: ignore[attr-defined]
            case "frequency":
                found.append(since + (one.every.freshness_window() or timedelta(0)))  # type: ignore[attr-defined]
            case "time_of_availability":
                found.append(tick_after(one.by, one.timezone, since))  # type: ignore[attr-defined]
            case "general_availability":
                found.append(one.date)  # type: ignore[attr-defined]
            case _:
                pass
    return min(found, default=None)


# -- what follows from a version ------------------------------------------------------------------------------


def _table(product: ResolvedProduct, dataset: ResolvedDataset) -> Table:
    from dp_dagster.storage import Table, dataset_table

    return Table(dataset_table(product.settings.storage, product.id, dataset.major, dataset.name))


def _snapshot(table: Table, version: int) -> Snapshot | Unknown:
    try:
        return table.snapshot(version)
    except DataProductError as error:
        return Unknown(str(error))


def _history(table: Table, version: int, since: datetime, versions: int) -> tuple[Publication, ...] | Unknown:
    """Publications up to a version: those since a time and the one before, and at least so many before the last."""
    found: list[Publication] = []
    try:
        # Read in growing pieces: a table that is published each minute has a long history.
        limit = versions + 2
        while True:
            entries = table.history(limit)
            found = [
                Publication(one.version, one.at, one.rows, one.operation)
                for one in entries
                if one.version <= version
            ]
            enough = len(found) > versions and found[-1].at < since
            if enough or len(entries) < limit:
                return tuple(found)
            limit *= 4
    except DataProductError as error:
        return Unknown(str(error))


def _rows_in(table: Table, version: int) -> tuple[int, int] | Unknown:
    from dp_dagster.pipeline.session import verdict_on

    snapshot = _snapshot(table, version)
    if isinstance(snapshot, Unknown):
        return snapshot
    verdict = verdict_on(table, snapshot)
    if verdict is None:
        return Unknown(f"the verdict of version {version} is no longer kept")
    return verdict.rows_in, verdict.rows_accepted


def _newest(table: Table, version: int, column: str) -> datetime | Unknown:
    """The newest value of a column, which DuckDB finds in the files' statistics where they have any."""
    import duckdb

    from dp_dagster.engines.duckdb import first_line, in_memory, quote, scan

    snapshot = _snapshot(table, version)
    if isinstance(snapshot, Unknown):
        return snapshot
    if not snapshot.files:
        return Unknown(f"version {version} has no rows")
    try:
        with in_memory() as connection:
            row = connection.execute(f"select max({quote(column)}) from {scan(snapshot.files)}").fetchone()
    except duckdb.Error as error:
        return Unknown(f"{column} cannot be read: {first_line(error)}")
    value = row[0] if row else None
    if value is None:
        return Unknown(f"version {version} has no value in {column}")
    if not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _lag(product: ResolvedProduct, port: ResolvedOutput) -> tuple[timedelta, str] | Unknown:
    from dp_dagster.pipeline.lag import measure_lag

    try:
        lag = measure_lag(product, port)
    except DataProductError as error:
        return Unknown(str(error))
    return lag.duration, lag.reason


def _readable(table: Table, version: int, back: datetime) -> Readable | Unknown:
    """Whether the version that was on show at a time can still be read; the first, where that is younger."""
    from dp_dagster.errors import UsageError

    try:
        history = [one for one in table.history() if one.version <= version]
        if not history:
            return Readable(None)
        oldest = next((one for one in history if one.at <= back), history[-1])
        try:
            table.snapshot(oldest.version)
        except UsageError as error:
            return Readable(oldest.at, str(error))
        return Readable(oldest.at)
    except DataProductError as error:
        return Unknown(str(error))


def _arrived(product: ResolvedProduct, dataset: ResolvedDataset, held_at: datetime) -> datetime | None:
    """When the newest input of a held version had come in, as far as it was landed."""
    from dp_dagster.storage import Table, input_table

    found: list[datetime] = []
    for name in product.inputs_of(dataset.source):
        table = Table(input_table(product.settings.storage, product.id, name))
        if table.exists():
            found += [entry.at for entry in table.history(20) if entry.at <= held_at][:1]
    return max(found, default=None)
