"""The making of one export: a thread writes it, readers follow it while it grows, and it is kept when it is whole."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from itertools import count
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import DataProductError, QueryLimitError, StoreError
from dp_dagster.rows.files import too_long
from dp_dagster.rows.growing import GrowingFile, Place
from dp_dagster.rows.leftovers import unfinished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import duckdb

    from dp_dagster.rows.export import Exports
    from dp_dagster.rows.formats import Put

UNFINISHED = ".unfinished"
"""How the names of files end that are still written."""
_LOG = logging.getLogger("dp_dagster.serving")
_NUMBERS = count()


class ExportJob:
    """One answer that is being made: a thread writes the file, readers follow in the event loop.

    Args:
        exports: Where it belongs.
        name: What it is kept under.
        write: Makes it, with DuckDB, and puts it piece by piece.

    Attributes:
        rows: How many rows are whole so far.
    """

    def __init__(
        self, exports: Exports, name: str, write: Callable[[duckdb.DuckDBPyConnection, Put], None]
    ) -> None:
        self._exports = exports
        self._name = name
        self._write = write
        self._loop = asyncio.get_running_loop()
        # Of its own: a job that was stopped removes its file while the next one for the same answer writes already.
        self._path = unfinished(exports.folder / f"{name}.{next(_NUMBERS)}", UNFINISHED)
        self._changed = asyncio.Event()
        self._readers = 0
        self._file = GrowingFile(self._path, exports.memory)
        self.rows = 0
        #: All of it is there to be followed; it is kept for others after that, which no reader waits for.
        self._is_made = False
        self._is_done = False
        self._is_stopped = False
        self._error: BaseException | None = None
        self._is_late = False
        self._deadline = math.inf
        self._cursor: duckdb.DuckDBPyConnection | None = None
        #: Nobody interrupts a cursor that is closed.
        self._guard = threading.Lock()

    def start(self) -> None:
        """Begin to make it."""
        threading.Thread(target=self._run, name=f"export-{self._name[:8]}", daemon=True).start()

    def stop(self) -> None:
        """Make no more of it."""
        self._is_stopped = True
        with self._guard:
            if self._cursor is not None:
                self._cursor.interrupt()

    async def follow(self) -> AsyncIterator[bytes]:
        """All of it, from the beginning, as it grows."""
        self._readers += 1
        place = Place()
        try:
            while True:
                written = self._file.size
                if place.offset < written:
                    async for chunk in self._file.read(place):
                        yield chunk
                elif self._error is not None:
                    raise self._error
                elif self._is_made:
                    return
                else:
                    self._changed.clear()
                    if self._file.size == written and not self._is_made:
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
            return self._file.opened()
        finally:
            self._leave()

    def _leave(self) -> None:
        """One reader less; without any, there is nobody to make it for."""
        self._readers -= 1
        if not self._readers:
            if self._is_done:
                self._file.close()
            elif not self._is_made:
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
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody reads any more
                self._loop.call_soon_threadsafe(self._end)
            try:
                self._file.to_disk()
                self._exports.keep(self._path, self._name, self._file.size)
            except OSError as fault:
                error = StoreError(f"{self._path} cannot be kept: {fault}")
                _LOG.warning("%s", error)
        if error is not None:
            self._path.unlink(missing_ok=True)
        try:
            self._loop.call_soon_threadsafe(self._finish, error)
        except RuntimeError:
            # As above: nobody else is there to let go of it.
            self._finish(error)

    def _make(self) -> None:
        import duckdb

        exports = self._exports
        cursor = self._cursor = exports.engine.cursor()
        timer = threading.Timer(exports.seconds, self._expire)
        timer.daemon = True
        self._deadline = time.monotonic() + exports.seconds
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
            with self._guard:
                self._cursor = None
            cursor.close()

    def _expire(self) -> None:
        self._is_late = True
        self.stop()

    def _put(self, data: Any, rows: int = 0) -> None:
        """Write a piece, with which so many more rows are whole; called by the format's writer."""
        import duckdb

        self.rows += rows
        # The timer's thread may get no turn while rows come fast.
        self._is_late = self._is_late or time.monotonic() >= self._deadline
        if self._is_stopped or self._is_late:
            raise duckdb.InterruptException("stopped")
        largest = self._exports.largest
        if self._file.size + len(data) > largest:
            raise QueryLimitError(
                f"the answer is larger than {largest:,} bytes; filter, or select fewer columns"
            )
        self._file.append(data)
        with contextlib.suppress(RuntimeError):  # as above
            self._loop.call_soon_threadsafe(self._changed.set)

    # -- the loop --------------------------------------------------------------------------------------

    def _end(self) -> None:
        self._is_made = True
        self._changed.set()

    def _finish(self, error: BaseException | None) -> None:
        self._error = error
        self._is_made = self._is_done = True
        self._forget()
        self._changed.set()
        if not self._readers:
            self._file.close()

    def _forget(self) -> None:
        if self._exports.running.get(self._name) is self:
            del self._exports.running[self._name]
