"""Delta tables outside the store: a dataset's versions, copied to where its consumers want them.

One commit a version, as in the store. What a killed process had put there without a commit is on record beside
the table, so it is removed by name the next time, never by a guess from a listing.
"""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dp_dagster.errors import StoreError
from dp_dagster.storage.bucket import BucketPath
from dp_dagster.storage.candidate import CandidateFile
from dp_dagster.storage.conditions import check_conditions
from dp_dagster.storage.documents import TEMPORARY_SUFFIX, read_document, write_document
from dp_dagster.storage.log import Log
from dp_dagster.storage.places import names_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_dagster.storage.log import View
    from dp_dagster.storage.places import Place
    from dp_dagster.storage.snapshot import Snapshot

# What Delta itself waits before it deletes files that a reader may still have open.
RETENTION_HOURS = 7 * 24
_VERSIONS_BETWEEN_VACUUMS = 20
# Readers of Delta overlook names that begin so.
_PENDING = "_dp_pending.json"


@dataclass(frozen=True)
class ExportedTable:
    """A Delta table of an output port's own.

    Attributes:
        place: Its folder.
        owner: Product, major version and port; written into every commit, and no other's table is touched.
    """

    place: Place
    owner: str

    def __str__(self) -> str:
        return str(self.place)


def export_table(table: ExportedTable, snapshot: Snapshot) -> int:
    """Make a version the newest of the table, in one commit; returns the table's own version number.

    Doing it twice is harmless. Called by one process at a time (the product's lock); a commit that somebody else
    made all the same is never overwritten.

    Raises:
        ConflictError: somebody else committed meanwhile.
        StoreError: another's table is there, or the target cannot be written; its readers keep what they had.
    """
    if isinstance(table.place, BucketPath):
        check_conditions(table.place)
    log = Log(table)
    view = log.view()
    facts = {
        "dp.operation": "export",
        "dp.product": snapshot.location.product,
        "dp.port": table.owner,
        "dp.exported_from": snapshot.location.area,
        "dp.exported_version": str(snapshot.version),
        "dp.exported_files": json.dumps([Path(file).name for file in snapshot.files]),
        "dp.published_at": snapshot.published_at.isoformat(),
    }
    if view is not None:
        newest = _newest(log, view)
        if newest is None or newest.get("dp.port") != table.owner:
            raise StoreError(
                f"{table} holds a Delta table that port {table.owner} did not write; give the port an endpoint "
                "of its own"
            )
        if {**newest, "dp.operation": "export"} == {**newest, **facts} and _is_whole(table, view):
            return view.version
    _remove_pending(table, view)
    files = _files_of(snapshot.files)
    there = names_in(table.place)
    absent = [(file, path) for file, path in files if file.path not in there]
    write_document(table.place / _PENDING, {"files": [file.path for file, _ in absent]}, durable=False)
    for file, path in absent:
        _copy(path, table.place / file.path)
    version = log.commit(
        view,
        [file for file, _ in files],
        snapshot.columns,
        removes=None,
        mark=uuid.uuid4().hex,
        metadata={**facts, "dp.exported_at": datetime.now(UTC).isoformat()},
    )
    (table.place / _PENDING).unlink(missing_ok=True)
    _vacuum(table, log, version)
    return version


def probe_table(table: ExportedTable) -> None:
    """Return if the newest version can be opened and all of its files are there.

    Raises:
        StoreError: they are not.
    """
    view = Log(table).view()
    if view is None:
        raise StoreError(f"{table} holds no Delta table yet")
    if not _is_whole(table, view):
        raise StoreError(f"{table} version {view.version} lacks files")


def _newest(log: Log, view: View) -> dict[str, str] | None:
    """What the newest export says of itself; upkeep is passed over."""
    return next(
        (entry.metadata for entry in log.commits(view.version) if entry.operation == "export"),
        None,
    )


def _is_whole(table: ExportedTable, view: View) -> bool:
    return set(view.state().files) <= names_in(table.place)


def _files_of(paths: Sequence[str]) -> list[tuple[CandidateFile, Path]]:
    from pyarrow import parquet

    found = []
    for path in map(Path, paths):
        rows = parquet.read_metadata(path).num_rows
        found.append((CandidateFile(path.name, path.stat().st_size, "", rows), path))
    return found


def _remove_pending(table: ExportedTable, view: View | None) -> None:
    """Remove what a dead process put there and did not commit."""
    record = table.place / _PENDING
    found = read_document(record)
    if found is None:
        return
    active = set() if view is None else set(view.state().files)
    for name in found.get("files", ()):
        if name not in active and Path(name).name == name:
            (table.place / name).unlink(missing_ok=True)
    if isinstance(table.place, Path):
        for copy in table.place.glob(f".*{TEMPORARY_SUFFIX}"):
            copy.unlink()
    record.unlink(missing_ok=True)


def _vacuum(table: ExportedTable, log: Log, version: int) -> None:
    view = log.view() if version % _VERSIONS_BETWEEN_VACUUMS == 0 else None
    if view is None:
        return
    old = log.vacuum(view, RETENTION_HOURS, keep=[version], dry_run=True, metadata={})
    # The log goes on naming files that were deleted long ago.
    if old & names_in(table.place):
        facts = {"dp.operation": "vacuum"}
        log.vacuum(view, RETENTION_HOURS, keep=[version], dry_run=False, metadata=facts)


def _copy(source: Path, target: Place) -> None:
    if isinstance(target, BucketPath):
        target.upload(source)
        return
    # Not linked: whoever may write into the target shall not be able to change what was published.
    building = target.with_name(f".{target.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        shutil.copyfile(source, building)
        building.replace(target)
    except OSError as error:
        building.unlink(missing_ok=True)
        raise StoreError(f"{target} cannot be written: {error.strerror or error}") from error
