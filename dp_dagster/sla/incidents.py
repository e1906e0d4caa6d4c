"""Versions that were held, and when what was wrong with them was mended: read from the records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dp_dagster.sla.facts import Incident

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dp_dagster.resolve import ResolvedDataset, ResolvedProduct
    from dp_dagster.sla.store import Readings


@dataclass(frozen=True)
class VersionEvent:
    """A version that was held or published.

    Attributes:
        at: When it went on record.
        kind: ``held`` or ``published``.
        subject: ``v1/dataset/sales``, ``input/sales``.
        partitions: Which of its partitions a held version was made for, or a run that published was asked for, as
            ``2026-01..2026-03``; empty where there are none, or the run made all that are due.
    """

    at: datetime
    kind: str
    subject: str
    partitions: str = ""


class HeldVersions:
    """Records of held and published versions, read on from where the last round stopped."""

    def __init__(self) -> None:
        self._last = 0
        self._since: datetime | None = None
        self._events: dict[str, list[VersionEvent]] = {}

    def events(self, readings: Readings, since: datetime) -> Mapping[str, list[VersionEvent]]:
        """What was held or published since then, by product, oldest first.

        Raises:
            StoreError: the records cannot be read.
        """
        import sqlalchemy

        if self._since is None or since < self._since:
            self._last, self._since, self._events = 0, since, {}
        database, _ = readings.opened()
        table = database.records
        columns = (table.c.id, table.c.at, table.c.kind, table.c.product, table.c.subject, table.c.payload)
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
                number, at, kind, product, subject, payload = row
                self._last = number
                event = VersionEvent(datetime.fromisoformat(at), kind, subject, _partitions(kind, payload))
                self._events.setdefault(product, []).append(event)
        # What is older than anybody asks for goes.
        self._since = max(self._since, since)
        for product, events in self._events.items():
            self._events[product] = [one for one in events if one.at >= self._since]
        return self._events


def _partitions(kind: str, payload: str) -> str:
    said: dict[str, Any] = json.loads(payload)
    found = said.get("partitions") if kind == "held" else said.get("commit", {}).get("dp.asked_for")
    return str(found or "")


def incidents_of(
    product: ResolvedProduct,
    dataset: ResolvedDataset,
    events: Sequence[VersionEvent],
    arrived: Callable[[datetime], datetime | None],
) -> tuple[Incident, ...]:
    """The versions of a dataset, and of the inputs that it is made from, that were held.

    Args:
        product: Whose.
        dataset: Which of its datasets.
        events: What was held or published, oldest first.
        arrived: When the newest input of a version had come in that was held at a time.
    """
    subject = f"v{dataset.major}/dataset/{dataset.name}"
    inputs = {f"input/{name}" for name in product.inputs_of(dataset.source)}
    published = [one for one in events if one.kind == "published" and one.subject == subject]
    return tuple(
        Incident(one.at, arrived(one.at), _repaired_at(product, one, published))
        for one in events
        if one.kind == "held" and (one.subject == subject or one.subject in inputs)
    )


def _repaired_at(
    product: ResolvedProduct, held: VersionEvent, published: Sequence[VersionEvent]
) -> datetime | None:
    """When everything that was held had been published.

    A run of all that is due makes what was held, too, or finds that it is as it was. A run of some partitions mends
    those alone.
    """
    missing = _keys(product, held.partitions)
    for one in published:
        if one.at <= held.at:
            continue
        asked_for = _keys(product, one.partitions)
        missing -= asked_for
        if not asked_for or not missing:
            return one.at
    return None


def _keys(product: ResolvedProduct, partitions: str) -> set[str]:
    from dp_dagster.descriptor.partitions import read_told

    return set(read_told(partitions, product.calendar)) if product.calendar is not None else set()


def arrived_before(product: ResolvedProduct, dataset: ResolvedDataset, held_at: datetime) -> datetime | None:
    """When the newest input of a held version had come in, as far as it was landed."""
    from dp_dagster.storage import Table, input_table

    found: list[datetime] = []
    for name in product.inputs_of(dataset.source):
        table = Table(input_table(product.settings.storage, product.id, name))
        if table.exists():
            found += [entry.at for entry in table.history(20) if entry.at <= held_at][:1]
    return max(found, default=None)
