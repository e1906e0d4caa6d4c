"""The versions of one dataset that a process serves: opened once, kept while somebody may ask for them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from dp_dagster.errors import UsageError, VersionGoneError
from dp_dagster.rows.builder import Order
from dp_dagster.rows.layout import layout_of, rows_folder, store_path
from dp_dagster.rows.source import Source
from dp_dagster.rows.version import PublishedVersion

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    from dp_dagster.contracts.model import Column, Contract
    from dp_dagster.rows.builder import StoreBuilder
    from dp_dagster.rows.export import Exports
    from dp_dagster.rows.files import FilesEngine
    from dp_dagster.rows.source import Masking
    from dp_dagster.rows.store import StoreFile
    from dp_dagster.rows.version import Limits
    from dp_dagster.storage import PublicationEntry, Snapshot, Table, TableLocation

_OLD_VERSIONS = 8
"""How many versions besides the newest are kept open."""
_GONE_VERSIONS = 1024


@dataclass(frozen=True)
class Desk:
    """What all datasets of a process share."""

    state_directory: Path
    engine: FilesEngine
    exports: Exports
    builder: StoreBuilder
    workers: Executor
    limits: Limits
    masks: Masking


@dataclass(frozen=True)
class Kept:
    """How a dataset's rows are kept and told apart.

    Attributes:
        contract: What describes the columns.
        key: What tells rows apart.
        sort_by: What rows are sorted by when they are published.
        looked_up_by: Further columns that rows are often looked up by: those that relate them to other datasets.
    """

    contract: Contract
    key: tuple[str, ...]
    sort_by: tuple[str, ...] = ()
    looked_up_by: tuple[tuple[str, ...], ...] = ()


@dataclass
class Shelf:
    """The versions of one dataset. Any thread may ask."""

    desk: Desk
    location: TableLocation
    kept: Kept
    _versions: OrderedDict[int, PublishedVersion] = field(default_factory=OrderedDict)
    _gone: dict[int, str] = field(default_factory=dict)
    _history: tuple[int, list[PublicationEntry]] | None = None
    _guard: threading.RLock = field(default_factory=threading.RLock)

    def open(self, version: int) -> PublishedVersion:
        """A version, and have its row store built.

        Raises:
            VersionGoneError: it was never published, or is no longer kept.
            StoreError: the table cannot be read.
        """
        with self._guard:
            found = self._versions.get(version)
            if found is not None and all(path.exists() for path in found.published_files()):
                self._versions.move_to_end(version)
                return found
            if found is not None:
                # Vacuumed: what was removed must not live on in a row store.
                del self._versions[version]
                self._store_path(found).unlink(missing_ok=True)
            if version in self._gone:
                raise VersionGoneError(self._gone[version])
            try:
                snapshot = self._table().snapshot(version)
            except UsageError as error:
                if len(self._gone) >= _GONE_VERSIONS:
                    self._gone.clear()
                self._gone[version] = gone_message(version)
                raise VersionGoneError(self._gone[version]) from error
            made = self._made(snapshot)
            self._versions[version] = made
            while len(self._versions) > _OLD_VERSIONS:
                # Whoever holds it goes on with it; its store is closed when the last one lets go.
                self._versions.popitem(last=False)
            return made

    def newest(self) -> int | None:
        """The number of the newest version that there is, on show or not.

        Raises:
            StoreError: the table cannot be read.
        """
        table = self._table()
        snapshot = table.newest() if table.exists() else None
        return snapshot.version if snapshot is not None else None

    def version_at(self, moment: datetime, newest: int) -> int:
        """The number of the version that was on show at a time.

        Args:
            moment: Aware.
            newest: The version that is on show now; what came after it does not count.

        Raises:
            VersionGoneError: nothing was published yet.
        """
        with self._guard:
            if self._history is None or self._history[0] != newest:
                self._history = (newest, self._table().history())
            for entry in self._history[1]:
                if entry.version <= newest and _shown_by(entry, moment):
                    return entry.version
        raise VersionGoneError(
            f"nothing was published on {moment.isoformat()}; leave as_of out for the newest version"
        )

    def published_since(self) -> None:
        """Forget which versions are gone: something was published."""
        with self._guard:
            self._gone.clear()

    def _table(self) -> Table:
        from dp_dagster.storage import Table

        return Table(self.location)

    def _made(self, snapshot: Snapshot) -> PublishedVersion:
        desk = self.desk
        columns = columns_of(snapshot, self.kept.contract)
        layout = layout_of(
            snapshot,
            columns.values(),
            self.kept.key,
            sort_by=self.kept.sort_by,
            looked_up_by=self.kept.looked_up_by,
        )
        made = PublishedVersion(
            Source(layout, columns, desk.masks),
            version=snapshot.version,
            published_at=snapshot.published_at,
            rows=snapshot.rows,
            engine=desk.engine,
            exports=desk.exports,
            workers=desk.workers,
            limits=desk.limits,
            on_damage=self._rebuild,
        )
        self._order(made)
        return made

    def _order(self, version: PublishedVersion) -> None:
        def ready(store: StoreFile) -> None:
            version.store = store

        self.desk.builder.order(
            Order(
                self._store_path(version),
                version.source.layout,
                ready,
                lambda: version.version in self._versions,
            )
        )

    def _store_path(self, version: PublishedVersion) -> Path:
        return store_path(
            rows_folder(self.desk.state_directory),
            self.location.product,
            self.location.area,
            version.version,
            version.source.layout,
        )

    def _rebuild(self, version: PublishedVersion, store: StoreFile) -> None:
        store.path.unlink(missing_ok=True)
        self._order(version)


def _shown_by(entry: PublicationEntry, moment: datetime) -> bool:
    """Whether a version was on show then. A moment in whole seconds holds for all of its second."""
    stated = entry.metadata.get("dp.published_at") if entry.operation != "rollback" else None
    since = datetime.fromisoformat(stated) if stated else entry.at
    return (since if moment.microsecond else since.replace(microsecond=0)) <= moment


def columns_of(snapshot: Snapshot, contract: Contract) -> dict[str, Column]:
    """The columns that a version has, described by the contract as far as it knows them."""
    described = {column.name: column for column in contract.columns}
    return {
        column.name: replace(described.get(column.name, column), type=column.type)
        for column in snapshot.columns
    }


def gone_message(version: int) -> str:
    """What is said of a version that cannot be read."""
    return (
        f"version {version} was never published or is no longer kept; start again without cursor and without "
        "as_of to read the newest version"
    )
