"""Whole answers as files: made once by DuckDB in a thread, read while they grow, kept for who asks the same.

A version never changes, so an answer that was made for one view is right for ever. Small ones are read from memory
while they are made; what becomes large is written to disk as it comes, and every reader follows at its own pace: a
slow one fills no memory. When the last reader leaves before the end, the work is stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from dp_dagster.errors import StoreError
from dp_dagster.predicates.model import EVERYTHING
from dp_dagster.rows.export_job import UNFINISHED, ExportJob
from dp_dagster.rows.formats import export_sql, writer_of
from dp_dagster.rows.growing import Room, read_file
from dp_dagster.rows.leftovers import remove_unfinished
from dp_dagster.rows.stored_arrow import can_be_given, write_stored

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    import duckdb

    from dp_dagster.rows.files import FilesEngine
    from dp_dagster.rows.formats import Put
    from dp_dagster.rows.pages import PagePlan
    from dp_dagster.rows.query import Format
    from dp_dagster.rows.version import PublishedVersion

_MEMORY_BYTES = 64 * 1024 * 1024
# An answer larger than this part of the room would push out all others.
_LARGEST_KEPT = 4


class Export:
    """An answer that is read to its end or closed.

    Attributes:
        size: Its bytes; ``None`` where it is still being made. Known with the first piece.
        rows: How many rows there are in what was read so far, or in all of it; ``None`` where nobody has counted.
    """

    chunks: AsyncGenerator[bytes, None]

    def __init__(self) -> None:
        self.size: int | None = None
        self.rows: int | None = None

    def __aiter__(self) -> Export:
        return self

    async def __anext__(self) -> bytes:
        """The next piece.

        Raises:
            QueryLimitError: it takes too long, or becomes too large.
            VersionGoneError: the version's files are no longer kept.
            StoreError: they cannot be read.
        """
        return await self.chunks.__anext__()

    async def aclose(self) -> None:
        """Read no more of it."""
        await self.chunks.aclose()


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
        self.memory = Room(_MEMORY_BYTES)
        self.running: dict[str, ExportJob] = {}
        folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder, UNFINISHED)

    def stream(self, version: PublishedVersion, plan: PagePlan, form: Format) -> Export:
        """The answer, in pieces. What is wrong with it shows with the first one."""
        export = Export()
        export.chunks = self._chunks(export, version, plan, form)
        return export

    async def _chunks(
        self, export: Export, version: PublishedVersion, plan: PagePlan, form: Format
    ) -> AsyncGenerator[bytes, None]:
        name = f"{self._digest(version, plan)}.{form}"
        descriptor = self._there(_as_published(version, plan, form), name)
        if descriptor is not None:
            try:
                export.size = os.fstat(descriptor).st_size
                export.rows = version.known_count(plan)
                async for chunk in read_file(descriptor, 0, export.size):
                    yield chunk
            finally:
                os.close(descriptor)
            return
        job = self._job(version, plan, form, name)
        export.rows = 0
        async for chunk in job.follow():
            export.rows = job.rows
            yield chunk
        export.rows = job.rows
        version.remember_count(plan, job.rows)

    async def file(self, version: PublishedVersion, plan: PagePlan, form: Format) -> int:
        """The answer as an open file, made to its end first. The caller closes it.

        Raises:
            QueryLimitError: it takes too long, or becomes too large.
            VersionGoneError: the version's files are no longer kept.
            StoreError: they cannot be read.
        """
        name = f"{self._digest(version, plan)}.{form}"
        descriptor = self._there(_as_published(version, plan, form), name)
        return await self._job(version, plan, form, name).whole() if descriptor is None else descriptor

    def _there(self, published: Path | None, name: str) -> int | None:
        """What was made before, open for reading."""
        kept = self.folder / name
        descriptor = _opened(published or kept)
        if descriptor is not None and published is None:
            # Used now: it is among the last to go.
            with contextlib.suppress(OSError):
                os.utime(kept)
        return descriptor

    def _job(self, version: PublishedVersion, plan: PagePlan, form: Format, name: str) -> ExportJob:
        """What makes it, begun at the latest now."""
        job = self.running.get(name)
        if job is None:
            # Made for its checks, too, whoever reads the rows then.
            write, sql = writer_of(form, plan.query.columns), export_sql(plan, form)
            store = version.store if form == "arrow" and can_be_given(plan) else None

            def make(cursor: duckdb.DuckDBPyConnection, put: Put) -> None:
                if store is None:
                    write(cursor, sql, put)
                    return
                try:
                    write_stored(store, plan, put)
                except StoreError as error:
                    version.damaged(store, error)
                    raise

            job = self.running[name] = ExportJob(self, name, make)
            job.start()
        return job

    def close(self) -> None:
        """Stop what is being made."""
        for job in list(self.running.values()):
            job.stop()

    def _digest(self, version: PublishedVersion, plan: PagePlan) -> str:
        query = replace(plan.query, positions=False, encoded=False, texts=False, joined=False)
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
                if not path.name.endswith(UNFINISHED):
                    found.append((status.st_mtime_ns, status.st_size, path))
        taken = sum(one[1] for one in found)
        for _, bytes_of, path in sorted(found):
            if taken <= self._room:
                break
            path.unlink(missing_ok=True)
            taken -= bytes_of


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
