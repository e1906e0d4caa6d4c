"""The file of a row store: parts made of Arrow's record batches, each with its checksum, and a directory at the end.

It is written once from the beginning to the end, and read where it lies: mapped into memory, which all workers share.
A batch is checked when it is first read, so that what is damaged is noticed and never answered with.
"""

from __future__ import annotations

import json
import mmap
import zlib
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from dp_dagster.rows.columns import StoredColumn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BATCH_ROWS = 8192
_MAGIC = b"dp_dagster rows\n"
_ALIGNED = 64


class DamagedError(Exception):
    """The file is not as it was written. Never leaves the package."""


class KeyOrderError(Exception):
    """A key that is not there, is there twice, or is in no order. Never leaves the package."""


class RowFileWriter:
    """Writes the parts of a file, one after the other.

    Args:
        file: Open for writing, empty.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._parts: dict[str, Any] = {}
        self._at = 0
        self._write(_MAGIC)

    def part(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], key: list[str]) -> int:
        """Write a part whose rows come in the order of a key; how many they are."""
        frames: list[tuple[int, int, int, int]] = []
        firsts: list[pa.RecordBatch] = []
        rows = 0
        for given in batches:
            for first in range(0, given.num_rows, BATCH_ROWS):
                batch = given.slice(first, BATCH_ROWS)
                frames.append((*self._frame(batch.serialize()), batch.num_rows))
                # A copy: a slice would hold the whole batch.
                firsts.append(batch.select(key).take([0]))
                rows += batch.num_rows
        held = pa.schema([schema.field(one) for one in key])
        beginnings = pa.Table.from_batches(firsts, held).combine_chunks().to_batches()
        self._parts[name] = {
            "schema": schema.serialize().to_pybytes().hex(),
            "key": key,
            "frames": frames,
            "firsts": self._frame(beginnings[0].serialize()) if beginnings else None,
        }
        return rows

    def written(self, name: str) -> Part:
        """A part that was written, to be read."""
        self._file.flush()
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return Part.of(pa.py_buffer(mapped), self._parts[name])

    def close(self) -> None:
        """Write the directory, without which there is no file."""
        directory = json.dumps(self._parts).encode()
        self._write(directory)
        self._write(
            len(directory).to_bytes(8, "little") + zlib.crc32(directory).to_bytes(8, "little") + _MAGIC
        )

    def _frame(self, data: pa.Buffer) -> tuple[int, int, int]:
        self._write(bytes(-self._at % _ALIGNED))
        place = self._at
        self._write(data)
        return place, len(data), zlib.crc32(data)

    def _write(self, data: Any) -> None:
        self._file.write(data)
        self._at += len(data)


def read_row_file(data: pa.Buffer) -> dict[str, Part]:
    """The parts of a file, by name.

    Raises:
        DamagedError: it is no such file, or not all of it.
    """
    end = len(data) - 16 - len(_MAGIC)
    if end < len(_MAGIC) or data[end + 16 :].to_pybytes() != _MAGIC:
        raise DamagedError("it does not end as a row store does")
    tail = data[end:].to_pybytes()
    size = int.from_bytes(tail[:8], "little")
    directory = data[max(end - size, 0) : end].to_pybytes()
    if zlib.crc32(directory) != int.from_bytes(tail[8:16], "little"):
        raise DamagedError("its directory is not as it was written")
    return {name: Part.of(data, about) for name, about in json.loads(directory).items()}


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows that lie together.

    Attributes:
        start: The number of the first one.
        data: All of their columns.
        columns: Those that were asked for before.
    """

    start: int
    data: pa.RecordBatch
    columns: dict[str, StoredColumn]

    def column(self, name: str) -> StoredColumn:
        """A column, to be read value by value."""
        found = self.columns.get(name)
        if found is None:
            found = self.columns[name] = StoredColumn.of(self.data.column(name))
        return found


class Part:
    """Rows in the order of a key, numbered from 0.

    Attributes:
        rows: How many there are.
        key: Names of the key's columns.
        schema: Of all columns.
    """

    def __init__(
        self, data: pa.Buffer, schema: pa.Schema, key: tuple[str, ...], frames: list[list[int]]
    ) -> None:
        self.key = key
        self._data = data
        self.schema = schema
        self._frames = frames
        self._batches: list[Batch | None] = [None] * len(frames)
        self._starts: list[int] = []
        self.rows = 0
        for frame in frames:
            self._starts.append(self.rows)
            self.rows += frame[3]
        self._firsts: list[tuple[Any, ...]] = []

    @classmethod
    def of(cls, data: pa.Buffer, about: Any) -> Part:
        """As the directory describes it."""
        schema = pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(about["schema"])))
        part = cls(data, schema, tuple(about["key"]), about["frames"])
        if about["firsts"] is not None:
            held = pa.schema([schema.field(one) for one in part.key])
            found = _read(data, about["firsts"], held)
            columns = [StoredColumn.of(column).values(range(found.num_rows)) for column in found.columns]
            part._firsts = list(zip(*columns, strict=True))
        return part

    def batch_of(self, number: int) -> Batch:
        """The batch that holds a row."""
        return self._batch(bisect_right(self._starts, number) - 1)

    def batches(self, first: int, end: int, *, backward: bool = False) -> Iterator[tuple[Batch, int, int]]:
        """The batches that hold some rows, each with the places of those rows in it."""
        while first < end:
            batch = self.batch_of(end - 1 if backward else first)
            last = batch.start + batch.data.num_rows
            begin, stop = max(first, batch.start), min(end, last)
            yield batch, begin - batch.start, stop - batch.start
            if backward:
                end = begin
            else:
                first = stop

    def bound(self, key: tuple[Any, ...], *, after: bool = False) -> int:
        """How many rows come before a key, or before a beginning of one; with ``after`` also those that have it."""
        width = len(key)
        search = bisect_right if after else bisect_left
        if width == len(self.key):
            number = search(self._firsts, key) - 1
        else:
            number = search(self._firsts, key, key=lambda first: first[:width]) - 1
        if number < 0:
            return 0
        batch = self._batch(number)
        columns = [batch.column(name) for name in self.key[:width]]
        if width == 1:
            return batch.start + columns[0].search(key[0], after=after)
        places = range(batch.data.num_rows)
        found = search(places, key, key=lambda place: tuple(column.value(place) for column in columns))
        return batch.start + found

    def _batch(self, number: int) -> Batch:
        found = self._batches[number]
        if found is None:
            data = _read(self._data, self._frames[number], self.schema)
            found = self._batches[number] = Batch(self._starts[number], data, {})
        return found


def _read(data: pa.Buffer, frame: list[int], schema: pa.Schema) -> pa.RecordBatch:
    place, size, checksum = frame[:3]
    held = data.slice(place, size)
    if zlib.crc32(held) != checksum:
        raise DamagedError(f"{size} bytes at {place} are not as they were written")
    return pa.ipc.read_record_batch(held, schema)


def in_order(batches: Iterable[pa.RecordBatch], key: list[str]) -> Iterator[pa.RecordBatch]:
    """The same batches, where the rows come in the order of a key that each of them has, and has alone.

    Raises:
        KeyOrderError: they do not.
    """
    last: tuple[Any, ...] | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        columns = [batch.column(name) for name in key]
        for column in columns:
            if column.null_count or (pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py()):
                raise KeyOrderError("a row lacks its key")
        first = tuple(column[0].as_py() for column in columns)
        if (last is not None and not last < first) or not _rises(columns):
            raise KeyOrderError("the key is not unique, or the published rows are not in its order")
        last = tuple(column[-1].as_py() for column in columns)
        yield batch


def _rises(columns: list[pa.Array]) -> bool:
    """Whether each row comes behind the one before it."""
    rises = None
    for column in reversed(columns):
        before, behind = column[:-1], column[1:]
        less = pc.less(before, behind)
        rises = less if rises is None else pc.or_(less, pc.and_(pc.equal(before, behind), rises))
    return bool(pc.all(rises, min_count=0).as_py())
