"""What the records add up to, followed as they grow: each look costs what is new, not what there is."""

from __future__ import annotations

import json
import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy

from dp_dagster.contracts.verdict import Verdict

if TYPE_CHECKING:
    from dp_dagster.records import Records

_COUNTED = ("audited", "published", "held", "quarantined", "rolled_back", "refused", "read")
_OF_RUNS = ("audited", "published", "held", "quarantined", "projected")
_NAMED = 500
_PAGE = 10_000
_JUDGED = ("published", "held")
BOUNDS = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21_600.0, 86_400.0)
"""Upper ends of the buckets of durations, in seconds; they lie inside. One more bucket is for what took longer."""


@dataclass
class Durations:
    """How long something took, each time that it happened.

    Attributes:
        buckets: How often it took up to each of :data:`BOUNDS` (and more than the one before), and longer.
        seconds: All of them together.
    """

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """One more time."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


@dataclass
class Facts:
    """What has happened to each asset, by product and subject (``v1/dataset/flights``).

    Attributes:
        counts: How often each kind of record was written, by product, subject and kind.
        verdicts: The last verdict.
        runs: How many seconds the last run of each product took until its last record, and when that was.
        durations: How long runs took until they had published an asset, or held its candidate, by product, subject
            and kind. A run's end is written down nowhere; these are, and each of them once.
        set_aside: How many rows were set aside, by product and subject, inputs (``input/sales``) among them.
    """

    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    verdicts: dict[tuple[str, str], Verdict] = field(default_factory=dict)
    runs: dict[str, tuple[float, datetime]] = field(default_factory=dict)
    durations: dict[tuple[str, str, str], Durations] = field(default_factory=dict)
    set_aside: dict[tuple[str, str], int] = field(default_factory=dict)


class RecordFacts:
    """Follows the records of one database. Safe for several threads."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._facts = Facts()
        self._seen = 0
        self._lock = threading.Lock()

    def now(self) -> Facts:
        """The facts as they are now: six statements, whatever the history.

        Raises:
            StoreError: the records cannot be read.
        """
        with self._lock:
            self._follow()
            return self._facts

    def _follow(self) -> None:
        database = self._records.database()
        column = database.records.c
        with database.reading() as connection:
            newest = connection.execute(sqlalchemy.select(sqlalchemy.func.max(column.id))).scalar() or 0
            if newest == self._seen:
                return
            fresh = (column.id > self._seen) & (column.id <= newest)
            counted = (
                sqlalchemy.select(
                    column.product,
                    column.subject,
                    column.kind,
                    sqlalchemy.func.count().label("times"),
                    sqlalchemy.func.max(column.id).label("last"),
                )
                .where(fresh & column.kind.in_(_COUNTED))
                .group_by(column.product, column.subject, column.kind)
            )
            last_audits = []
            for row in connection.execute(counted):
                place = (row.product, row.subject, row.kind)
                self._facts.counts[place] = self._facts.counts.get(place, 0) + row.times
                if row.kind == "audited":
                    last_audits.append(row.last)
            for start in range(0, len(last_audits), _NAMED):
                wanted = column.id.in_(last_audits[start : start + _NAMED])
                for row in connection.execute(database.records.select().where(wanted)):
                    verdict = Verdict.from_dict(json.loads(row.payload)["verdict"])
                    self._facts.verdicts[row.product, row.subject] = verdict
            last = (
                sqlalchemy.select(sqlalchemy.func.max(column.id))
                .where(fresh & (column.run_id != "") & column.kind.in_(_OF_RUNS))
                .group_by(column.product)
            )
            for row in connection.execute(database.records.select().where(column.id.in_(last))):
                # Releases before this did not write down when a run began; nothing is told of these.
                begun = json.loads(row.payload).get("run_started")
                if begun is not None:
                    ended = datetime.fromisoformat(row.at)
                    self._facts.runs[row.product] = (_seconds(begun, row.at), ended)
            dialect = connection.dialect.name
            rows = sqlalchemy.cast(_fact(column.payload, "rows", dialect), sqlalchemy.BigInteger)
            aside = (
                sqlalchemy.select(column.product, column.subject, sqlalchemy.func.sum(rows).label("rows"))
                .where(fresh & (column.kind == "quarantined"))
                .group_by(column.product, column.subject)
            )
            for row in connection.execute(aside):
                before = self._facts.set_aside.get((row.product, row.subject), 0)
                self._facts.set_aside[row.product, row.subject] = before + int(row.rows or 0)
            begun = _fact(column.payload, "run_started", dialect)
            judged = sqlalchemy.select(
                column.product, column.subject, column.kind, column.at, begun.label("begun")
            ).where(fresh & (column.run_id != "") & column.kind.in_(_JUDGED))
            for row in connection.execute(judged.execution_options(yield_per=_PAGE)):
                if row.begun is not None:
                    judged_at = (row.product, row.subject, row.kind)
                    found = self._facts.durations.setdefault(judged_at, Durations())
                    found.add(_seconds(row.begun, row.at))
            self._seen = newest


def _fact(payload: Any, name: str, dialect: str) -> Any:
    """One fact of a record, read by the database: payloads may be large."""
    if dialect == "sqlite":
        return sqlalchemy.func.json_extract(payload, f"$.{name}")
    return sqlalchemy.func.json_extract_path_text(sqlalchemy.cast(payload, sqlalchemy.JSON), name)


def _seconds(begun: str, ended: str) -> float:
    seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds()
    return max(seconds, 0.0)
