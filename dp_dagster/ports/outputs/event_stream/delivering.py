"""Bringing a topic up to the version on show: from its last position on, batch by batch.

Each batch is sent, taken by the brokers, and then the position is written. A topic begins with all rows of the version
on show. Where its position can no longer be followed, or its readers see something else than before, it is told to
begin again (``reset``), and gets all rows once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dp_dagster.changes.read import ChangeQuery, rows_sql
from dp_dagster.errors import UsageError, VersionGoneError
from dp_dagster.ports.outputs.event_stream.changes_pages import PAGE
from dp_dagster.ports.outputs.event_stream.envelope import Version
from dp_dagster.ports.outputs.event_stream.positions import Position
from dp_dagster.predicates.model import EVERYTHING
from dp_dagster.storage.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    from dp_dagster.access.masks import Masks
    from dp_dagster.access.view import DatasetView
    from dp_dagster.changes.model import ChangeSet
    from dp_dagster.ports.outputs.event_stream.changes_pages import ChangePages
    from dp_dagster.ports.outputs.event_stream.envelope import Envelope, Event
    from dp_dagster.ports.outputs.event_stream.positions import Positions
    from dp_dagster.rows.files import FilesEngine

    class Sender(Protocol):
        """What takes events."""

        def send(self, events: Iterable[Event]) -> int:
            """Send them, and wait until they are taken."""


@dataclass
class Deliverer:
    """Delivers the events of one port to one target.

    Attributes:
        envelope: What events say of the port.
        pages: Reads changes.
        positions: Where the target stands.
        sender: What takes events.
        view: What the readers may see.
        masks: What masks values.
        engine: Reads files.
        sent: Events that were sent so far.
    """

    envelope: Envelope
    pages: ChangePages
    positions: Positions
    sender: Sender
    view: DatasetView
    masks: Masks
    engine: FilesEngine
    sent: int = 0

    @property
    def query(self) -> ChangeQuery:
        """All that the readers see."""
        return ChangeQuery(self.view, self.view.columns)

    def deliver(self, version: int) -> None:
        """Deliver everything up to a version.

        Raises:
            DeliveryError: the target did not take all; what it took is not sent again.
            StoreError: what is to be sent cannot be read.
            VersionGoneError: the version is no longer kept.
        """
        position = self.positions.read()
        if position is None:
            position = self._begin(version, None, None)
        elif position.view != self.view.fingerprint:
            position = self._begin(version, position, "its readers see something else than before")
        while not (position.phase == "done" and position.version >= version):
            if position.phase == "snapshot":
                position = self._snapshot(position, version)
            elif position.phase == "changes":
                position = self._changes(position)
            else:
                position = self._next(position, version)

    # -- where to go on --------------------------------------------------------------------------------------

    def _begin(self, version: int, before: Position | None, reason: str | None) -> Position:
        if reason is not None:
            self._send([self.envelope.reset(self._about(version), reason)])
        begun = Position(
            version, "snapshot", 0, self.view.fingerprint, None if before is None else before.complete
        )
        self.positions.write(begun)
        return begun

    def _next(self, position: Position, version: int) -> Position:
        try:
            one = self.pages.changes.between(position.version, version)[0]
        except (VersionGoneError, IndexError):
            return self._begin(
                version, position, f"what changed since version {position.version} is no longer kept"
            )
        return self._moved(position, version=one.version, phase="changes", place=0)

    def _moved(self, position: Position, **changes: object) -> Position:
        moved: Position = replace(position, **changes)  # type: ignore[arg-type]
        self.positions.write(moved)
        return moved

    # -- what is told ----------------------------------------------------------------------------------------

    def _snapshot(self, position: Position, newest: int) -> Position:
        """All rows of a version, from where it stopped."""
        try:
            snapshot = Table(self.pages.changes.location).snapshot(position.version)
        except UsageError as error:
            if position.version == newest:
                raise VersionGoneError(str(error)) from error
            return self._begin(newest, position, f"version {position.version} is no longer kept")
        one = self.pages.changes.of(position.version)
        about = self._about(position.version)
        key = one.key if one is not None else ()
        statement = rows_sql(snapshot.files, snapshot.columns, key, self.query, self.masks)
        place = position.place
        cursor = self.engine.cursor()
        try:
            with self.engine.faults():
                cursor.execute(statement.text, (*statement.parameters, place))
                while rows := cursor.fetchmany(PAGE):
                    self._send(self.envelope.snapshot_row(key_json, row, about) for key_json, row in rows)
                    place += len(rows)
                    position = self._moved(position, place=place)
        finally:
            cursor.close()
        return self._published(position, one, about, snapshot.rows)

    def _changes(self, position: Position) -> Position:
        """What a publication changed, from where it stopped."""
        one = self.pages.changes.of(position.version)
        if one is None or one.kind != "changes":
            return self._begin(
                position.version, position, f"what changed in version {position.version} is no longer kept"
            )
        place = position.place
        while changes := self.pages.page(one, self.query, place):
            self._send(self.envelope.row(change, one) for change in changes)
            place = changes[-1].ordinal + 1
            position = self._moved(position, place=place)
            if len(changes) < PAGE:
                break
        return self._published(position, one, self._about(one.version), one.rows)

    def _published(self, position: Position, one: ChangeSet | None, about: Version, rows: int) -> Position:
        is_compared = one is not None and one.kind == "changes" and position.phase == "changes"
        counts = self.pages.counts(one, self.query) if is_compared and one is not None else None
        event = self.envelope.published(
            about,
            counts,
            rows if self.view.rows == EVERYTHING else None,
            operation="publish" if one is None else one.operation,
        )
        self._send([event])
        return self._moved(position, phase="done", place=0, complete=position.version)

    def _about(self, version: int) -> Version:
        one = self.pages.changes.of(version)
        if one is None:
            raise VersionGoneError(f"nothing is known of version {version} any more; project the port again")
        return Version(one.version, one.committed_at, one.contract_hash)

    def _send(self, events: Iterable[Event] | Iterator[Event]) -> None:
        self.sent += self.sender.send(events)
