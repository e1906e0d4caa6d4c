"""Which partition a file holds: its own name says so, and what its rows were made from.

``part-<uuid>.<key>.<made from>.parquet``. The name is part of the log, so what it says survives checkpoints, rollbacks
and vacuums, and a commit that replaces one partition writes nothing about the others.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dp_dagster.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

FILE_NAME = re.compile(
    r"part-[0-9a-f]{32}(?:\.(?P<key>[0-9]{4}(?:-[0-9]{2}){1,3})\.(?P<made_from>[0-9a-f]{16}))?\.parquet"
)

_REMEMBERED = 32


@dataclass(frozen=True)
class Partition:
    """One partition of a committed version.

    Attributes:
        key: ``2013-05``.
        files: Names in the table's folder.
        rows: Rows of all of them; a partition may have none.
        published_at: When the newest of them was committed, UTC. A rollback keeps it.
        made_from: What its rows were made from, as whoever wrote them says: 16 hexadecimal digits.
    """

    key: str
    files: tuple[str, ...]
    rows: int
    published_at: datetime
    made_from: str


def file_name(key: str | None, made_from: str = "") -> str:
    """A new name for a file, of a partition if there is a key.

    Raises:
        UsageError: the key or what it was made from is not fit for a name.
    """
    name = f"part-{uuid.uuid4().hex}.parquet"
    if key is not None:
        name = f"part-{uuid.uuid4().hex}.{key}.{made_from}.parquet"
    if not FILE_NAME.fullmatch(name):
        raise UsageError(
            f"partition {key!r} made from {made_from!r} is refused; keys are dates such as 2013-05, and what a "
            "partition was made from is 16 hexadecimal digits"
        )
    return name


def key_of(name: str) -> str | None:
    """Key of the partition that a file holds; ``None`` for a file of a table without partitions."""
    found = FILE_NAME.fullmatch(name)
    return found["key"] if found else None


def partition_of(name: str) -> tuple[str | None, str]:
    """Key of the partition that a file holds, and what it was made from, as :func:`file_name` takes them."""
    found = FILE_NAME.fullmatch(name)
    return (found["key"], found["made_from"] or "") if found else (None, "")


def rows_set_aside(
    before: Mapping[str, str], replaces: Collection[str] | None, made: Mapping[str, int]
) -> str:
    """How many rows of each partition a version lacks because they were set aside, as its commit says it.

    Of the newest partitions only: a commit does not grow with their number, and it is the newest that is asked for.

    Args:
        before: Metadata of the version before.
        replaces: Keys of which the commit takes the place; ``None``: of everything.
        made: Rows that were set aside, by the keys that it brings.
    """
    stays = {} if replaces is None else read_set_aside(before)
    known = {key: rows for key, rows in stays.items() if key not in set(replaces or ())} | dict(made)
    return json.dumps({key: known[key] for key in sorted(known)[-_REMEMBERED:]})


def read_set_aside(metadata: Mapping[str, str]) -> dict[str, int]:
    """What :func:`rows_set_aside` says in a commit; nothing in one of an earlier release."""
    found: dict[str, int] = json.loads(metadata.get("dp.rows_set_aside", "{}"))
    return found


def partitions_of(files: Iterable[tuple[str, int, int]]) -> dict[str, Partition]:
    """Partitions by key, in order of time, from the names, rows and times (milliseconds) of files."""
    found: dict[str, Partition] = {}
    for name, rows, changed in sorted(files):
        match = FILE_NAME.fullmatch(name)
        if match is None or match["key"] is None:
            continue
        key, at = match["key"], datetime.fromtimestamp(changed / 1000, UTC)
        known = found.get(key)
        if known is None:
            found[key] = Partition(key, (name,), rows, at, match["made_from"])
        else:
            # The files of one partition are written together; any other mix was made from nothing known.
            made_from = known.made_from if known.made_from == match["made_from"] else ""
            latest = max(known.published_at, at)
            found[key] = Partition(key, (*known.files, name), known.rows + rows, latest, made_from)
    return dict(sorted(found.items()))
