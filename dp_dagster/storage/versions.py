"""Reading a table's published versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dp_dagster.errors import StoreError, UsageError
from dp_dagster.storage.partitions import partitions_of
from dp_dagster.storage.places import missing_in
from dp_dagster.storage.snapshot import PublicationEntry, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.storage.location import TableLocation
    from dp_dagster.storage.log import Commit, Log, View

PUBLISH, APPEND, ROLLBACK = "publish", "append", "rollback"
# Commits that give readers something; all others (vacuum, features) leave the data as it is.
_PUBLICATIONS = frozenset({PUBLISH, APPEND, ROLLBACK})
_CHOICES = 10  # versions named in an error: enough to choose from


class Versions:
    """The published versions behind one log. Upkeep's own commits are left out."""

    def __init__(self, log: Log, location: TableLocation) -> None:
        self._log = log
        self._location = location

    def commits(self) -> Iterator[Commit]:
        """Commits that published something, newest first."""
        view = self._log.view()
        if view is not None:
            yield from self.commits_of(view)

    def commits_of(self, view: View) -> Iterator[Commit]:
        """Commits that published something up to the version of ``view``, newest first."""
        return (entry for entry in self._log.commits(view.version) if entry.operation in _PUBLICATIONS)

    def newest(self) -> Snapshot | None:
        """The newest published version, or ``None`` before the first."""
        view = self._log.view()
        return None if view is None else self.newest_of(view)

    def newest_of(self, view: View) -> Snapshot | None:
        """The newest published version up to that of ``view``."""
        entry = next(self.commits_of(view), None)
        return None if entry is None else self.read(entry, view)

    def at(self, version: int) -> Snapshot:
        """One published version whose files are all there.

        Raises:
            UsageError: there is no such version, or it was vacuumed; says which versions there are.
        """
        view = self._log.view()
        if view is not None and 0 <= version <= view.version:
            # That commit alone: the way back to an old version must not grow with the versions since.
            entry = next(self._log.commits(version))
            if entry.operation in _PUBLICATIONS:
                return self._complete(entry)
        published = [] if view is None else [entry.version for entry in self.commits_of(view)]
        there = (
            f"versions go from {published[-1]} to {published[0]}" if published else "nothing is published yet"
        )
        raise UsageError(f"{self._location} has no version {version}; {there}")

    def history(self, limit: int | None) -> list[PublicationEntry]:
        """Publications, newest first."""
        entries: list[PublicationEntry] = []
        for commit in self.commits():
            if limit is not None and len(entries) >= limit:
                break
            entries.append(
                PublicationEntry(
                    version=commit.version,
                    at=commit.at,
                    rows=int(commit.metadata.get("dp.rows", "0")),
                    operation=commit.operation,
                    metadata=commit.metadata,
                )
            )
        return entries

    def read(self, entry: Commit, view: View | None = None) -> Snapshot:
        """The version that a commit made; ``view`` saves opening the log, where it is of that version.

        Raises:
            StoreError: the log cannot be read.
        """
        if view is None or view.version != entry.version:
            view = self._log.view(entry.version)
        if view is None:
            raise StoreError(f"{self._location} has vanished while it was read")
        state = view.state()
        partitions = partitions_of(zip(state.files, state.counts, state.times, strict=True))
        names = [name for partition in partitions.values() for name in partition.files]
        # In order of time: whoever reads one file after the other reads rows in that order.
        named = set(names)
        names += [name for name in state.files if name not in named]
        return Snapshot(
            location=self._location,
            version=entry.version,
            paths=tuple(str(self._location.directory / name) for name in names),
            rows=state.rows,
            columns=state.columns,
            committed_at=entry.at,
            metadata=entry.metadata,
            partitions=partitions,
        )

    def _complete(self, entry: Commit) -> Snapshot:
        found = self.read(entry)
        missing = _missing(found)
        if not missing:
            return found
        readable: list[str] = []
        for other in self.commits():
            if len(readable) < _CHOICES and not _missing(self.read(other)):
                readable.append(str(other.version))
        raise UsageError(
            f"{self._location} version {entry.version} can no longer be read: {missing} of its "
            f"{len(found.paths)} files were vacuumed; versions that can be read: {', '.join(readable)}"
        )


def _missing(snapshot: Snapshot) -> int:
    return len(missing_in(snapshot.location.place, {Path(path).name for path in snapshot.paths}))
