"""Files that are read while they grow, in memory at first."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from dp_dagster.rows import growing
from dp_dagster.rows.growing import GrowingFile, Place, Room

if TYPE_CHECKING:
    from pathlib import Path


def read(file: GrowingFile, place: Place) -> bytes:
    async def gather() -> bytes:
        return b"".join([bytes(chunk) async for chunk in file.read(place)])

    return asyncio.run(gather())


@pytest.mark.parametrize(("room", "largest"), [(100, 100), (100, 10), (10, 100), (0, 100)])
def test_readers_follow_from_memory_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, largest: int
) -> None:
    """Whether it is the file that becomes too large, or all of them together."""
    monkeypatch.setattr(growing, "_LARGEST_IN_MEMORY", largest)
    shared, path = Room(room), tmp_path / "file"
    file = GrowingFile(path, shared)
    early, late, whole = Place(), Place(), b""
    for number in range(5):
        piece = bytes([number]) * 4
        whole += piece
        file.append(memoryview(piece))
        assert read(file, early) == piece
        assert path.exists() == (len(whole) > min(room, largest))
    assert read(file, late) == whole
    assert read(file, late) == b""
    file.to_disk()
    assert path.read_bytes() == whole
    descriptor = file.opened()
    file.close()
    assert os.pread(descriptor, 100, 0) == whole
    os.close(descriptor)
    assert shared.take(room)
    assert not shared.take(1)
