"""Asking a row store: a file that never changes, mapped into memory and shared by all workers.

Rows are numbered in the order of the key. What is asked is turned into a range of numbers, or into the rows of an
index, first; then the rest of the condition is asked of them, some thousand rows at once.
"""

from __future__ import annotations

import math
import mmap
import os
import time
import weakref
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from dp_dagster.errors import StoreError, UsageError
from dp_dagster.rows.layout import INDEX, INDEXED_ROW, ROWS, TEXT
from dp_dagster.rows.row_file import BATCH_ROWS, DamagedError, read_row_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from dp_dagster.rows.matching import Matches
    from dp_dagster.rows.row_file import Batch, Part

_FIRST_ROWS = 512
_UNTIMED_ROWS = 4 * BATCH_ROWS
CHECK_SECONDS = 0.1
"""How often it is looked whether somebody has written to an open file, which nobody should."""
_FEWER = 4
"""By how much the rows that are looked at grow from one look to the next."""


class TooSlowError(Exception):
    """The rows were not found within the time, or among as many rows as may be looked at. Never leaves the package."""


@dataclass(frozen=True)
class Span:
    """Rows that lie together: by their numbers, or by their places in an index.

    Attributes:
        first: The first one.
        end: The one behind the last one.
        index: The number of the index; ``None`` for the rows themselves.
    """

    first: int
    end: int
    index: int | None = None


class StoreFile:
    """One open row store. Any thread may ask.

    Args:
        path: Where it lies.

    Raises:
        StoreError: it is no row store, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise _damaged(path, error) from error
        self._close = weakref.finalize(self, os.close, self._descriptor)
        self._made = self._state()
        self._trusted_until = 0.0
        self._faults = _Faults(path)
        with self._faults:
            self._map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ)
            parts = read_row_file(pa.py_buffer(self._map))
            self._rows: Part = parts[ROWS]
            self._indexes: list[Part] = [parts[f"{INDEX}{number}"] for number in range(len(parts) - 1)]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self._rows.rows

    # -- where rows are ------------------------------------------------------------------------------------

    def find(self, key: tuple[Any, ...]) -> int | None:
        """The number of the row with that key.

        Raises:
            StoreError: the file is damaged.
        """
        with self._faults:
            self._check()
            number = self._rows.bound(key)
            if number == self._rows.rows:
                return None
            batch = self._rows.batch_of(number)
            place = number - batch.start
            found = tuple([batch.column(name).value(place) for name in self._rows.key])
            return number if found == key else None

    def bound(self, key: tuple[Any, ...], *, after: bool = False, index: int | None = None) -> int:
        """How many rows come before a key, or before a beginning of one; with ``after`` also those that have it.

        Raises:
            UsageError: a value cannot be compared with the key's.
            StoreError: the file is damaged.
        """
        with self._faults:
            return (self._rows if index is None else self._indexes[index]).bound(key, after=after)

    # -- which rows are meant ------------------------------------------------------------------------------

    def select(
        self,
        span: Span,
        matches: tuple[Matches, ...],
        limit: int | None,
        seconds: float,
        most: int | None = None,
        *,
        backward: bool = False,
    ) -> list[int]:
        """The numbers of rows that are meant.

        Args:
            span: Where to look.
            matches: What tells them, one after the other: each is asked only of rows that those before it let through.
            limit: At most that many.
            seconds: How long it may take.
            most: At how many rows it may look.
            backward: Begin at the end.

        Raises:
            TooSlowError: it would take longer.
            StoreError: the file is damaged.
        """
        with self._faults:
            self._check()
            first, end = span.first, span.end
            if not matches:
                if limit is not None and end - first > limit:
                    first, end = (end - limit, end) if backward else (first, first + limit)
                found = (
                    list(range(first, end)) if span.index is None else self._indexed(span.index, first, end)
                )
                return found[::-1] if backward else found
            look = self._look(span.index, matches)
            return _gather(look, first, end, limit, _Watch(seconds, most), backward=backward)

    def _look(self, index: int | None, matches: tuple[Matches, ...]) -> Callable[[int, int], list[int]]:
        if index is None:
            return partial(self._matching, matches)
        return lambda first, end: self._matching_of(matches, self._indexed(index, first, end))

    def _matching(self, matches: tuple[Matches, ...], first: int, end: int) -> list[int]:
        found: list[int] = []
        for batch, begin, stop in self._rows.batches(first, end):
            start = batch.start
            found += [start + place for place in _meant(batch, begin, stop, matches)]
        return found

    def _matching_of(self, matches: tuple[Matches, ...], numbers: list[int]) -> list[int]:
        """Those of some rows that are meant."""
        found: list[int] = []
        for batch, places in self._by_batch(numbers):
            start = batch.start
            found += [start + place for place in _meant_of(batch, places, matches)]
        return found

    def _indexed(self, index: int, first: int, end: int) -> list[int]:
        found: list[int] = []
        for batch, begin, stop in self._indexes[index].batches(first, end):
            found += batch.column(INDEXED_ROW).values(range(begin, stop))
        return found

    # -- what is in them -----------------------------------------------------------------------------------

    def values(self, numbers: Sequence[int], names: Sequence[str]) -> list[tuple[Any, ...]]:
        """Stored values of some rows.

        Raises:
            StoreError: the file is damaged.
        """
        with self._faults:
            if not names:
                return [()] * len(numbers)
            found: list[tuple[Any, ...]] = []
            for batch, places in self._by_batch(numbers):
                found += zip(*[batch.column(name).values(places) for name in names], strict=True)
            return found

    def texts(self, numbers: Sequence[int]) -> list[bytes]:
        """Some rows as JSON objects.

        Raises:
            StoreError: the file is damaged.
        """
        with self._faults:
            found: list[bytes] = []
            for batch, places in self._by_batch(numbers):
                found += [text[1:] for text in batch.column(TEXT).values(places)]
            return found

    def joined_texts(self, numbers: Sequence[int]) -> bytes:
        """Some rows as JSON objects, with commas between them.

        Raises:
            StoreError: the file is damaged.
        """
        with self._faults:
            found = []
            for batch, places in self._by_batch(numbers):
                # Each text is kept with a comma in front, so that where rows lie together they are one.
                texts = batch.data.column(TEXT).take(pa.array(places, pa.int32()))
                _, ends, data = texts.buffers()
                if data is not None:
                    found.append(memoryview(data)[: memoryview(ends).cast("i")[len(places)]])
            return bytes(found[0][1:]) if len(found) == 1 else b"".join(found)[1:]

    def batches(
        self, span: Span, matches: tuple[Matches, ...], names: Sequence[str]
    ) -> Iterator[list[pa.Array]]:
        """Columns of the rows that are meant, some thousand rows at once.

        Raises:
            StoreError: the file is damaged.
        """
        with self._faults:
            self._check()
            if span.index is not None:
                yield from self._gathered(self.select(span, matches, None, math.inf), names)
                return
            for batch, begin, stop in self._rows.batches(span.first, span.end):
                data = batch.data
                if matches:
                    wanted = pa.array(_meant(batch, begin, stop, matches), pa.int32())
                    yield [data.column(name).take(wanted) for name in names]
                else:
                    yield [data.column(name).slice(begin, stop - begin) for name in names]

    def _gathered(self, numbers: list[int], names: Sequence[str]) -> Iterator[list[pa.Array]]:
        for batch, places in self._by_batch(numbers):
            wanted = pa.array(places, pa.int32())
            yield [batch.data.column(name).take(wanted) for name in names]

    def keys(self, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
        """The keys of some rows.

        Raises:
            StoreError: the file is damaged.
        """
        return self.values(numbers, self._rows.key)

    def _by_batch(self, numbers: Sequence[int]) -> Iterator[tuple[Batch, list[int]]]:
        """Rows with their places, in the order given; those of one batch that stand together come together."""
        at, count = 0, len(numbers)
        while at < count:
            batch = self._rows.batch_of(numbers[at])
            start = batch.start
            end = start + batch.data.num_rows
            begun = at
            while at < count and start <= numbers[at] < end:
                at += 1
            yield batch, [number - start for number in numbers[begun:at]]

    def close(self) -> None:
        """Close the file. Only when nobody asks any more."""
        self._close()

    # -- inside --------------------------------------------------------------------------------------------

    def _state(self) -> tuple[int, int]:
        status = os.fstat(self._descriptor)
        return status.st_mtime_ns, status.st_size

    def _check(self) -> None:
        # Asking the system lets another thread go on, which costs as much as finding a row: not for each of them.
        now = time.monotonic()
        if now < self._trusted_until:
            return
        if self._state() != self._made:
            # What was checked once may be something else by now.
            raise DamagedError("it was changed")
        self._trusted_until = now + CHECK_SECONDS


class _Faults:
    """What goes wrong with a file, as our errors. Entered for each row that is asked for, so there is little to it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            return
        if isinstance(error, TypeError):
            raise UsageError(f"a value of the query is of no type that can be compared: {error}") from error
        if isinstance(error, DamagedError | OSError | ValueError | LookupError | pa.ArrowException):
            raise _damaged(self._path, error) from error


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(f"the row store {path} is damaged: {error}; remove it, it is built again")


class _Watch:
    """Ends a search that goes on for too long."""

    def __init__(self, seconds: float, most: int | None) -> None:
        self._seconds = seconds
        self._deadline: float | None = None
        self._most = most
        self._looked = 0

    def look(self, rows: int) -> None:
        """So many rows are looked at next."""
        self._looked += rows
        if self._most is not None and self._looked > self._most:
            raise TooSlowError
        if self._looked > _UNTIMED_ROWS:
            # The thread's own time: what others took of the processor meanwhile says nothing of the search. Most
            # searches end before their time is asked for, which costs as much as some rows.
            now = time.thread_time()
            if self._deadline is None:
                self._deadline = now + self._seconds
            if now > self._deadline:
                raise TooSlowError


def _gather(
    look: Callable[[int, int], list[int]],
    first: int,
    end: int,
    limit: int | None,
    watch: _Watch,
    *,
    backward: bool,
) -> list[int]:
    """Look at few rows first, and at more and more of them until there are enough."""
    found: list[int] = []
    size = BATCH_ROWS if limit is None else max(_FIRST_ROWS, 2 * limit)
    while first < end and (limit is None or len(found) < limit):
        begin, stop = (max(first, end - size), end) if backward else (first, min(end, first + size))
        watch.look(stop - begin)
        some = look(begin, stop)
        if backward:
            some.reverse()
            end = begin
        else:
            first = stop
        found += some
        size = min(size * _FEWER, BATCH_ROWS)
    return found if limit is None else found[:limit]


def _meant(batch: Batch, begin: int, stop: int, matches: tuple[Matches, ...]) -> list[int]:
    """The places of those rows of a batch that are meant."""
    data = batch.data
    places = _places(matches[0](lambda name: data.column(name).slice(begin, stop - begin)), stop - begin)
    if begin:
        places = [begin + place for place in places]
    return _meant_of(batch, places, matches[1:]) if len(matches) > 1 else places


def _meant_of(batch: Batch, places: list[int], matches: tuple[Matches, ...]) -> list[int]:
    """Those of some rows of a batch that are meant."""
    data = batch.data
    for one in matches:
        if not places:
            break
        wanted = pa.array(places, pa.int32())
        chosen = one(lambda name: data.column(name).take(wanted))  # noqa: B023 called now
        places = [places[place] for place in _places(chosen, len(places))]
    return places


def _places(chosen: pa.Array | pa.Scalar, count: int) -> list[int]:
    """Where it is true, and neither false nor unknown."""
    if isinstance(chosen, pa.Scalar):
        return list(range(count)) if chosen.as_py() else []
    places: list[int] = pc.indices_nonzero(chosen).to_numpy().tolist()
    return places
