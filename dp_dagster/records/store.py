"""The store of records: one table in SQLite (default) or PostgreSQL.

Each record carries the hash of the one before it, so a record that was changed, removed or slipped in afterwards
shows in :meth:`Records.verification`. Writers are serialised; what :meth:`Records.append` returned survives kill -9.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import UsageError
from dp_dagster.records.model import GENESIS, KINDS, Kind, Record, canonical, hash_of
from dp_dagster.records.verification import Anchor, Verification, anchor_of, verify_chain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from sqlalchemy import Connection, Row, Select

    from dp_dagster.records_database import RecordsDatabase

_PAGE = 1000


class Records:
    """The store of records behind a database URL.

    Example:
        >>> records = Records("sqlite:////srv/store/records.db")
        >>> records.append("published", "flights", "v1/dataset/flights", "user:ada", run_id, {"version": 3})
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

    # -- writing -------------------------------------------------------------------------------------------

    def append(  # noqa: PLR0917 the fields of a record, in their order
        self, kind: Kind, product: str, subject: str, actor: str, run_id: str, payload: Mapping[str, Any]
    ) -> Record:
        """Put one record at the end of the chain. When this returns, the record is on disk.

        Raises:
            UsageError: the kind is unknown, or the payload is not JSON.
            LockedError: another writer held the chain for too long.
            StoreError: the database cannot be written.
        """
        _checked(kind, payload)  # nobody waits for what is refused
        database = self.database()
        with database.writing() as connection:
            return append_within(database, connection, kind, product, subject, actor, run_id, payload)

    def append_if_changed(  # noqa: PLR0917 the fields of a record, in their order
        self, kind: Kind, product: str, subject: str, actor: str, run_id: str, payload: Mapping[str, Any]
    ) -> Record | None:
        """As :meth:`append`, unless the newest record of that kind, product and subject says the same.

        Raises:
            UsageError: the kind is unknown, or the payload is not JSON.
            LockedError: another writer held the chain for too long.
            StoreError: the database cannot be read or written.
        """
        facts = _checked(kind, payload)
        known = self.query(product=product, subject=subject, kind=kind, limit=1)
        if known and canonical(known[0].payload) == facts:
            return None  # most of the time; nobody has to wait for it
        database = self.database()
        with database.writing() as connection:
            statement = _selected(database, product=product, subject=subject, kind=kind)
            newest = connection.execute(statement.order_by(database.records.c.id.desc()).limit(1)).first()
            if newest is not None and newest.payload == facts:
                return None
            return append_within(database, connection, kind, product, subject, actor, run_id, payload)

    # -- reading -------------------------------------------------------------------------------------------

    def query(
        self,
        product: str | None = None,
        subject: str | None = None,
        kind: Kind | None = None,
        since: datetime | None = None,
        limit: int | None = None,
        *,
        actor: str | None = None,
        until: datetime | None = None,
        before: int | None = None,
        after: int | None = None,
        oldest_first: bool = False,
    ) -> list[Record]:
        """Records that match all that is given, newest first.

        To page, give the id of the last record of a page as ``before`` (as ``after``, if ``oldest_first``). Product,
        kind, actor and time have indexes.

        Args:
            product: Id of the product.
            subject: What it happened to.
            kind: What happened.
            since: Not older than this; must carry a time zone.
            limit: At most that many.
            actor: Who did it.
            until: Older than this; must carry a time zone.
            before: Only records with smaller ids.
            after: Only records with greater ids.
            oldest_first: In the order in which they were appended.

        Raises:
            UsageError: a time has no time zone, or ``limit`` is negative.
            StoreError: the database cannot be read.
        """
        if limit is not None and limit < 0:
            raise UsageError(f"a limit of {limit} is refused; give 0 or more")
        for moment in (since, until):
            if moment is not None and moment.tzinfo is None:
                raise UsageError(f"{moment.isoformat()} has no time zone; add one")
        database = self.database()
        column = database.records.c
        statement = _selected(database, product=product, subject=subject, kind=kind, actor=actor)
        if since is not None:
            statement = statement.where(column.at >= _moment(since))
        if until is not None:
            statement = statement.where(column.at < _moment(until))
        if before is not None:
            statement = statement.where(column.id < before)
        if after is not None:
            statement = statement.where(column.id > after)
        statement = statement.order_by(column.id if oldest_first else column.id.desc()).limit(limit)
        with database.reading() as connection:
            return [_record(row) for row in connection.execute(statement)]

    def stream(
        self, *, oldest_first: bool = False, limit: int | None = None, **wanted: Any
    ) -> Iterator[Record]:
        """As :meth:`query`, a page at a time: neither memory nor a transaction grows with the log.

        What is appended meanwhile comes too when ``oldest_first``, and never otherwise.

        Args:
            oldest_first: In the order in which they were appended.
            limit: At most that many.
            **wanted: As for :meth:`query`.

        Raises:
            UsageError: as :meth:`query`.
            StoreError: the database cannot be read.
        """
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            page = self.query(oldest_first=oldest_first, limit=size, **wanted)
            yield from page
            if len(page) < size:
                return
            wanted["after" if oldest_first else "before"] = page[-1].id
            left = None if left is None else left - size

    # -- proving -------------------------------------------------------------------------------------------

    def verification(self, anchors: Iterable[Anchor] = ()) -> Verification:
        """Whether every record is as it was written, none is missing, and none was slipped in.

        Reads the chain once, in one transaction that stops no writer.

        Args:
            anchors: Heads that were kept outside; the chain must still hold each of them.

        Raises:
            StoreError: the database cannot be read.
        """
        return verify_chain(self.database(), tuple(anchors))

    def verify(self) -> list[str]:
        """What is wrong with the chain, one sentence each; empty when every record is as it was written.

        Raises:
            StoreError: the database cannot be read.
        """
        return [str(problem) for problem in self.verification().problems]

    def anchor(self) -> Anchor:
        """Where the chain ends now, to be kept where those who can write the database cannot write.

        Raises:
            StoreError: the database cannot be read, or does not end where its head says.
        """
        return anchor_of(self.database())

    def database(self) -> RecordsDatabase:
        """The database, opened; other stores keep tables of their own in it.

        Raises:
            SettingsError: the URL is not one of SQLite or PostgreSQL.
            NotInstalledError: the driver is missing.
            StoreError: the database cannot be reached or made.
        """
        # SQLAlchemy costs 0.2 s to import; commands that never touch records do without.
        from dp_dagster.records_database import RecordsDatabase

        with self._opening:
            if self._opened is None:
                self._opened = RecordsDatabase.open(self._url, self._lock_timeout)
            return self._opened


def _checked(kind: str, payload: Mapping[str, Any]) -> str:
    """The payload as it is kept.

    Raises:
        UsageError: the kind is unknown, or the payload is not JSON.
    """
    if kind not in KINDS:
        raise UsageError(f"records of kind {kind!r} are unknown; use one of {', '.join(KINDS)}")
    try:
        # What JSON makes of it is what is kept, so that the hash can be computed again.
        return canonical(json.loads(canonical(dict(payload))))
    except (TypeError, ValueError) as error:
        raise UsageError(f"the payload of a record must be JSON: {error}") from error


def append_within(  # noqa: PLR0917 the fields of a record, in their order
    database: RecordsDatabase,
    connection: Connection,
    kind: Kind,
    product: str,
    subject: str,
    actor: str,
    run_id: str,
    payload: Mapping[str, Any],
) -> Record:
    """Append a record in a transaction that is open for writing, so that it stands or falls with what else is in it.

    Args:
        database: The database.
        connection: Of its :meth:`~dp_dagster.records_database.RecordsDatabase.writing`.
        kind: What happened.
        product: Id of the product.
        subject: What it happened to.
        actor: Who did it.
        run_id: The run in which it happened.
        payload: The facts.

    Raises:
        UsageError: the kind is unknown, or the payload is not JSON.
    """
    facts = _checked(kind, payload)
    head = connection.execute(database.head.select()).first()
    count, previous = (0, GENESIS) if head is None else (int(head[0]), str(head[1]))
    at = _moment(datetime.now(UTC))
    digest = hash_of(count + 1, at, kind, product, subject, actor, run_id, facts, previous)
    record = Record(
        id=count + 1,
        at=at,
        kind=kind,
        product=product,
        subject=subject,
        actor=actor,
        run_id=run_id,
        payload=json.loads(facts),
        previous_hash=previous,
        hash=digest,
    )
    connection.execute(database.records.insert().values({**asdict(record), "payload": facts}))
    connection.execute(database.head.update().values(count=record.id, hash=digest))
    return record


def _selected(database: RecordsDatabase, **wanted: str | None) -> Select[Any]:
    statement = database.records.select()
    for name, value in wanted.items():
        if value is not None:
            statement = statement.where(database.records.c[name] == value)
    return statement


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _record(row: Row[Any]) -> Record:
    values = dict(row._mapping)  # noqa: SLF001 SQLAlchemy's public name for a row as a mapping
    return Record(**{**values, "payload": json.loads(values["payload"])})
