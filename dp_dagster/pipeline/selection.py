"""Which partitions a step makes: those that it was asked for, or all that are due and missing or changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - as above
from typing import TYPE_CHECKING

from dp_dagster.errors import InputError, UsageError

if TYPE_CHECKING:
    from dp_dagster.descriptor.partitions import Calendar
    from dp_dagster.pipeline.session import Session
    from dp_dagster.storage import Snapshot, Table


@dataclass(frozen=True)
class Selection:
    """The partitions that a step makes.

    Attributes:
        chosen: What each of them is made from, by key.
        replaces: Keys that the candidate takes the place of; ``None`` for the whole table.
        stays: Files of the newest version that stay, absolute.
    """

    chosen: Mapping[str, str]
    replaces: tuple[str, ...] | None = None
    stays: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts:
    """How a table with partitions is written.

    Attributes:
        select: Decides which partitions to make; asked under the table's lock.
        write: Writes one of them into the Parquet file that it is given.
        column: The column by which rows belong to a partition, where that is known.
    """

    select: Callable[[], Selection]
    write: Callable[[str, Path], None]
    column: str | None = None


def calendar_of(session: Session) -> Calendar:
    """The product's partitions."""
    calendar = session.product.calendar
    if calendar is None:
        raise AssertionError("asked only of products with partitions")
    return calendar


def due_keys(session: Session) -> tuple[str, ...]:
    """Keys of all partitions that are due now."""
    return calendar_of(session).due(datetime.now(UTC))


def select(
    session: Session, table: Table, available: Mapping[str, str], what: str, *, again: bool = False
) -> Selection:
    """Decide which partitions to make. Call it under the table's lock.

    Args:
        session: The run.
        table: Where they go.
        available: What each partition would be made from, by key; those that cannot be made are left out.
        what: The asset, for messages.
        again: Make the newest one again where nothing else has changed, so that the version says what is there now.

    Raises:
        InputError: a partition that was asked for cannot be made.
        UsageError: the table was published before it had these partitions, and not all of them are made.
    """
    calendar = calendar_of(session)
    newest = table.newest()
    held = {} if newest is None else newest.partitions
    foreign = newest is not None and (not held or any(not calendar.knows(key) for key in held))
    if session.partitions is not None:
        for key in session.partitions:
            if key not in available:
                raise InputError(f"{what}: there is nothing for partition {key}")
        if foreign:
            raise UsageError(
                f"{what} was published before it had the partitions of today; publish all of them once: "
                f"dp run {session.product.id}"
            )
        chosen = {key: available[key] for key in session.partitions}
    else:
        chosen = {
            key: made_from
            for key, made_from in sorted(available.items())
            if key not in held or held[key].made_from != made_from
        }
        if not chosen and again and (known := sorted(set(held) & set(available))):
            chosen = {known[-1]: available[known[-1]]}
    return _selection(calendar, newest, chosen)


def _selection(calendar: Calendar, newest: Snapshot | None, chosen: Mapping[str, str]) -> Selection:
    if newest is None or not newest.partitions:
        return Selection(chosen)
    # Keys that the product has no more (it was cut in another way before) go with the next publication.
    gone = {key for key in newest.partitions if not calendar.knows(key)}
    staying = [one for key, one in newest.partitions.items() if key not in gone and key not in chosen]
    if not staying:
        return Selection(chosen)
    paths = {path.rpartition("/")[2]: path for path in newest.files}
    return Selection(
        chosen,
        tuple(sorted({*chosen, *gone})),
        tuple(paths[name] for one in staying for name in one.files),
    )
