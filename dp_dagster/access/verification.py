"""Proving the access log: each batch against the record that sealed it."""

from __future__ import annotations

import hashlib
import json
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from dp_dagster.records import Records

BATCH = "accesses/"
"""Begins the subject of the records of kind ``read`` that seal a batch; its name follows."""

REMOVED = "accesses"
"""Subject of the records of kind ``cleaned`` that say up to which batch accesses are no longer kept."""


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
# A batch of more accesses has a mark for every few of them: the chain shall not grow with the traffic.
_MOST_MARKS = 1024
_MARK = 4


class Sealed(NamedTuple):
    """What the chain says of a batch.

    Attributes:
        record: The record's number.
        at: Its time.
        accesses: How many there are.
        digest: Of all of them.
        marks: The beginnings of the digests of each of them, or of each few; empty where an older release wrote it.
    """

    record: int
    at: str
    accesses: int
    digest: str
    marks: str = ""


def seal_of(rows: Sequence[tuple[Any, ...]]) -> tuple[str, str]:
    """The digest of accesses as they lie in the table, without batch and number, and the marks that tell them apart.

    The digest proves all of them. A mark proves nothing, being short: it finds the first that is not as it was.
    """
    size = _at_once(len(rows))
    texts = [_ENCODE(rows[start : start + size])[1:-1].encode() for start in range(0, len(rows), size)]
    digest = hashlib.sha256(b"[" + b",".join(texts) + b"]").hexdigest()
    return digest, "".join(map(_mark, texts))


def _at_once(accesses: int) -> int:
    """How many accesses share a mark."""
    return max(1, -(-accesses // _MOST_MARKS))


def _mark(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_MARK]


def sealed_batches(
    records: Records, *, since: datetime | None = None, until: datetime | None = None
) -> dict[str, Sealed]:
    """The batches that were sealed in that time, by name.

    Raises:
        StoreError: the database cannot be read.
    """
    found = {}
    for record in records.stream(kind="read", since=since, until=until):
        if record.subject.startswith(BATCH):
            said = record.payload
            found[record.subject.removeprefix(BATCH)] = Sealed(
                record.id, record.at, said.get("accesses", 0), said.get("digest", ""), said.get("marks", "")
            )
    return found


def removed_until(records: Records) -> str:
    """The name before which batches are no longer kept; empty where all are.

    Raises:
        StoreError: the database cannot be read.
    """
    newest = records.query(kind="cleaned", subject=REMOVED, limit=1)
    return str(newest[0].payload["until"]) if newest else ""


def verify(records: Records) -> list[str]:
    """What is wrong with the accesses that were written down, one sentence each; empty where nothing is.

    Compares each batch with its record; whether the records themselves are whole, :meth:`Records.verify` says. What
    is no longer kept was compared when it went.

    Raises:
        StoreError: the database cannot be read.
    """
    from sqlalchemy import inspect

    from dp_dagster.access.access_tables import ACCESSES

    kept_from = removed_until(records)
    problems = [
        f"accesses of batch {name} were not as they were written when they were removed on {record.at[:10]} "
        f"(record {record.id})"
        for record in records.stream(kind="cleaned", subject=REMOVED, oldest_first=True)
        for name in record.payload.get("altered", ())
    ]
    expected = {name: sealed for name, sealed in sealed_batches(records).items() if name >= kept_from}
    statement = (
        ACCESSES.select().where(ACCESSES.c.batch >= kept_from).order_by(ACCESSES.c.batch, ACCESSES.c.number)
    )
    with records.database().reading() as connection:
        if not inspect(connection).has_table(ACCESSES.name):
            rows: Iterable[Any] = ()
        else:
            rows = connection.execute(statement.execution_options(yield_per=10_000))
        for name, found in groupby(rows, key=lambda row: str(row.batch)):
            held = {int(row.number): tuple(row)[2:] for row in found}
            sealed = expected.pop(name, None)
            if sealed is None:
                problems.append(f"{len(held)} accesses of batch {name} are on no record")
            elif sealed.digest != seal_of(list(held.values()))[0]:
                problems.append(
                    f"accesses of {_place(name, sealed)} were changed, removed or added after they were written "
                    f"({len(held)} are there, {sealed.accesses} were written){_first(held, sealed)}"
                )
    problems += [
        f"all {sealed.accesses} accesses of {_place(name, sealed)} are gone"
        for name, sealed in expected.items()
        if sealed.accesses
    ]
    return problems


def _first(held: Mapping[int, tuple[Any, ...]], sealed: Sealed) -> str:
    """Which access is the first that is not as it was written, as far as that can be told."""
    size = _at_once(sealed.accesses)
    for number, start in enumerate(range(0, sealed.accesses, size)):
        numbers = range(start, min(start + size, sealed.accesses))
        gone = next((one for one in numbers if one not in held), None)
        if gone is not None:
            return f"; the first is number {gone}, which is gone"
        mark = sealed.marks[number * _MARK : (number + 1) * _MARK]
        if mark and mark != _mark(_ENCODE([held[one] for one in numbers])[1:-1].encode()):
            now = _told(held[start])
            if len(numbers) == 1:
                return f"; the first is number {start}, now: {now}"
            return f"; the first is one of numbers {start} to {numbers[-1]}, of which number {start} is now: {now}"
    added = next((one for one in held if not 0 <= one < sealed.accesses), None)
    return f"; number {added} was added: {_told(held[added])}" if added is not None else ""


def _told(access: tuple[Any, ...]) -> str:
    """An access as it lies there, in words."""
    at, product, port, _, version, subject, client, method, columns, rows, status, *_ = access
    by = f"{subject} ({client}, {method})" if client else f"{subject} ({method})"
    read = "no version" if version is None else f"version {version}"
    moment = at[:19].replace("T", " ")
    return f"{by} at {moment} UTC, {product}.{port}, {read}, {rows} rows of {columns}, status {status}"


def _place(name: str, sealed: Sealed) -> str:
    return f"batch {name}, written {sealed.at[:19].replace('T', ' ')} UTC (record {sealed.record}),"
