"""Proving the access log: each batch against the record that sealed it."""

from __future__ import annotations

import hashlib
import json
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from dp_dagster.records import Records

BATCH = "accesses/"
"""Begins the subject of the records of kind ``read`` that seal a batch; its name follows."""

REMOVED = "accesses"
"""Subject of the records of kind ``cleaned`` that say up to which batch accesses are no longer kept."""


class Sealed(NamedTuple):
    """What the chain says of a batch: the record's number and time, how many accesses, and their digest."""

    record: int
    at: str
    accesses: int
    digest: str


def digest_of(rows: Iterable[tuple[Any, ...]]) -> str:
    """The digest of accesses as they lie in the table, without batch and number."""
    text = json.dumps(list(rows), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


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
                record.id, record.at, said.get("accesses", 0), said.get("digest", "")
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
            held = [tuple(row)[2:] for row in found]
            sealed = expected.pop(name, None)
            if sealed is None:
                problems.append(f"{len(held)} accesses of batch {name} are on no record")
            elif sealed.digest != digest_of(held):
                problems.append(
                    f"accesses of {_place(name, sealed)} were changed, removed or added after they were written "
                    f"({len(held)} are there, {sealed.accesses} were written)"
                )
    problems += [
        f"all {sealed.accesses} accesses of {_place(name, sealed)} are gone"
        for name, sealed in expected.items()
        if sealed.accesses
    ]
    return problems


def _place(name: str, sealed: Sealed) -> str:
    return f"batch {name}, written {sealed.at[:19].replace('T', ' ')} UTC (record {sealed.record}),"
