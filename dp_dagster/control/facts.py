"""What the records add up to, followed as they grow: each look costs what is new, not what there is."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy

from dp_dagster.contracts.verdict import Verdict

if TYPE_CHECKING:
    from dp_dagster.records import Records

_COUNTED = ("audited", "published", "held", "quarantined", "rolled_back", "refused", "read")
_OF_RUNS = ("audited", "published", "held", "quarantined", "projected")
_NAMED = 500


@dataclass
class Facts:
    """What has happened to each asset, by product and subject (``v1/dataset/flights``).

    Attributes:
        counts: How often each kind of record was written, by product, subject and kind.
        verdicts: The last verdict.
        runs: How many seconds the last run of each product took until its last record, and when that was.
    """

    counts: dict[tuple[str, str, str], int] = field(default_factory=dict)
    verdicts: dict[tuple[str, str], Verdict] = field(default_factory=dict)
    runs: dict[str, tuple[float, datetime]] = field(default_factory=dict)


class RecordFacts:
    """Follows the records of one database. Safe for several threads."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._facts = Facts()
        self._seen = 0
        self._lock = threading.Lock()

    def now(self) -> Facts:
        """The facts as they are now: three statements, whatever the history.

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
                    seconds = (ended - datetime.fromisoformat(begun)).total_seconds()
                    self._facts.runs[row.product] = (max(seconds, 0.0), ended)
            self._seen = newest
