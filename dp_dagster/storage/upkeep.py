"""Cleaning and retention: removing files without ever touching one that a reader may need."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dp_dagster.errors import UsageError
from dp_dagster.storage.bucket import is_bucket
from dp_dagster.storage.candidate import PUBLISHED, REMOVED, SEALED, WRITING
from dp_dagster.storage.places import missing_in

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dp_dagster.storage.candidate import Registry
    from dp_dagster.storage.location import TableLocation
    from dp_dagster.storage.log import Commit, Log
    from dp_dagster.storage.versions import Versions

# How the object store library names a file before it links it to its final name.
_STAGED_COMMIT = re.compile(r"[^#]+#[0-9]+")


def clean(location: TableLocation, log: Log, registry: Registry, grace_seconds: float) -> list[str]:
    """Remove the files of candidates that were not published and are older than the grace.

    Only files that candidates registered are looked at, and of these only those that the log does not name.
    Call it under the table's lock.
    """
    if grace_seconds < 0:
        raise UsageError(f"a grace of {grace_seconds:g} seconds is refused; give 0 or more")
    now = time.time()
    view = log.view()
    live: frozenset[str] = frozenset() if view is None else frozenset(view.state().files)
    removed: list[str] = []
    for record in registry.all():
        if record.state not in {WRITING, SEALED} or record.age() < grace_seconds:
            continue
        landed = None if view is None else view.landed(record.id)
        if landed is not None:
            # Its writer died between the commit and this note.
            record.mark(PUBLISHED, version=landed)
            continue
        removed.extend(record.remove_files(keep=live))
        if record.state == SEALED:
            record.mark(REMOVED)
        else:
            record.forget()
    for temporary in [*registry.temporaries(), *_staged_commits(location)]:
        if now - temporary.stat().st_mtime >= grace_seconds:
            temporary.unlink()
    return removed


def vacuum(location: TableLocation, log: Log, versions: Versions, retention_hours: int) -> list[str]:
    """Delete files that no version served within the retention uses. Call it under the table's lock."""
    if retention_hours < 0:
        raise UsageError(f"a retention of {retention_hours} hours is refused; give 0 or more")
    view = log.view()
    if view is None:
        return []
    # The library counts from a file's first removal, though a rollback may have served it again until just now.
    keep = _served_since(datetime.now(UTC) - timedelta(hours=retention_hours), versions.commits_of(view))
    named = log.vacuum(view, retention_hours, keep=keep, dry_run=True, metadata={})
    # The log goes on naming files that an earlier vacuum deleted; without any left, a commit would say nothing.
    there = set(named) - missing_in(location.place, named)
    if there:
        log.vacuum(view, retention_hours, keep=keep, dry_run=False, metadata={"dp.operation": "vacuum"})
    gone = missing_in(location.place, there)
    for name in gone:
        # Of a storage in a bucket, the copy here: nobody may read what the storage no longer has.
        (location.directory / name).unlink(missing_ok=True)
    return sorted(gone)


def _served_since(moment: datetime, publications: Iterable[Commit]) -> list[int]:
    """Versions published since, and the one that was newest at that moment."""
    served = []
    for entry in publications:
        served.append(entry.version)
        if entry.at <= moment:
            break
    return served


def _staged_commits(location: TableLocation) -> list[Path]:
    """What a writer leaves that was killed while it wrote a commit: never linked to a commit's name."""
    if is_bucket(location.root):
        return []
    return sorted(
        path
        for path in (location.directory / "_delta_log").glob("*#*")
        if _STAGED_COMMIT.fullmatch(path.name)
    )
