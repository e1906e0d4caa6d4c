"""Files that are read while they grow: begun in memory, so that who reads along need not wait for a disk."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_CHUNK_BYTES = 512 * 1024
_LARGEST_IN_MEMORY = 16 * 1024 * 1024


class Room:
    """Bytes of memory that growing files may take together. Any thread may ask."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._guard = threading.Lock()

    def take(self, size: int) -> bool:
        """Take some, unless there are not as many."""
        with self._guard:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give(self, size: int) -> None:
        """Give some back."""
        with self._guard:
            self._left += size


@dataclass
class Place:
    """Where a reader stands: how many bytes it has had, and how many pieces of those that are in memory."""

    offset: int = 0
    piece: int = 0


class GrowingFile:
    """One thread appends, readers follow in an event loop. What becomes large goes to disk.

    Attributes:
        size: Its bytes so far.
    """

    def __init__(self, path: Path, room: Room) -> None:
        self.size = 0
        self._path = path
        self._room = room
        self._taken = 0
        self._descriptor = -1
        self._pieces: list[memoryview] | None = []

    def append(self, data: Any) -> None:
        """Append bytes that nobody changes any more.

        Raises:
            OSError: the disk is full.
        """
        view = memoryview(data).cast("B")
        size = len(view)
        if self._pieces is not None:
            if self.size + size <= _LARGEST_IN_MEMORY and self._room.take(size):
                self._taken += size
                self._pieces.append(view)
                self.size += size
                return
            self.to_disk()
            # Only now: until it is all on disk, readers go on in memory.
            self._pieces = None
            self._give_back()
        self._write(view, self.size)
        self.size += size

    def to_disk(self) -> None:
        """Have all of it on disk.

        Raises:
            OSError: the disk is full.
        """
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            offset = 0
            for piece in self._pieces or ():
                self._write(piece, offset)
                offset += len(piece)

    def _write(self, view: memoryview, offset: int) -> None:
        while view:
            done = os.pwrite(self._descriptor, view, offset)
            view = view[done:]
            offset += done

    async def read(self, place: Place) -> AsyncIterator[Any]:
        """What is there behind a place, which moves on."""
        size, pieces = self.size, self._pieces
        if pieces is None:
            async for chunk in read_file(self._descriptor, place.offset, size):
                place.offset += len(chunk)
                yield chunk
            return
        while place.piece < len(pieces):
            piece = pieces[place.piece]
            place.piece += 1
            place.offset += len(piece)
            yield piece

    def opened(self) -> int:
        """A descriptor of the caller's own, of what is on disk."""
        return os.dup(self._descriptor)

    def close(self) -> None:
        """Nobody reads any more."""
        self._pieces = None
        self._give_back()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _give_back(self) -> None:
        self._room.give(self._taken)
        self._taken = 0


async def read_file(descriptor: int, offset: int, end: int) -> AsyncIterator[bytes]:
    """A part of a file. What the system has in memory is read at once, all else in a thread.

    Raises:
        StoreError: the file is shorter.
    """
    while offset < end:
        size = min(_CHUNK_BYTES, end - offset)
        chunk: Any = _from_memory(descriptor, size, offset)
        if chunk is None:
            chunk = await asyncio.to_thread(os.pread, descriptor, size, offset)
        if not chunk:
            raise StoreError("a file became shorter while it was read")
        offset += len(chunk)
        yield chunk


def _from_memory(descriptor: int, size: int, offset: int) -> bytearray | None:
    no_wait = getattr(os, "RWF_NOWAIT", None)
    if no_wait is None:
        return None
    buffer = bytearray(size)
    try:
        done = os.preadv(descriptor, [buffer], offset, no_wait)
    except OSError:
        # Not in memory, or a file system that cannot tell.
        return None
    del buffer[done:]
    # Nobody else has it, so it need not be copied into what cannot change.
    return buffer or None
