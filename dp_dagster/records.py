"""Records: who did what to which product, appended for good and chained by hash.

One table in SQLite (default) or PostgreSQL. Each record carries the hash of the one before it, so a record that
was changed, removed or slipped in afterwards shows in :meth:`Records.verify`. Writers are serialised; what
:meth:`Records.append` returned survives kill -9.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from dp_dagster.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Row

    from dp_dagster.records_database import RecordsDatabase

Kind = Literal["audited", "published", "held", "rolled_back", "quarantined", "projected", "cleaned"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_GENESIS = "0" * 64


@dataclass(frozen=True)
class Record:
    """One thing that happened.

    Attributes:
        id: Position in the chain, from 1 without gaps.
        at: When it was recorded, UTC, ISO 8601.
        kind: What happened; one of :data:`KINDS`.
        product: Id of the product.
        subject: What it happened to (``v1/dataset/flights``).
        actor: Who did it: a person, or the service that ran.
        run_id: The run in which it happened.
        payload: The facts, as JSON.
        previous_hash: Hash of the record before; zeros for the first.
        hash: SHA-256 over all of the above.
    """

    id: int
    at: str
    kind: str
    product: str
    subject: str
    actor: str
    run_id: str
    payload: dict[str, Any]
    previous_hash: str
    hash: str


class Records:
    """The store of records behind a database URL.

    Example:
        >>> records = Records("sqlite:////srv/store/records.db")
        >>> records.append("published", "flights", "v1/dataset/flights", "run", run_id, {"version": 3})
    """

    def __init__(self, url: str, *, lock_timeout: float = 60.0) -> None:
        """Remember where the records are; the database is opened, and made, on first use.

        Args:
            url: SQLAlchemy URL of SQLite or PostgreSQL.
            lock_timeout: Seconds to wait for another writer.
        """
        self._url = url
        self._lock_timeout = lock_timeout
        self._opened: RecordsDatabase | None = None
        self._opening = threading.Lock()

    def append(  # noqa: PLR0917 the fields of a record, in their order
        self, kind: Kind, product: str, subject: str, actor: str, run_id: str, payload: Mapping[str, Any]
    ) -> Record:
        """Put one record at the end of the chain. When this returns, the record is on disk.

        Raises:
            UsageError: the kind is unknown, or the payload is not JSON.
            LockedError: another writer held the chain for too long.
            StoreError: the database cannot be written.
        """
        if kind not in KINDS:
            raise UsageError(f"records of kind {kind!r} are unknown; use one of {', '.join(KINDS)}")
        try:
            # What JSON makes of it is what is kept, so that the hash can be computed again.
            facts = json.loads(_canonical(dict(payload)))
        except (TypeError, ValueError) as error:
            raise UsageError(f"the payload of a record must be JSON: {error}") from error
        database = self._database()
        with database.writing() as connection:
            count, last_hash = _head(database, connection)
            record = Record(
                id=count + 1,
                at=datetime.now(UTC).isoformat(timespec="microseconds"),
                kind=kind,
                product=product,
                subject=subject,
                actor=actor,
                run_id=run_id,
                payload=facts,
                previous_hash=last_hash,
                hash="",
            )
            record = replace(record, hash=_hash_of(record))
            connection.execute(
                database.records.insert().values({**asdict(record), "payload": _canonical(facts)})
            )
            connection.execute(database.head.update().values(count=record.id, hash=record.hash))
        return record

    def query(
        self,
        product: str | None = None,
        subject: str | None = None,
        kind: Kind | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> list[Record]:
        """Records that match all that is given, newest first.

        Args:
            product: Id of the product.
            subject: What it happened to.
            kind: What happened.
            since: Not older than this; must carry a time zone.
            limit: At most that many.

        Raises:
            UsageError: ``since`` has no time zone, or ``limit`` is negative.
            StoreError: the database cannot be read.
        """
        if since is not None and since.tzinfo is None:
            raise UsageError(f"{since.isoformat()} has no time zone; add one")
        if limit is not None and limit < 0:
            raise UsageError(f"a limit of {limit} is refused; give 0 or more")
        database = self._database()
        table = database.records
        statement = table.select().order_by(table.c.id.desc()).limit(limit)
        for name, value in {"product": product, "subject": subject, "kind": kind}.items():
            if value is not None:
                statement = statement.where(table.c[name] == value)
        if since is not None:
            statement = statement.where(
                table.c["at"] >= since.astimezone(UTC).isoformat(timespec="microseconds")
            )
        with database.reading() as connection:
            return [_record(row) for row in connection.execute(statement)]

    def verify(self) -> list[str]:
        """What is wrong with the chain, one sentence each; empty when every record is as it was written.

        Raises:
            StoreError: the database cannot be read.
        """
        problems: list[str] = []
        expected, previous = 1, _GENESIS
        database = self._database()
        table = database.records
        with database.reading() as connection:
            for row in connection.execute(table.select().order_by(table.c.id)):
                if row.id != expected:
                    problems.append(f"records {expected} to {row.id - 1} are missing")
                elif row.previous_hash != previous:
                    problems.append(f"record {row.id} does not follow the one before it")
                if _is_altered(row):
                    problems.append(f"record {row.id} was changed after it was written")
                expected, previous = row.id + 1, row.hash
            count, last_hash = _head(database, connection)
        if (count, last_hash) != (expected - 1, previous):
            problems.append(f"the chain ends at record {expected - 1}, but {count} records were written")
        return problems

    def _database(self) -> RecordsDatabase:
        # SQLAlchemy costs 0.2 s to import; commands that never touch records do without.
        from dp_dagster.records_database import RecordsDatabase

        with self._opening:
            if self._opened is None:
                self._opened = RecordsDatabase.open(self._url, self._lock_timeout)
            return self._opened


def _head(database: RecordsDatabase, connection: Connection) -> tuple[int, str]:
    row = connection.execute(database.head.select()).first()
    return (0, _GENESIS) if row is None else (int(row[0]), str(row[1]))


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _hash_of(record: Record) -> str:
    content = {name: value for name, value in asdict(record).items() if name != "hash"}
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


def _record(row: Row[Any]) -> Record:
    values = dict(row._mapping)  # noqa: SLF001 SQLAlchemy's public name for a row as a mapping
    return Record(**{**values, "payload": json.loads(values["payload"])})


def _is_altered(row: Row[Any]) -> bool:
    try:
        record = _record(row)
    except ValueError:  # the payload is no JSON any more
        return True
    # The payload's own spelling counts as well.
    return _hash_of(record) != record.hash or _canonical(record.payload) != row.payload
