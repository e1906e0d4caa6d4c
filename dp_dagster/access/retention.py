"""How long accesses are kept: whole batches go, the oldest first, and a record on the chain says up to which.

The records that sealed the batches stay, so the chain is whole; verification begins behind the last batch that went.
Each batch is compared with its record once more before it goes, and what was changed until then is named for good.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from dp_dagster.access.verification import REMOVED, removed_until, seal_of, sealed_batches
from dp_dagster.records import append_within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dp_dagster.records import Records

EVERY = timedelta(days=1)
"""How often old accesses are looked for, at most: each time is a record on the chain."""

_AT_ONCE = 50
# Between a batch's name and its record, a writer may have waited for others.
_WAIT = timedelta(minutes=10)


def prune(
    records: Records,
    keep: timedelta,
    actor: str,
    *,
    now: datetime | None = None,
    ended: Callable[[], bool] = lambda: False,
) -> None:
    """Remove the batches that are older.

    Args:
        records: The chain.
        keep: How long accesses are kept.
        actor: Who removes them.
        now: Aware; the time by default.
        ended: Whether to leave the rest to the next time.

    Raises:
        LockedError: another writer held the records for too long.
        StoreError: the database cannot be read or written.
    """
    from dp_dagster.access.access_tables import TABLES

    oldest_kept = (now or datetime.now(UTC)) - keep
    records.database().make(TABLES)
    if removed_until(records) < _name_at(oldest_kept - EVERY):
        _say(records, oldest_kept, actor)
    _remove(records, removed_until(records), ended)


def _name_at(moment: datetime) -> str:
    """How the names of batches that were written at a time begin; they sort by it."""
    return f"{int(moment.timestamp() * 1000):012x}"


def _say(records: Records, oldest_kept: datetime, actor: str) -> None:
    """Put on the chain what is about to go, and what of it is not as it was written. Nothing, if nothing goes."""
    until = _name_at(oldest_kept)
    batches, accesses, altered = _compared(records, until, oldest_kept)
    if not batches:
        return
    facts = {"until": until, "batches": batches, "accesses": accesses}
    database = records.database()
    with database.writing() as connection:
        # Several processes may have begun at once: one of them says it.
        said = database.records.c
        statement = database.records.select().where(said.kind == "cleaned", said.subject == REMOVED)
        newest = connection.execute(statement.order_by(said.id.desc()).limit(1)).first()
        if newest is None or json.loads(newest.payload)["until"] < _name_at(oldest_kept - EVERY):
            facts |= {"altered": altered} if altered else {}
            append_within(database, connection, "cleaned", "", REMOVED, actor, "", facts)


def _compared(records: Records, until: str, oldest_kept: datetime) -> tuple[int, int, list[str]]:
    """How many batches and accesses are about to go, and the names of those that are not as they were written."""
    from dp_dagster.access.access_tables import ACCESSES

    statement = (
        ACCESSES.select().where(ACCESSES.c.batch < until).order_by(ACCESSES.c.batch, ACCESSES.c.number)
    )
    already = removed_until(records)
    sealed = {
        name: one
        for name, one in sealed_batches(records, until=oldest_kept + _WAIT).items()
        if already <= name < until and one.accesses
    }
    batches = len(sealed)
    accesses = 0
    altered = []
    with records.database().reading() as connection:
        rows = connection.execute(statement.execution_options(yield_per=10_000))
        for name, found in groupby(rows, key=lambda row: str(row.batch)):
            held = [tuple(row)[2:] for row in found]
            accesses += len(held)
            expected = sealed.pop(name, None)
            if expected is None or expected.digest != seal_of(held)[0]:
                altered.append(name)
    # Those whose accesses are all gone already.
    return batches, accesses, sorted([*altered, *sealed])


def _remove(records: Records, until: str, ended: Callable[[], bool]) -> None:
    """A few at a time, so that no writer waits for long. What a killed process leaves, the next one removes."""
    from sqlalchemy import select

    from dp_dagster.access.access_tables import ACCESSES, USAGE

    old = select(ACCESSES.c.batch).where(ACCESSES.c.batch < until).distinct().limit(_AT_ONCE)
    while until and not ended():
        with records.database().writing() as connection:
            names: Sequence[str] = connection.execute(old).scalars().all()
            if not names:
                day = datetime.fromtimestamp(int(until[:12], 16) / 1000, UTC).date().isoformat()
                connection.execute(USAGE.delete().where(USAGE.c.day < day))
                return
            connection.execute(ACCESSES.delete().where(ACCESSES.c.batch.in_(names)))
