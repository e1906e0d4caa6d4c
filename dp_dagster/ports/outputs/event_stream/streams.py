"""What one consumer is told: all rows of a version, what changed since another, and each version as it comes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import orjson

from dp_dagster.changes.read import ChangeQuery
from dp_dagster.errors import VersionGoneError
from dp_dagster.ports.outputs.event_stream.changes_pages import PAGE
from dp_dagster.ports.outputs.event_stream.envelope import Place, Version, key_values
from dp_dagster.ports.problems import Problem, RequestError
from dp_dagster.predicates.model import EVERYTHING, AllOf, Condition, columns_of
from dp_dagster.predicates.values import BadValueError, read_value
from dp_dagster.rows.query import Query

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from dp_dagster.access.view import DatasetView
    from dp_dagster.changes.model import ChangeSet
    from dp_dagster.ports.outputs.event_stream.asking import Asked
    from dp_dagster.ports.outputs.event_stream.changes_pages import ChangePages
    from dp_dagster.ports.outputs.event_stream.envelope import Envelope, Event
    from dp_dagster.ports.served import Exchange, PortHost
    from dp_dagster.predicates.model import Predicate
    from dp_dagster.rows.query import Position, ServedVersion

HEARTBEAT_SECONDS = 15.0
_RETRY_MILLISECONDS = 2000
_KEPT_PAGES = 64
_BEGIN_AGAIN = "begin again with all rows: snapshot=newest"


@dataclass(frozen=True)
class Batch:
    """Some events on their way.

    Attributes:
        body: As they are sent.
        rows: How many of them are about rows.
        version: The version that they are about.
    """

    body: bytes
    rows: int = 0
    version: int | None = None


@dataclass(frozen=True)
class Reader:
    """What one consumer reads.

    Attributes:
        view: What they see.
        columns: The columns that they want.
        where: Which rows they want.
        until: The last version that is told.
    """

    view: DatasetView
    columns: tuple[str, ...]
    where: Predicate
    until: int | None

    @property
    def query(self) -> ChangeQuery:
        """Of changes."""
        return ChangeQuery(self.view, self.columns, self.where)

    @property
    def sees_every_row(self) -> bool:
        """Whether no row is filtered out."""
        return self.view.rows == EVERYTHING and self.where == EVERYTHING


class Streams:
    """The streams of a port.

    Args:
        envelope: What events say of the port.
        pages: Reads changes.
        host: Knows the versions.
    """

    def __init__(self, envelope: Envelope, pages: ChangePages, host: PortHost) -> None:
        self._envelope = envelope
        self._pages = pages
        self._host = host
        self._rendered: OrderedDict[tuple[Any, ...], asyncio.Future[tuple[Batch, int | None]]] = OrderedDict()

    async def batches(self, asked: Asked, exchange: Exchange) -> AsyncGenerator[Batch]:
        """The answer, in batches. What is wrong with the question is raised before the first."""
        current = self._host.newest()
        columns, where = asked.selection({column.name: column for column in current.columns}, exchange.view)
        exchange.columns = tuple(dict.fromkeys((*columns, *sorted(columns_of(where)))))
        exchange.version = current.version
        until = current.version if asked.until == "newest" else asked.until
        reader = Reader(exchange.view, columns, where, until)
        if until is not None and until > current.version:
            detail = f"version {until} is not published"
            fix = "leave until out to wait for what comes"
            raise RequestError(Problem(400, "not-published", detail, "until", str(until), fix))
        start = await self._start_of(asked, reader, current)
        if start is None:
            return
        at, first = start
        yield _BEGIN
        async for batch in first:
            yield batch
        async for batch in self._following(at, reader):
            yield batch

    async def _start_of(
        self, asked: Asked, reader: Reader, current: ServedVersion
    ) -> tuple[int, AsyncIterator[Batch]] | None:
        """What is told first, and the version that the reader knows then; ``None`` where there is nothing to tell.

        Raises:
            RequestError: 410, it cannot be told any more.
        """
        snapshot = current.version if asked.snapshot == "newest" else asked.snapshot
        if snapshot is not None:
            return snapshot, self._snapshot(self._kept(snapshot), reader, None)
        after, until = asked.after, reader.until
        if after is None:
            return current.version, _nothing()
        if after.version > current.version:
            raise RequestError(_gone(f"version {after.version} was never published"))
        if until is not None and (after.version, after.key is None) >= (until, True):
            return None
        return after.version, await self._resumed(after, reader)

    async def _following(self, at: int, reader: Reader) -> AsyncIterator[Batch]:
        """All publications after a version, as they come."""
        until = reader.until
        while until is None or at < until:
            current = self._host.newest()
            if current.version > at:
                last = current.version if until is None else until
                try:
                    steps = await asyncio.to_thread(self._pages.changes.between, at, last)
                except VersionGoneError as error:
                    yield self._broken(await self._about(current), str(error))
                    return
                for one in steps:
                    async for batch in self._publication(one, reader, 0):
                        yield batch
                    at = one.version
            elif self._host.is_ending:
                return
            else:
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await self._host.changed(current.version)
                except TimeoutError:
                    yield _HEARTBEAT

    async def _resumed(self, after: Place, reader: Reader) -> AsyncIterator[Batch]:
        """The rest of the version that somebody had begun; raises where it cannot be told any more."""
        changes = self._pages.changes
        newest = self._host.newest().version
        target = newest if reader.until is None else reader.until
        await self._followed(after.version, target)
        if after.key is None:
            return _nothing()
        if after.is_snapshot:
            version = self._kept(after.version)
            return self._snapshot(version, reader, await self._position(version, after.key, reader))
        one = await asyncio.to_thread(changes.of, after.version)
        if one is None or one.kind != "changes":
            raise RequestError(_gone(f"the changes of version {after.version} are no longer kept"))
        start = await asyncio.to_thread(self._pages.behind, one, after.key)
        return self._publication(one, reader, start)

    def _kept(self, version: int) -> ServedVersion:
        """A version by its number.

        Raises:
            RequestError: 410, it is not there.
        """
        try:
            return self._host.at(version)
        except VersionGoneError as error:
            detail = f"version {version} was never published, or is no longer kept"
            raise RequestError(_gone(detail)) from error

    async def _followed(self, version: int, target: int) -> None:
        """See that a version leads to another one.

        Raises:
            RequestError: 410, it does not any more.
        """
        try:
            await asyncio.to_thread(self._pages.changes.between, version, target)
        except VersionGoneError as error:
            raise RequestError(_gone(str(error))) from error

    async def _snapshot(
        self, version: ServedVersion, reader: Reader, position: Position | None
    ) -> AsyncIterator[Batch]:
        """All rows of a version, and then that it was published."""
        about = await self._about(version)
        there = {column.name for column in version.columns}
        columns = tuple(name for name in reader.columns if name in there)
        wanted = tuple(dict.fromkeys((*columns, *version.key)))
        query = Query(wanted, reader.where, limit=PAGE, after=position, encoded=True)
        while True:
            page = await version.fetch_page(reader.view, query)
            events = []
            for row in page.rows:
                values = dict(zip(page.columns, row, strict=True))
                key = orjson.dumps({name: values[name] for name in version.key}).decode()
                shown = orjson.dumps({name: values[name] for name in columns}).decode()
                events.append(self._envelope.snapshot_row(key, shown, about))
            if events:
                yield _batch(events, about.version)
            if not page.has_more or page.last is None:
                break
            query = replace(query, after=page.last)
        one = await asyncio.to_thread(self._pages.changes.of, about.version)
        yield await self._published(one, reader, about, version.rows)

    async def _publication(self, one: ChangeSet, reader: Reader, start: int) -> AsyncIterator[Batch]:
        """What a publication changed, and then that it was published."""
        about = Version(one.version, one.committed_at, one.contract_hash)
        place: int | None = start
        while place is not None:
            batch, place = await self._page(one, reader, place)
            if batch.rows:
                yield batch
        yield await self._published(one, reader, about, one.rows)

    async def _page(self, one: ChangeSet, reader: Reader, start: int) -> tuple[Batch, int | None]:
        """A page of changes, made once for all who read the same at about the same time; and where the next begins."""
        name = (one.version, one.file, reader.view.fingerprint, reader.columns, reader.where, start)
        found = self._rendered.get(name)
        if found is None or (found.done() and found.exception() is not None):
            found = asyncio.ensure_future(asyncio.to_thread(self._render, one, reader, start))
            # Whoever waits is told; where all have left, nobody is.
            found.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._rendered[name] = found
            while len(self._rendered) > _KEPT_PAGES:
                self._rendered.popitem(last=False)
        return await asyncio.shield(found)

    def _render(self, one: ChangeSet, reader: Reader, start: int) -> tuple[Batch, int | None]:
        changes = self._pages.page(one, reader.query, start)
        events = [self._envelope.row(change, one) for change in changes]
        return _batch(events, one.version), changes[-1].ordinal + 1 if len(changes) == PAGE else None

    async def _published(self, one: ChangeSet | None, reader: Reader, about: Version, rows: int) -> Batch:
        counts = None
        if one is not None and one.kind == "changes":
            counts = await asyncio.to_thread(self._pages.counts, one, reader.query)
        operation = "publish" if one is None else one.operation
        event = self._envelope.published(
            about, counts, rows if reader.sees_every_row else None, operation=operation
        )
        return Batch(event.server_sent(), 0, about.version)

    def _broken(self, about: Version, reason: str) -> Batch:
        return Batch(self._envelope.reset(about, reason).server_sent(), 0, about.version)

    async def _about(self, version: ServedVersion) -> Version:
        one = await asyncio.to_thread(self._pages.changes.of, version.version)
        if one is None:
            return Version(version.version, version.published_at, "")
        return Version(one.version, one.committed_at, one.contract_hash)

    async def _position(self, version: ServedVersion, key: str, reader: Reader) -> Position | None:
        """Where a row stands in a version; ``None``, so that all are told once more, where it is not there."""
        types = {column.name: column.type for column in version.columns}
        try:
            parts = tuple(
                Condition(name, "eq", read_value(text, types[name]))
                for name, text in zip(version.key, key_values(key), strict=True)
            )
        except (BadValueError, ValueError):
            return None
        page = await version.fetch_page(reader.view, Query(version.key, AllOf(parts), limit=1))
        return page.first


_BEGIN = Batch(f"retry: {_RETRY_MILLISECONDS}\n\n".encode())
_HEARTBEAT = Batch(b": still here\n\n")


def _batch(events: list[Event], version: int) -> Batch:
    return Batch(b"".join(event.server_sent() for event in events), len(events), version)


async def _nothing() -> AsyncIterator[Batch]:
    return
    yield  # which makes it a generator


def _gone(detail: str) -> Problem:
    return Problem(410, "version-gone", detail, fix=_BEGIN_AGAIN)
