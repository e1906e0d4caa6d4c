"""The one wrapper around the Delta log: compare-and-swap commits, and facts read back from them.

``deltalake`` checks almost nothing of what it is told to commit, and its default retries can lose isolation.
Everything that is needed to use it safely is kept here, and the behaviour relied upon is held by tests of its
own. The commits' own documents are read directly: ``DeltaTable.history()`` numbers commits by counting down
from the handle's version, so a commit that lands meanwhile shifts all numbers.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from dp_dagster.errors import ConflictError, StoreError
from dp_dagster.storage.places import stamp, storage_options, what_happened
from dp_dagster.storage.types import columns_of_delta, delta_schema_json, needs_timestamp_without_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema
    from deltalake.transaction import AddAction, RemoveAction

    from dp_dagster.contracts.model import Column
    from dp_dagster.storage.candidate import CandidateFile
    from dp_dagster.storage.places import Place

# The log is the history of publications, so nothing of it expires by itself. Removed files stay listed for
# vacuum to find. A checkpoint every 20 commits keeps opening a table at a few milliseconds.
_CONFIGURATION = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
    "delta.enableExpiredLogCleanup": "false",
    "delta.checkpointInterval": "20",
}
_ZONELESS_FEATURE = "timestampNtz"


class TableAddress(Protocol):
    """What a log must know of its table; its text names the table in messages."""

    @property
    def place(self) -> Place:
        """The table's folder."""


@dataclass(frozen=True)
class Commit:
    """What one commit says of itself: version, time and its ``dp.*`` entries."""

    version: int
    at: datetime
    metadata: dict[str, str]

    @property
    def operation(self) -> str:
        """Value of ``dp.operation``; empty for a commit that somebody else made."""
        return self.metadata.get("dp.operation", "")


@dataclass(frozen=True)
class State:
    """Active files (names in the table's folder), rows and columns at one version.

    ``counts`` and ``times`` are the rows of each file, and when it was committed, in milliseconds.
    """

    files: tuple[str, ...]
    rows: int
    columns: tuple[Column, ...]
    counts: tuple[int, ...] = ()
    times: tuple[int, ...] = ()


class View:
    """The log as it was at one version: what to decide on, and what a commit is compared with."""

    def __init__(self, location: TableAddress, table: DeltaTable) -> None:
        self._location = location
        self.table = table
        self.version = table.version()
        self._identity = self._identify()

    def landed(self, mark: str) -> int | None:
        """Version of the commit that carries this mark, if there is one."""
        return self.table.transaction_version(mark)

    def catch_up(self) -> bool:
        """Read the commits that were made since; far cheaper than opening the log again.

        Returns whether this is still the same log: false if somebody has put another table in its place.
        """
        from deltalake.exceptions import DeltaError

        if self._identity is None or self._identity != self._identify():
            return False
        try:
            self.table.update_incremental()
        except (DeltaError, OSError) as error:
            said = what_happened(self._location.place, error)
            raise StoreError(f"{self._location} cannot be read: {said}") from error
        self.version = self.table.version()
        self._identity = self._identify()
        return True

    def _identify(self) -> Hashable | None:
        return stamp(_commit_file(self._location, self.version))

    def state(self) -> State:
        """Files, rows and columns."""
        actions = self.table.get_add_actions(flatten=True)
        names = [str(name) for name in actions.column("path").to_pylist()]
        counts = [count for count in actions.column("num_records").to_pylist() if count is not None]
        if len(counts) < len(names):
            raise StoreError(
                f"{self._location} version {self.version} holds files that dp_dagster did not commit"
            )
        return State(
            tuple(names),
            sum(counts),
            columns_of_delta(self.table.schema().to_json()),
            tuple(counts),
            tuple(actions.column("modification_time").to_pylist()),
        )


class Log:
    """The Delta log of one table."""

    def __init__(self, location: TableAddress) -> None:
        self.location = location
        self._url = str(location.place)

    def exists(self) -> bool:
        """Whether a first commit is there."""
        return _commit_file(self.location, 0).is_file()

    def view(self, version: int | None = None) -> View | None:
        """The log at a version, by default the newest (upkeep included); ``None`` before the first commit.

        Raises:
            StoreError: the log cannot be read, or has no such version.
        """
        if not self.exists():
            return None
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            options = storage_options(self.location.place)
            return View(self.location, DeltaTable(self._url, version=version, storage_options=options))
        except (DeltaError, OSError) as error:
            wanted = "" if version is None else f" at version {version}"
            said = what_happened(self.location.place, error)
            raise StoreError(f"{self.location} cannot be opened{wanted}: {said}") from error

    def refreshed(self, view: View | None) -> View | None:
        """The newest state of the log, from an older view of it where there is one."""
        return view if view is not None and view.catch_up() else self.view()

    def commits(self, newest: int) -> Iterator[Commit]:
        """Commits from version ``newest`` down to the first."""
        for version in range(newest, -1, -1):
            yield commit_of(version, self.entries(version))

    def entries(self, version: int) -> Iterator[dict[str, Any]]:
        """What one commit consists of, as it lies in the log; read at once, parsed one by one.

        Raises:
            StoreError: it cannot be read.
        """
        try:
            lines = _commit_file(self.location, version).read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise StoreError(f"{self.location}: commit {version} cannot be read: {error}") from error
        return map(json.loads, lines)

    def commit(
        self,
        expected: View | None,
        files: Sequence[CandidateFile],
        columns: Sequence[Column],
        *,
        removes: Sequence[str] | None,
        mark: str,
        metadata: Mapping[str, str],
    ) -> int:
        """Commit files in one step, if the version of ``expected`` is still newest. Returns the new version.

        Args:
            expected: The log as the caller knows it; ``None`` makes the table, its first files included.
            files: Must lie in the table's folder.
            columns: What the files hold.
            removes: Active files that go in the same commit; all others stay. ``None``: all of them go.
            mark: Unique; tells later whether this commit landed.
            metadata: Entries of the commit.

        Raises:
            ConflictError: somebody else committed first.
            StoreError: the commit failed; it did not land.
        """
        from deltalake import Schema

        schema = Schema.from_json(delta_schema_json(columns))
        if expected is None:
            return self._create(schema, files, mark, metadata)
        if needs_timestamp_without_zone(columns):
            expected = self._declare_zoneless(expected)
        table = expected.table
        properties = _properties(metadata, mark, expected.version + 1)
        return self._swap(
            expected.version,
            mark,
            lambda: table.create_write_transaction(
                # Removals of our own go with "append" only; "overwrite" removes all by itself.
                [*(_remove(name) for name in removes or ()), *(_add(file) for file in files)],
                "overwrite" if removes is None else "append",
                schema,
                [],
                commit_properties=properties,
                post_commithook_properties=_hooks(),
            ),
        )

    def restore(self, expected: View, target: int, mark: str, metadata: Mapping[str, str]) -> int:
        """Commit once more the files of version ``target``, if ``expected`` is still the newest.

        Raises:
            ConflictError: somebody else committed first.
            StoreError: the commit failed; it did not land.
        """
        properties = _properties(metadata, mark, expected.version + 1)
        return self._swap(
            expected.version,
            mark,
            lambda: expected.table.restore(
                target, commit_properties=properties, post_commithook_properties=_hooks()
            ),
        )

    def vacuum(
        self,
        view: View,
        retention_hours: int,
        *,
        keep: Sequence[int],
        dry_run: bool,
        metadata: Mapping[str, str],
    ) -> set[str]:
        """Delete files that commits have removed at least that long ago; files never committed are left alone.

        Files of the versions in ``keep`` are spared, whenever they were removed. Returns the names of the files
        concerned, also of those that were deleted before.

        Raises:
            StoreError: the store failed; what was not deleted is found again the next time.
        """
        from deltalake.exceptions import DeltaError

        try:
            names = view.table.vacuum(
                retention_hours=retention_hours,
                dry_run=dry_run,
                enforce_retention_duration=False,
                full=False,
                keep_versions=list(keep),
                commit_properties=_properties(metadata, None, 0),
                post_commithook_properties=_hooks(),
            )
        except (DeltaError, OSError) as error:
            said = what_happened(self.location.place, error)
            raise StoreError(f"{self.location} cannot be vacuumed: {said}") from error
        return set(names)

    def _create(
        self, schema: Schema, files: Sequence[CandidateFile], mark: str, metadata: Mapping[str, str]
    ) -> int:
        from deltalake.transaction import create_table_with_add_actions

        return self._swap(
            None,
            mark,
            lambda: create_table_with_add_actions(
                self._url,
                schema,
                [_add(file) for file in files],
                mode="error",
                configuration=_CONFIGURATION,
                storage_options=storage_options(self.location.place),
                commit_properties=_properties(metadata, mark, 0),
                post_commithook_properties=_hooks(),
            ),
        )

    def _declare_zoneless(self, expected: View) -> View:
        """Make the table ready for timestamps without zone; a commit of its own that changes no data."""
        from deltalake import TableFeatures

        if _ZONELESS_FEATURE in (expected.table.protocol().writer_features or ()):
            return expected
        mark = f"feature-{_ZONELESS_FEATURE}"
        version = self._swap(
            expected.version,
            mark,
            lambda: expected.table.alter.add_feature(
                TableFeatures.TimestampWithoutTimezone,
                allow_protocol_versions_increase=True,
                commit_properties=_properties({"dp.operation": "prepare"}, mark, expected.version + 1),
                post_commithook_properties=_hooks(),
            ),
        )
        return self.view(version) or expected

    def _swap(self, expected: int | None, mark: str, attempt: Callable[[], object]) -> int:
        try:
            attempt()
        except Exception as error:
            # Whatever was raised (the library raises bare Exception too), only the log knows if it landed.
            now = self.view()
            landed = None if now is None else now.landed(mark)
            if landed is not None:
                return landed
            head = None if now is None else now.version
            if head != expected:
                raise ConflictError(
                    f"{self.location}: version {head} was committed first, version {expected} was expected; "
                    "nothing was published, run again"
                ) from error
            said = what_happened(self.location.place, error)
            raise StoreError(f"{self.location}: the commit failed, nothing was published: {said}") from error
        return 0 if expected is None else expected + 1


def commit_of(version: int, entries: Iterable[dict[str, Any]]) -> Commit:
    """What a commit says of itself."""
    info: dict[str, Any] = next((entry["commitInfo"] for entry in entries if "commitInfo" in entry), {})
    return Commit(
        version=version,
        at=datetime.fromtimestamp(info.get("timestamp", 0) / 1000, UTC),
        metadata={key: str(value) for key, value in info.items() if key.startswith("dp.")},
    )


def _commit_file(location: TableAddress, version: int) -> Place:
    return location.place / "_delta_log" / f"{version:020d}.json"


def _add(file: CandidateFile) -> AddAction:
    from deltalake.transaction import AddAction

    # The number of rows and no other statistics: wrong bounds lose rows in readers, missing ones are safe.
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values={},
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps({"numRecords": file.rows}),
    )


def _remove(name: str) -> RemoveAction:
    from deltalake.transaction import RemoveAction

    return RemoveAction(
        path=name, data_change=True, deletion_timestamp=int(time.time() * 1000), partition_values={}
    )


def _properties(metadata: Mapping[str, str], mark: str | None, version: int) -> CommitProperties:
    from deltalake import CommitProperties
    from deltalake.transaction import Transaction

    # No retries: together with a handle at a known version this is the compare-and-swap. The version that the
    # commit will get is kept under its mark, so that a commit that landed can be found again.
    return CommitProperties(
        custom_metadata=dict(metadata),
        max_commit_retries=0,
        app_transactions=[Transaction(mark, version)] if mark else None,
    )


def _hooks() -> PostCommitHookProperties:
    from deltalake import PostCommitHookProperties

    return PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
