"""Asking the published Parquet files, with DuckDB: correct for everything, made for much at once."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import QueryLimitError, StoreError, VersionGoneError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb

_AGAIN_SECONDS = 0.05
GONE = "this version is no longer kept; start again without cursor and without as_of"
"""What is said of a version whose files were removed."""


class FilesEngine:
    """The DuckDB instance of a process: one, so that its memory is bounded once."""

    def __init__(self, *, memory: str, spill: Path, threads: int | None = None) -> None:
        self._memory = memory
        self._spill = spill
        self._threads = threads
        self._instance: duckdb.DuckDBPyConnection | None = None
        self._guard = threading.Lock()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of one's own to the instance; close it."""
        import duckdb

        from dp_dagster.engines.duckdb import prepare

        with self._guard:
            if self._instance is None:
                config: dict[str, Any] = {
                    "memory_limit": self._memory,
                    "temp_directory": str(self._spill),
                    "allow_persistent_secrets": False,
                    "autoload_known_extensions": False,
                }
                if self._threads is not None:
                    config["threads"] = self._threads
                self._instance = duckdb.connect(config=config)
                prepare(self._instance)
                # The files never change: their footers are read once.
                self._instance.execute("set global enable_object_cache = true; set global TimeZone = 'UTC'")
            return self._instance.cursor()

    def rows(self, sql: str, values: tuple[Any, ...], seconds: float) -> list[tuple[Any, ...]]:
        """All rows of a query.

        Raises:
            QueryLimitError: it took longer than that many seconds.
            VersionGoneError: a file is no longer there.
            StoreError: a file is damaged, or memory ran out.
        """
        cursor = self.cursor()
        try:
            with self.faults(), time_limit(cursor, seconds):
                return cursor.execute(sql, values).fetchall()
        finally:
            cursor.close()

    @contextmanager
    def faults(self) -> Iterator[None]:
        """DuckDB's errors over published files as ours.

        Raises:
            VersionGoneError: a file is no longer there.
            StoreError: a file is damaged, or memory ran out.
        """
        import duckdb

        from dp_dagster.engines.duckdb import first_line

        try:
            yield
        except duckdb.InterruptException:
            raise
        except duckdb.IOException as error:
            text = str(error)
            if "No files found" in text or "No such file" in text:
                raise VersionGoneError(GONE) from error
            raise StoreError(f"published files cannot be read: {first_line(error)}") from error
        except duckdb.Error as error:
            if isinstance(error, duckdb.InternalException | duckdb.FatalException):
                # DuckDB refuses everything afterwards; the next question gets an instance of its own.
                self.close()
            raise StoreError(f"published files cannot be asked: {first_line(error)}") from error

    def close(self) -> None:
        """Let go of the instance."""
        with self._guard:
            if self._instance is not None:
                self._instance.close()
                self._instance = None


@contextmanager
def time_limit(cursor: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    """Interrupt what the cursor does after that many seconds.

    Raises:
        QueryLimitError: it was interrupted.
    """
    import duckdb

    is_over = threading.Event()
    guard = threading.Lock()

    def watch() -> None:
        wait = seconds
        while not is_over.wait(wait):
            with guard:  # the cursor is closed afterwards, and then knows no interrupt
                if not is_over.is_set():
                    cursor.interrupt()
            # DuckDB forgets an interrupt that comes before a query has begun.
            wait = _AGAIN_SECONDS

    threading.Thread(target=watch, name="time-limit", daemon=True).start()
    try:
        yield
    except duckdb.InterruptException:
        raise too_long(seconds) from None
    finally:
        with guard:
            is_over.set()


def too_long(seconds: float) -> QueryLimitError:
    """The error of a query that ran into its time limit."""
    return QueryLimitError(
        f"the query took longer than {seconds:g} s; ask for fewer rows, or filter by the key"
    )
