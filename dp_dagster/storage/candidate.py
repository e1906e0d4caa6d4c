"""Candidates: files that lie in a table's folder and that no commit names yet.

Each file is registered before it is written, in a small document outside the table's folder. So whatever a
killed writer leaves behind is known by name, and cleaning never has to guess from a listing.
"""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.model import Column
from dp_dagster.errors import PublicationRefusedError, StoreError, UsageError
from dp_dagster.storage.documents import read_document, read_lasting, write_document
from dp_dagster.storage.partitions import FILE_NAME, file_name
from dp_dagster.storage.places import age, matching

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dp_dagster.storage.location import TableLocation
    from dp_dagster.storage.places import Place

_CANDIDATE_ID = re.compile(r"[0-9a-f]{32}")
_FORMAT = 1

# States of a registered candidate.
WRITING, SEALED, PUBLISHED, REMOVED = "writing", "sealed", "published", "removed"


@dataclass(frozen=True)
class CandidateFile:
    """One Parquet file of a candidate: its name in the table's folder, bytes, SHA-256 and rows."""

    path: str
    size: int
    sha256: str
    rows: int


@dataclass(frozen=True)
class Candidate:
    """Files that may become the next version of a table.

    Attributes:
        id: Unique id; also the mark by which a commit that landed is recognised.
        location: The table.
        base_version: Version that was newest when the candidate was begun; ``None`` before the first.
        run_id: The run that wrote it.
        files: In the order in which they were begun.
        rows: Rows of all files.
        created_at: UTC, ISO 8601.
        hash: SHA-256 over sizes and checksums of the files, names left out: equal bytes, equal hash.
        columns: As the files' footers say.
        replaces: Keys of the partitions that the files take the place of, whatever these held; all other files of the
            table stay. Empty: the files are added to the table. ``None``: they take the place of all of it.
    """

    id: str
    location: TableLocation
    base_version: int | None
    run_id: str
    files: tuple[CandidateFile, ...]
    rows: int
    created_at: str
    hash: str
    columns: tuple[Column, ...]
    replaces: tuple[str, ...] | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Absolute paths of the files."""
        return tuple(str(self.location.directory / file.path) for file in self.files)


class Draft:
    """A candidate in the making. Begin files with :meth:`new_file`, then :meth:`seal` or :meth:`discard`."""

    def __init__(
        self,
        location: TableLocation,
        run_id: str,
        base_version: int | None,
        replaces: Iterable[str] | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.location = location
        self.run_id = run_id
        self.base_version = base_version
        self.replaces = None if replaces is None else tuple(sorted(set(replaces)))
        self._created_at = datetime.now(UTC).isoformat()
        self._names: list[str] = []
        self._sealed = False

    def new_file(self, partition: str | None = None, made_from: str = "") -> Path:
        """Register one more Parquet file and return the path at which to write it.

        Args:
            partition: Key of the partition that it holds, for a table that has partitions.
            made_from: What the partition's rows are made from: 16 hexadecimal digits.

        Raises:
            UsageError: the draft is already sealed, or the candidate does not replace this partition.
            StoreError: the table's folder cannot be written.
        """
        if self._sealed:
            raise UsageError(f"candidate {self.id} of {self.location} is sealed; begin a new draft")
        if self.replaces is not None and partition not in self.replaces:
            raise UsageError(
                f"candidate {self.id} of {self.location} replaces {', '.join(self.replaces)}, not {partition}"
            )
        name = file_name(partition, made_from)
        self._names.append(name)
        self._register(WRITING, {"files": [{"path": name} for name in self._names]})
        try:
            self.location.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.location.directory} cannot be made: {error.strerror or error}"
            ) from error
        return self.location.directory / name

    def add_only(self) -> None:
        """Let the files be added to the version that the draft is based on, whose files all stay."""
        self.replaces = ()

    def seal(self) -> Candidate:
        """Read footers and checksums of what was written; from here on the files must not change.

        Raises:
            PublicationRefusedError: a column's type or name is not fit for every reader of the table.
            StoreError: a file is missing or is no Parquet file.
        """
        files, columns = examine(self.location, self._names)
        candidate = Candidate(
            id=self.id,
            location=self.location,
            base_version=self.base_version,
            run_id=self.run_id,
            files=files,
            rows=sum(file.rows for file in files),
            created_at=self._created_at,
            hash=hash_of(files),
            columns=columns,
            replaces=self.replaces,
        )
        self._sealed = True
        self._register(
            SEALED,
            {
                "files": [asdict(file) for file in files],
                "rows": candidate.rows,
                "hash": candidate.hash,
                "columns": [{"name": c.name, "type": c.type, "nullable": c.nullable} for c in columns],
            },
        )
        return candidate

    def discard(self) -> None:
        """Remove the files and forget the draft. Does nothing to a candidate that was published."""
        record = Registry(self.location).find(self.id)
        if record is not None and record.state in {WRITING, SEALED}:
            record.remove_files()
            record.forget()

    def _register(self, state: str, facts: dict[str, Any]) -> None:
        write_document(
            Registry(self.location).path(self.id),
            {
                "format": _FORMAT,
                "id": self.id,
                "table": str(self.location),
                "state": state,
                "run_id": self.run_id,
                "base_version": self.base_version,
                "replaces": self.replaces,
                "created_at": self._created_at,
                **facts,
            },
            durable=False,
        )


class Registered:
    """What is on record of one candidate."""

    def __init__(self, location: TableLocation, path: Place, content: dict[str, Any]) -> None:
        self._location = location
        self._path = path
        self._content = content

    @property
    def id(self) -> str:
        """Id of the candidate."""
        return str(self._content["id"])

    @property
    def state(self) -> str:
        """``writing``, ``sealed``, ``published`` or ``removed``."""
        return str(self._content["state"])

    @property
    def verdict_path(self) -> Place:
        """Where the verdict on it lies, if there is one."""
        return self._path.with_suffix(".verdict.json")

    def names(self) -> tuple[str, ...]:
        """File names, all of them plain names as :meth:`Draft.new_file` gives them.

        Raises:
            StoreError: the record names anything else.
        """
        names = tuple(str(file["path"]) for file in self._content["files"])
        for name in names:
            if not FILE_NAME.fullmatch(name):
                raise StoreError(
                    f"{self._path} is damaged: {name!r} is not a candidate's file; remove the record"
                )
        return names

    def age(self) -> float:
        """Seconds since the record last changed."""
        return age(self._path)

    def candidate(self) -> Candidate:
        """The sealed candidate.

        Raises:
            UsageError: it was never sealed.
        """
        content = self._content
        if "hash" not in content:
            raise UsageError(f"candidate {self.id} of {self._location} was never finished")
        return Candidate(
            id=self.id,
            location=self._location,
            base_version=content["base_version"],
            run_id=content["run_id"],
            files=tuple(CandidateFile(**file) for file in content["files"]),
            rows=content["rows"],
            created_at=content["created_at"],
            hash=content["hash"],
            columns=tuple(Column(**column) for column in content["columns"]),
            replaces=None if content.get("replaces") is None else tuple(content["replaces"]),
        )

    def file(self, name: str) -> CandidateFile | None:
        """What is on record of one of its files; ``None`` where it was never sealed."""
        found = (CandidateFile(**file) for file in self._content["files"] if len(file) > 1)
        return next((file for file in found if file.path == name), None)

    def mark(self, state: str, **facts: Any) -> None:
        """Put a new state on record."""
        self._content = {**self._content, "state": state, **facts}
        write_document(self._path, self._content, durable=False)

    def remove_files(self, keep: frozenset[str] = frozenset()) -> list[str]:
        """Remove the candidate's files, except those in ``keep``; returns the names that were there."""
        removed = []
        # Of a storage in a bucket: here, where they were written, and there, where they were to be published.
        folders = {self._location.directory, self._location.place}
        for name in self.names():
            there = [folder / name for folder in folders if name not in keep and (folder / name).exists()]
            for path in there:
                path.unlink()
            if there:
                removed.append(name)
        return removed

    def forget(self) -> None:
        """Remove the record and the verdict on it."""
        self.verdict_path.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)


class Registry:
    """All candidates of one table that are on record."""

    def __init__(self, location: TableLocation) -> None:
        self._location = location
        self._directory = location.candidates_directory

    def path(self, candidate_id: str) -> Place:
        """Where the record of a candidate lies."""
        if not _CANDIDATE_ID.fullmatch(candidate_id):
            raise UsageError(f"{candidate_id!r} is not the id of a candidate")
        return self._directory / f"{candidate_id}.json"

    def find(self, candidate_id: str) -> Registered | None:
        """The record of one candidate, or ``None``."""
        path = self.path(candidate_id)
        content = read_document(path)
        return None if content is None else Registered(self._location, path, content)

    def all(self) -> Iterable[Registered]:
        """Every record, in no particular order."""
        for path in matching(self._directory, "*.json"):
            if _CANDIDATE_ID.fullmatch(path.stem):
                copy = self._location.candidates_copies / path.name
                content = read_lasting(path, copy, lambda found: found["state"] in {PUBLISHED, REMOVED})
                if content is not None:
                    yield Registered(self._location, path, content)

    def temporaries(self) -> list[Path]:
        """Documents that a killed writer began and did not finish; a bucket has none."""
        return sorted(self._directory.glob(".*.tmp")) if isinstance(self._directory, Path) else []


def examine(
    location: TableLocation, names: Sequence[str]
) -> tuple[tuple[CandidateFile, ...], tuple[Column, ...]]:
    """Sizes, checksums, rows and columns of files, read from the bytes that are there now.

    Raises:
        PublicationRefusedError: the files differ in their columns, or a column is not fit for every reader.
        StoreError: there is no file, or one is missing or no Parquet file.
    """
    if not names:
        raise StoreError(
            f"the candidate of {location} has no files; write at least one, without rows if need be"
        )
    with ThreadPoolExecutor(max_workers=min(len(names), os.cpu_count() or 1)) as pool:
        digests = list(pool.map(lambda name: _digest(location.directory / name), names))
    counts, columns = read_footers(location, names)
    return tuple(
        CandidateFile(path=name, size=size, sha256=checksum, rows=rows)
        for name, (size, checksum), rows in zip(names, digests, counts, strict=True)
    ), columns


def read_footers(location: TableLocation, names: Sequence[str]) -> tuple[list[int], tuple[Column, ...]]:
    """Rows of each file, and the columns that all of them have.

    Raises:
        PublicationRefusedError: the files differ in their columns, or a column is not fit for every reader.
        StoreError: a file is missing or is no Parquet file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    from dp_dagster.storage.types import columns_of

    counts: list[int] = []
    merged: tuple[Column, ...] | None = None
    for name in names:
        try:
            with parquet.ParquetFile(location.directory / name) as file:
                counts.append(file.metadata.num_rows)
                columns = columns_of(file.schema_arrow)
        except FileNotFoundError:
            raise StoreError(f"file {name} of {location} is gone; run the transform again") from None
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"file {name} of {location} is not a readable Parquet file: {error}") from error
        merged = columns if merged is None else _merge(location, merged, columns)
    return counts, merged or ()


def _merge(
    location: TableLocation, left: tuple[Column, ...], right: tuple[Column, ...]
) -> tuple[Column, ...]:
    if [(column.name, column.type) for column in left] != [(column.name, column.type) for column in right]:
        differing = sorted({f"{c.name} {c.type}" for c in left} ^ {f"{c.name} {c.type}" for c in right})
        raise PublicationRefusedError(
            f"files of one candidate of {location} differ in their columns ({', '.join(differing) or 'order'}); "
            "write all of them with the same columns"
        )
    return tuple(
        Column(name=a.name, type=a.type, nullable=a.nullable or b.nullable)
        for a, b in zip(left, right, strict=True)
    )


def hash_of(files: Iterable[CandidateFile]) -> str:
    """Hash of a set of files by their content alone."""
    digest = hashlib.sha256()
    for size, checksum in sorted((file.size, file.sha256) for file in files):
        digest.update(f"{size}:{checksum}\n".encode())
    return digest.hexdigest()


def _digest(path: Path) -> tuple[int, str]:
    try:
        with path.open("rb") as stream:
            checksum = hashlib.file_digest(stream, "sha256").hexdigest()
            return os.fstat(stream.fileno()).st_size, checksum
    except FileNotFoundError:
        raise StoreError(f"file {path.name} in {path.parent} is gone; run the transform again") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
