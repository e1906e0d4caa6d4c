"""When the partitions of a table came: the commits tell, which name the files that they add and remove."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.storage.log import commit_of
from dp_dagster.storage.partitions import key_of
from dp_dagster.storage.versions import PUBLISH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from dp_dagster.storage.log import Log


@dataclass(frozen=True)
class Arrival:
    """What one publication did to the partitions of a table.

    Attributes:
        version: The version that it made.
        at: When it was committed, UTC.
        made: Keys of the partitions that it published.
        new: Those of them that the table did not have before: all others were published again.
    """

    version: int
    at: datetime
    made: frozenset[str]
    new: frozenset[str]


def arrivals(log: Log, newest: int) -> Iterator[Arrival]:
    """Publications up to a version, newest first. A rollback brings nothing that was not there before."""
    for version in range(newest, -1, -1):
        entries = list(log.entries(version))
        commit = commit_of(version, entries)
        if commit.operation == PUBLISH:
            made = _keys(entries, "add")
            yield Arrival(version, commit.at, made, made - _keys(entries, "remove"))


def first_arrivals(found: Iterable[Arrival]) -> dict[str, datetime]:
    """When each partition came for the first time, of publications newest first."""
    came: dict[str, datetime] = {}
    for one in found:
        came |= dict.fromkeys(one.new, one.at)
    return came


def _keys(entries: Iterable[dict[str, Any]], action: str) -> frozenset[str]:
    found = (key_of(entry[action]["path"]) for entry in entries if action in entry)
    return frozenset(key for key in found if key is not None)
