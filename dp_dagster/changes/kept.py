"""The changes of a dataset's publications, kept beside its table: ``v1/changes/<dataset>/<version>.json``.

A document for each publication says what is known of its changes, and names the file that has them. It is written
last, by rename: changes are there whole or not at all, whenever their writer was killed. They go when the version
before them goes, for they hold its rows.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from dp_dagster.changes.compare import compare
from dp_dagster.changes.model import ChangeSet, Counts
from dp_dagster.errors import StoreError, UsageError, VersionGoneError
from dp_dagster.storage.contracts import kept_contract
from dp_dagster.storage.documents import TEMPORARY_SUFFIX, read_document, write_document
from dp_dagster.storage.location import product_directory, product_place
from dp_dagster.storage.mirror import ensure, publish_file
from dp_dagster.storage.places import matching, missing_in
from dp_dagster.storage.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dp_dagster.storage import PublicationEntry, Snapshot, TableLocation

FOLDER = "changes"
_BUILDING = ".building-"


class Changes:
    """The changes of one dataset.

    Args:
        location: The dataset's table.
    """

    def __init__(self, location: TableLocation) -> None:
        self.location = location
        area = location.area.replace("/dataset/", f"/{FOLDER}/")
        # Files are written and read on this machine; where the storage is a bucket, they lie there as well.
        self.folder: Path = product_directory(location.root, location.product) / area
        self._place = product_place(location.root, location.product) / area

    # -- reading ---------------------------------------------------------------------------------------------

    def of(self, version: int) -> ChangeSet | None:
        """What one publication changed; ``None`` where that is not known, or no longer.

        Raises:
            StoreError: the document is damaged.
        """
        path = self._place / f"{version}.json"
        content = read_document(path)
        if content is None:
            return None
        try:
            found = ChangeSet.from_dict(content)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{path} is damaged: {error}; remove it and project the port again") from error
        return found if self._is_whole(found) else None

    def path(self, change_set: ChangeSet) -> Path:
        """The file with the changes of a publication.

        Raises:
            UsageError: it has none.
        """
        if change_set.file is None:
            raise UsageError(f"{self.location} version {change_set.version} has no file of changes")
        path = self.folder / change_set.file
        ensure(self.location.root, [str(path)])
        return path

    def between(self, after: int, until: int) -> list[ChangeSet]:
        """The publications that lead from one version to a later one, oldest first.

        Raises:
            VersionGoneError: they are not all known, or no longer; a consumer at ``after`` has to begin again.
        """
        found: list[ChangeSet] = []
        version = until
        while version > after:
            one = self.of(version)
            if one is None or one.kind == "break" or one.previous is None or one.previous < after:
                break
            found.append(one)
            version = one.previous
        if version != after:
            raise VersionGoneError(
                f"the changes since version {after} are no longer kept, or cannot be told; begin again with all rows: "
                "snapshot=newest"
            )
        return found[::-1]

    def _is_whole(self, one: ChangeSet) -> bool:
        """Whether its file and those of the version before are there: what was vacuumed must not be told any more."""
        is_there = one.file is None or (self._place / one.file).is_file()
        return is_there and not missing_in(self.location.place, one.needs)

    # -- writing ---------------------------------------------------------------------------------------------

    def bring_up_to(self, newest: Snapshot, key: tuple[str, ...], *, memory: str = "1GB") -> ChangeSet:
        """Compute what is missing up to a version, and remove what is no longer kept.

        Publications that came in between are computed as well, back to the last one that is known. Where none is, only
        the newest is. Doing it twice is harmless. One writer at a time: call it under the product's lock.

        Raises:
            StoreError: files cannot be read or written.
        """
        table = Table(self.location)
        missing = list(self._missing(table, newest.version))
        self._clean()
        for entry, before in reversed(missing):
            current = newest if entry.version == newest.version else _readable(table, entry.version)
            if current is not None:
                self._keep(self._computed(table, entry, before, current, key=key, memory=memory))
        found = self.of(newest.version)
        if found is None:
            raise StoreError(
                f"{self.location}: the changes of version {newest.version} vanished; project again"
            )
        return found

    def _missing(
        self, table: Table, newest: int
    ) -> Iterator[tuple[PublicationEntry, PublicationEntry | None]]:
        """Publications without changes, newest first, each with the one before it."""
        entries = [entry for entry in table.history() if entry.version <= newest]
        known = any(self._place.glob("*.json"))
        for number, entry in enumerate(entries):
            if self.of(entry.version) is not None:
                return
            yield entry, entries[number + 1] if number + 1 < len(entries) else None
            if not known:
                return

    def _computed(
        self,
        table: Table,
        entry: PublicationEntry,
        before: PublicationEntry | None,
        current: Snapshot,
        *,
        key: tuple[str, ...],
        memory: str,
    ) -> ChangeSet:
        made = ChangeSet(
            version=entry.version,
            previous=None if before is None else before.version,
            kind="first",
            rows=current.rows,
            committed_at=entry.at,
            operation=entry.operation,
            contract_hash=current.metadata.get("dp.contract_hash", ""),
            key=key,
            after=current.columns,
            counts=Counts(inserted=current.rows),
        )
        if before is None:
            return made
        previous = _readable(table, before.version)
        if previous is None:
            return replace(made, kind="break", counts=Counts(), reason="the version before is no longer kept")
        reason = self._incomparable(previous, current, key)
        if reason:
            return replace(made, kind="break", counts=Counts(), reason=reason)
        name = f"{entry.version}-{uuid.uuid4().hex[:8]}.parquet"
        building = self.folder / f"{_BUILDING}{name}"
        self.folder.mkdir(parents=True, exist_ok=True)
        counts = compare(previous, current, key, building, memory=memory)
        if counts.total:
            building.chmod(0o444)
            building.replace(self.folder / name)
            publish_file(self.location.root, self.folder / name)
        alone = set(previous.paths) - set(current.paths)
        directory = str(self.location.directory)
        return replace(
            made,
            kind="changes",
            counts=counts,
            before=previous.columns,
            file=name if counts.total else None,
            needs=tuple(sorted(file.removeprefix(directory).lstrip("/") for file in alone)),
        )

    def _incomparable(self, previous: Snapshot, current: Snapshot, key: tuple[str, ...]) -> str:
        """Why the rows of two versions cannot be told to be the same; empty where they can."""
        known = self.of(previous.version)
        contract = kept_contract(
            self.location.root,
            self.location.product,
            previous.metadata.get("dp.contract_hash", "") or "0" * 64,
        )
        keys = known.key if known is not None else contract.key if contract is not None else key
        names = {column.name for column in previous.columns} & {column.name for column in current.columns}
        if (keys and keys != key) or not names.issuperset(key):
            return f"its rows are told apart by {', '.join(key)}; before it was {', '.join(keys) or 'something else'}"
        return ""

    def _keep(self, one: ChangeSet) -> None:
        write_document(self._place / f"{one.version}.json", one.to_dict())

    def _clean(self) -> None:
        """Remove changes whose earlier version is gone, and what killed writers left."""
        named = set()
        for path in matching(self._place, "*.json"):
            one = self.of(int(path.stem))
            if one is None:
                path.unlink()
            elif one.file is not None:
                named.add(one.file)
        for folder in {self.folder, self._place}:
            for path in [*matching(folder, "*.parquet"), *matching(folder, f".*{TEMPORARY_SUFFIX}")]:
                if path.name not in named:
                    path.unlink(missing_ok=True)
        for path in self.folder.glob(f"{_BUILDING}*"):
            path.unlink(missing_ok=True)


def _readable(table: Table, version: int) -> Snapshot | None:
    try:
        return table.snapshot(version)
    except UsageError:
        return None
