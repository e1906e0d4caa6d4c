"""The access log: who read what, written down without making anybody wait.

Accesses wait in memory for at most :data:`INTERVAL` seconds and are then written as one batch: the accesses, the
counts by minute, hour and day, and one record on the chain that holds the batch's digest, all in one transaction. So
what was written is whole after kill -9, and whoever changes or removes an access later is found
(:mod:`dp_dagster.access.verification`).
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from bisect import bisect_left
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from dp_dagster.access.retention import EVERY, prune
from dp_dagster.access.verification import seal_of
from dp_dagster.errors import DataProductError
from dp_dagster.records import append_within, service

if TYPE_CHECKING:
    from dp_dagster.records import Records

INTERVAL = 1.0
CAPACITY = 100_000
"""Accesses that may wait. When the database is away for so long that more come, the rest is counted, and the count is
put on the chain: an answer is not held up, and nobody takes the log for complete."""

_LARGEST_BATCH = 20_000
_PATIENCE = 5.0
_LOG = logging.getLogger(__name__)


class Access(NamedTuple):
    """One request and what came of it.

    Attributes:
        at: When it came, in seconds since 1970.
        product: Id of the product.
        port: The port's label.
        dataset: The dataset's label.
        version: The version that was read; ``None`` where it came to none.
        subject: Who asked.
        client: The application that asked for them.
        method: How they proved it.
        columns: What was given or asked about.
        rows: How many rows were given.
        status: HTTP status.
        milliseconds: From the request to the end of the answer.
        bytes: Size of the answer.
    """

    at: float
    product: str
    port: str
    dataset: str
    version: int | None
    subject: str
    client: str | None
    method: str
    columns: tuple[str, ...]
    rows: int
    status: int
    milliseconds: float
    bytes: int = 0

    @property
    def consumer(self) -> str:
        """Whose limits it counts towards; the anonymous share them."""
        return _consumer(self.method, self.subject)


class AccessLog:
    """Writes accesses in a thread of its own. One for each process.

    Args:
        records: The chain.
        capacity: How many accesses may wait.
        keep: How long accesses are kept; ``None`` for ever.
    """

    def __init__(self, records: Records, capacity: int = CAPACITY, *, keep: timedelta | None = None) -> None:
        self._records = records
        self._capacity = capacity
        self._keep = keep
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._waiting: list[Access] = []
        self._dropped = 0
        self._pending: Counter[tuple[str, str, str, str]] = Counter()
        self._written: dict[tuple[str, str, str, str], int] = {}
        self._wake = threading.Event()
        self._closing = False
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._made = False
        self._actor = service("serve")

    def start(self) -> None:
        """Begin to write."""
        if self._thread is None:
            self._closing = False
            self._end.clear()
            if self._keep is not None:
                # Beside the writer, whom it must not hold up.
                threading.Thread(target=self._prune, name="access-retention", daemon=True).start()
            self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write what waits, and end. Takes at most a few seconds, also when the database is away."""
        thread, self._thread = self._thread, None
        self._closing = True
        self._end.set()
        self._wake.set()
        if thread is not None:
            thread.join(_PATIENCE)
        if thread is None or not thread.is_alive():
            self.flush()
        left = len(self._waiting) + self._dropped
        if left:
            _LOG.error("%d accesses could not be written down", left)

    def record(self, access: Access) -> None:
        """Take an access. Never waits for the database, and never fails."""
        with self._lock:
            if len(self._waiting) >= self._capacity:
                self._dropped += 1
                return
            self._waiting.append(access)
            if access.rows:
                self._pending[_usage_key(access)] += access.rows
        if len(self._waiting) >= _LARGEST_BATCH:
            self._wake.set()

    def rows_today(self, product: str, port: str, consumer: str) -> int:
        """Rows that a consumer has taken from a port today (UTC), as far as is known here.

        What other processes gave is known after the next batch that holds an access of the same consumer.
        """
        key = (product, port, _day(time.time()), consumer)
        return self._written.get(key, 0) + self._pending.get(key, 0)

    def flush(self) -> bool:
        """Write what waits now; whether that worked."""
        try:
            with self._flushing:
                while self._waiting or self._dropped:
                    self._write_batch()
        except DataProductError as error:
            _LOG.warning("%d accesses wait to be written down: %s", len(self._waiting), error)
            return False
        return True

    def _run(self) -> None:
        pause = INTERVAL
        while not self._closing:
            self._wake.wait(pause)
            self._wake.clear()
            # A database that is away is asked less and less often.
            pause = INTERVAL if self.flush() else min(pause * 2, _PATIENCE)

    def _prune(self) -> None:
        assert self._keep is not None
        while True:
            try:
                prune(self._records, self._keep, self._actor, ended=self._end.is_set)
            except DataProductError as error:
                _LOG.warning("old accesses stay for now: %s", error)
            if self._end.wait(EVERY.total_seconds()):
                return

    def _write_batch(self) -> None:
        with self._lock:
            batch, dropped = self._waiting[:_LARGEST_BATCH], self._dropped
        usage = _write(self._records, batch, dropped, self._actor, make=not self._made)
        self._made = True
        with self._lock:
            del self._waiting[: len(batch)]
            self._dropped -= dropped
            for access in batch:
                if access.rows:
                    self._pending[_usage_key(access)] -= access.rows
            self._pending += Counter()  # forgets what is zero
            today = _day(time.time())
            self._written = {key: rows for key, rows in self._written.items() if key[2] == today} | usage


def _write(
    records: Records, batch: list[Access], dropped: int, actor: str, *, make: bool
) -> dict[tuple[str, str, str, str], int]:
    """Write a batch in one transaction; the rows that its consumers have taken by then.

    Raises:
        LockedError: another writer held the records for too long.
        StoreError: the database cannot be written.
    """
    from dp_dagster.access.access_tables import (
        ACCESSES,
        BOUNDS,
        BUCKETS,
        TABLES,
        USAGE,
        add_all,
        add_counts,
        insert_all,
    )

    name = f"{int(time.time() * 1000):012x}{secrets.token_hex(4)}"
    named: dict[tuple[str, ...], str] = {}
    rows = [_row(name, number, access, named) for number, access in enumerate(batch)]
    minutes: dict[tuple[str, str, int], list[int]] = {}
    days: dict[tuple[str, str, str, str], list[int]] = {}
    for access in batch:
        counts = minutes.setdefault(
            (access.product, access.port, int(access.at // 60)), [0] * (2 + len(BUCKETS))
        )
        counts[0] += 1
        counts[1] += access.status < 500
        counts[2 + bisect_left(BOUNDS, access.milliseconds)] += 1
        used = days.setdefault(_usage_key(access), [0, 0])
        used[0] += 1
        used[1] += access.rows
    products = sorted({access.product for access in batch})
    digest, marks = seal_of([row[2:] for row in rows])
    database = records.database()
    if make:
        database.make(TABLES)
    with database.writing() as connection:
        insert_all(connection, ACCESSES, rows)
        add_counts(connection, minutes)
        add_all(connection, USAGE, [(*key, *used) for key, used in days.items()])
        append_within(
            database,
            connection,
            "read",
            products[0] if len(products) == 1 else "",
            f"accesses/{name}",
            actor,
            "",
            {
                "accesses": len(batch),
                "digest": digest,
                "marks": marks,
                "products": products,
                **({"not_kept": dropped} if dropped else {}),
            },
        )
        return {key: _rows_of(connection, USAGE, key) for key in days}


def _rows_of(connection: Any, usage: Any, key: tuple[str, str, str, str]) -> int:
    names = ("product", "port", "day", "consumer")
    statement = usage.select()
    for name, value in zip(names, key, strict=True):
        statement = statement.where(usage.c[name] == value)
    row = connection.execute(statement).first()
    return int(row.rows) if row is not None else 0


def _row(batch: str, number: int, access: Access, named: dict[tuple[str, ...], str]) -> tuple[Any, ...]:
    columns = named.get(access.columns)
    if columns is None:
        columns = named[access.columns] = json.dumps(access.columns, ensure_ascii=False)
    return (
        batch,
        number,
        datetime.fromtimestamp(access.at, UTC).isoformat(timespec="microseconds"),
        _storable(access.product),
        _storable(access.port),
        _storable(access.dataset),
        access.version,
        _storable(access.subject),
        None if access.client is None else _storable(access.client),
        access.method,
        _storable(columns),
        access.rows,
        access.status,
        round(access.milliseconds, 3),
        access.bytes,
    )


def _storable(text: str) -> str:
    """A text that every database takes: what is no character stays away from the transaction of all the others."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _usage_key(access: Access) -> tuple[str, str, str, str]:
    return (access.product, access.port, _day(access.at), _consumer(access.method, access.subject))


@lru_cache(maxsize=4096)
def _consumer(method: str, subject: str) -> str:
    return _storable(f"{method}:{subject}")


def _day(seconds: float) -> str:
    # One text for all accesses of a day, without asking the calendar for each.
    number = int(seconds // 86_400)
    if number not in _DAYS:
        _DAYS.clear()
        _DAYS[number] = datetime.fromtimestamp(number * 86_400, UTC).date().isoformat()
    return _DAYS[number]


_DAYS: dict[int, str] = {}
