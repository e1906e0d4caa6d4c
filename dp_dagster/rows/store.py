"""Asking a row store: a SQLite file that never changes, mapped into memory and shared by all workers."""

from __future__ import annotations

import math
import sqlite3
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import StoreError, UsageError
from dp_dagster.rows.layout import TABLE

if TYPE_CHECKING:
    from pathlib import Path

# How many steps of SQLite's machine pass between two looks at the clock: about a millisecond.
_STEPS = 20_000
_MAPPED_BYTES = 1 << 40
_STATEMENTS = 512


class TooSlowError(Exception):
    """The statement did not end within its time. Never leaves the package."""


class _Watch:
    """Asked by SQLite now and then whether the statement of a connection has gone on for too long."""

    __slots__ = ("_deadline", "_left", "_seconds", "_watches")

    def __init__(self) -> None:
        self._watches = False
        self._deadline = self._left = self._seconds = 0.0

    def begin(self, seconds: float, steps: int | None) -> None:
        self._seconds = seconds
        self._deadline = 0.0
        self._left = math.inf if steps is None else steps / _STEPS
        self._watches = True

    def end(self) -> None:
        self._watches = False

    def __call__(self) -> bool:
        self._left -= 1
        if not self._watches:
            return False
        # The thread's own time: what others took of the processor meanwhile says nothing of the statement.
        now = time.thread_time()
        if not self._deadline:
            # Most statements end before their time is asked for, which costs as much as a row.
            self._deadline = now + self._seconds
        return self._left < 0 or now > self._deadline


class StoreFile:
    """One open row store. Any thread may ask; each has a connection of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        # A version that nobody holds any more lets go of its connections, too.
        weakref.finalize(self, _close, self._open)
        # A file that is no row store is found out here, not by the first consumer.
        self.rows("select count(*) from sqlite_master where name = ?", (TABLE,), 5.0)

    def row(self, sql: str, values: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """The first row of a statement that looks at few rows.

        Raises:
            StoreError: the file is damaged.
        """
        try:
            found: tuple[Any, ...] | None = self._connection().execute(sql, values).fetchone()
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            raise self._failed(error) from error
        return found

    def rows(
        self, sql: str, values: tuple[Any, ...], seconds: float, steps: int | None = None
    ) -> list[tuple[Any, ...]]:
        """All rows of a statement.

        Raises:
            TooSlowError: it took longer than that many seconds, or more steps of SQLite's machine.
            StoreError: the file is damaged.
        """
        connection = self._connection()
        watch: _Watch = self._local.watch
        watch.begin(seconds, steps)
        try:
            return connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise TooSlowError from None
            raise self._failed(error) from error
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            raise self._failed(error) from error
        finally:
            watch.end()

    def close(self) -> None:
        """Close all connections. Only when nobody asks any more."""
        with self._guard:
            _close(self._open)

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is not None:
            return found
        try:
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro&immutable=1",
                uri=True,
                isolation_level=None,
                # Closed by whoever closes the store.
                check_same_thread=False,
                cached_statements=_STATEMENTS,
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error
        with self._guard:
            self._open.append(connection)
        try:
            connection.execute(f"pragma mmap_size = {_MAPPED_BYTES}")
            watch = _Watch()
            connection.set_progress_handler(watch, _STEPS)
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._local.watch = watch
        self._local.connection = connection
        return connection

    def _failed(self, error: Exception) -> StoreError | UsageError:
        if isinstance(
            error, sqlite3.InterfaceError | sqlite3.ProgrammingError | UnicodeError | OverflowError
        ):
            return UsageError(f"a value of the query is of no type that can be compared: {error}")
        return StoreError(f"the row store {self.path} is damaged: {error}; remove it, it is built again")


def _close(connections: list[sqlite3.Connection]) -> None:
    for connection in connections:
        connection.close()
    connections.clear()
