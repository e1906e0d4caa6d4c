"""Whole answers as files: made once by DuckDB in a thread, read while they grow, kept for who asks the same.

A version never changes, so an answer that was made for one view is right for ever. It is written to disk as it
comes, and every reader follows at its own pace: a slow one fills no memory. When the last reader leaves before the
end, the work is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import DataProductError, QueryLimitError, StoreError
from dp_dagster.predicates.model import EVERYTHING
from dp_dagster.rows.files import too_long
from dp_dagster.rows.formats import export_sql, writer_of
from dp_dagster.rows.leftovers import remove_unfinished, unfinished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import duckdb

    from dp_dagster.rows.files import FilesEngine
    from dp_dagster.rows.formats import Put
    from dp_dagster.rows.plans import PagePlan
    from dp_dagster.rows.query import Format
    from dp_dagster.rows.version import PublishedVersion

_CHUNK_BYTES = 256 * 1024
_UNFINISHED = ".unfinished"
# An answer larger than this part of the room would push out all others.
_LARGEST_KEPT = 4
_NUMBERS = count()


class Exports:
    """The exports of a process, and the room on disk that all processes share.

    Args:
        engine: DuckDB.
        folder: Where finished answers are kept.
        room: Bytes that they may take together; the longest unused go first.
        largest: Bytes that one answer may have.
        seconds: How long making one may take.
        salt: Changes when masks give other values than before.
    """

    def __init__(
        self,
        engine: FilesEngine,
        folder: Path,
        *,
        room: int,
        largest: int,
        seconds: float,
        salt: str = "",
    ) -> None:
        self.engine = engine
        self.folder = folder
        self._room = room
        self.largest = largest
        self.seconds = seconds
        self._salt = salt
        self.running: dict[str, _Job] = {}
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder, _UNFINISHED)

    async def stream(self, version: PublishedVersion, plan: PagePlan, form: Format) -> AsyncIterator[bytes]:
        """The answer, in pieces.

        Raises:
            QueryLimitError: it takes too long, or becomes too large.
            VersionGoneError: the version's files are no longer kept.
            StoreError: they cannot be read.
        """
        name = f"{self._digest(version, plan)}.{form}"
        descriptor = self._there(_as_published(version, plan, form), name)
        if descriptor is not None:
            try:
                size = os.fstat(descriptor).st_size
                async for chunk in _read(descriptor, 0, size):
                    yield chunk
            finally:
                os.close(descriptor)
            return
        async for chunk in self._job(plan, form, name).follow():
            yield chunk

    async def file(self, version: PublishedVersion, plan: PagePlan, form: Format) -> int:
        """The answer as an open file, made to its end first. The caller closes it.

        Raises:
            QueryLimitError: it takes too long, or becomes too large.
            VersionGoneError: the version's files are no longer kept.
            StoreError: they cannot be read.
        """
        name = f"{self._digest(version, plan)}.{form}"
        descriptor = self._there(_as_published(version, plan, form), name)
        return await self._job(plan, form, name).whole() if descriptor is None else descriptor

    def _there(self, published: Path | None, name: str) -> int | None:
        """What was made before, open for reading."""
        kept = self.folder / name
        descriptor = _opened(published or kept)
        if descriptor is not None and published is None:
            # Used now: it is among the last to go.
            with contextlib.suppress(OSError):
                os.utime(kept)
        return descriptor

    def _job(self, plan: PagePlan, form: Format, name: str) -> _Job:
        """What makes it, begun at the latest now."""
        job = self.running.get(name)
        if job is None:
            write, sql = writer_of(form, plan.query.columns), export_sql(plan, form)
            job = self.running[name] = _Job(self, name, lambda cursor, put: write(cursor, sql, put))
            job.start()
        return job

    def close(self) -> None:
        """Stop what is being made."""
        for job in list(self.running.values()):
            job.stop()

    def _digest(self, version: PublishedVersion, plan: PagePlan) -> str:
        query = replace(plan.query, positions=False, encoded=False, texts=False)
        text = repr((version.version, plan.source.layout.digest, plan.view.fingerprint, query, self._salt))
        return hashlib.sha256(text.encode()).hexdigest()

    def keep(self, unfinished: Path, name: str, size: int) -> None:
        """Keep a finished answer, if there is room for its like; make room. Called by the job's thread."""
        if size * _LARGEST_KEPT > self._room:
            unfinished.unlink()
            return
        unfinished.replace(self.folder / name)
        found = []
        for path in self.folder.iterdir():
            # Another process may have removed it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if not path.name.endswith(_UNFINISHED):
                    found.append((status.st_mtime_ns, status.st_size, path))
        taken = sum(one[1] for one in found)
        for _, bytes_of, path in sorted(found):
            if taken <= self._room:
                break
            path.unlink(missing_ok=True)
            taken -= bytes_of


class _Job:
    """One answer that is being made: a thread writes the file, readers follow in the event loop."""

    def __init__(
        self, exports: Exports, name: str, write: Callable[[duckdb.DuckDBPyConnection, Put], None]
    ) -> None:
        self._exports = exports
        self._name = name
        self._write = write
        self._loop = asyncio.get_running_loop()
        # Of its own: a job that was stopped removes its file while the next one for the same answer writes already.
        self._path = unfinished(exports.folder / f"{name}.{next(_NUMBERS)}", _UNFINISHED)
        self._changed = asyncio.Event()
        self._readers = 0
        self._written = 0
        self._is_done = False
        self._is_stopped = False
        self._error: BaseException | None = None
        self._cursor: duckdb.DuckDBPyConnection | None = None
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)

    def start(self) -> None:
        """Begin to make it."""
        threading.Thread(target=self._run, name=f"export-{self._name[:8]}", daemon=True).start()

    def stop(self) -> None:
        """Make no more of it."""
        self._is_stopped = True
        cursor = self._cursor
        if cursor is not None:
            cursor.interrupt()

    async def follow(self) -> AsyncIterator[bytes]:
        """All of it, from the beginning, as it grows."""
        self._readers += 1
        offset = 0
        try:
            while True:
                written = self._written
                if offset < written:
                    async for chunk in _read(self._descriptor, offset, written):
                        offset += len(chunk)
                        yield chunk
                elif self._error is not None:
                    raise self._error
                elif self._is_done:
                    return
                else:
                    self._changed.clear()
                    if self._written == written and not self._is_done:
                        await self._changed.wait()
        finally:
            self._leave()

    async def whole(self) -> int:
        """All of it, when it is there, as an open file of the caller's own."""
        self._readers += 1
        try:
            while not self._is_done:
                self._changed.clear()
                await self._changed.wait()
            if self._error is not None:
                raise self._error
            return os.dup(self._descriptor)
        finally:
            self._leave()

    def _leave(self) -> None:
        """One reader less; without any, there is nobody to make it for."""
        self._readers -= 1
        if not self._readers:
            if self._is_done:
                self._close()
            else:
                self.stop()
                self._forget()

    # -- the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._make()
        except DataProductError as fault:
            error = fault
        except BaseException as fault:  # noqa: BLE001 - told to the readers, whose error it is
            error = fault
        if error is None:
            try:
                self._exports.keep(self._path, self._name, self._written)
            except OSError as fault:
                error = StoreError(f"{self._path} cannot be kept: {fault}")
        if error is not None:
            self._path.unlink(missing_ok=True)
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody reads any more
            self._loop.call_soon_threadsafe(self._finish, error)

    def _make(self) -> None:
        import duckdb

        exports = self._exports
        cursor = self._cursor = exports.engine.cursor()
        timer = threading.Timer(exports.seconds, self._expire)
        timer.daemon = True
        self._is_late = False
        timer.start()
        try:
            with exports.engine.faults():
                self._write(cursor, self._put)
        except duckdb.InterruptException:
            if self._is_late:
                raise too_long(exports.seconds) from None
            raise StoreError("the export was stopped") from None
        finally:
            timer.cancel()
            self._cursor = None
            cursor.close()

    def _expire(self) -> None:
        self._is_late = True
        self.stop()

    def _put(self, data: Any) -> None:
        """Write a piece; called by the format's writer."""
        import duckdb

        if self._is_stopped:
            raise duckdb.InterruptException("stopped")
        size = len(data)
        largest = self._exports.largest
        if self._written + size > largest:
            raise QueryLimitError(
                f"the answer is larger than {largest:,} bytes; filter, or select fewer columns"
            )
        rest = memoryview(data)
        while rest:
            done = os.pwrite(self._descriptor, rest, self._written)
            rest = rest[done:]
            self._written += done
        with contextlib.suppress(RuntimeError):  # as above
            self._loop.call_soon_threadsafe(self._changed.set)

    # -- the loop --------------------------------------------------------------------------------------

    def _finish(self, error: BaseException | None) -> None:
        self._error = error
        self._is_done = True
        self._forget()
        self._changed.set()
        if not self._readers:
            self._close()

    def _forget(self) -> None:
        if self._exports.running.get(self._name) is self:
            del self._exports.running[self._name]

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None


def _as_published(version: PublishedVersion, plan: PagePlan, form: Format) -> Path | None:
    """The published file that is the answer already."""
    query = plan.query
    files = version.published_files()
    is_same = (
        form == "parquet"
        and len(files) == 1
        and version.hands_out_files(plan.view)
        and query.columns == tuple(plan.source.columns)
        and query.where == EVERYTHING
        and query.after is None
        and query.before is None
        and (query.limit is None or query.limit >= version.rows)
        and plan.is_as_published
    )
    return files[0] if is_same else None


async def _read(descriptor: int, offset: int, end: int) -> AsyncIterator[bytes]:
    """A part of a file. What the system has in memory is read at once, all else in a thread."""
    while offset < end:
        size = min(_CHUNK_BYTES, end - offset)
        chunk = _from_memory(descriptor, size, offset)
        if chunk is None:
            chunk = await asyncio.to_thread(os.pread, descriptor, size, offset)
        if not chunk:
            raise StoreError("a file became shorter while it was read")
        offset += len(chunk)
        yield chunk


def _from_memory(descriptor: int, size: int, offset: int) -> bytes | None:
    no_wait = getattr(os, "RWF_NOWAIT", None)
    if no_wait is None:
        return None
    buffer = bytearray(size)
    try:
        done = os.preadv(descriptor, [buffer], offset, no_wait)
    except OSError:
        # Not in memory, or a file system that cannot tell.
        return None
    return bytes(buffer) if done == size else bytes(memoryview(buffer)[:done]) or None
