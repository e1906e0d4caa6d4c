"""Where a file or folder of the store is: on a disk, or in a bucket."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from dp_dagster.storage.bucket import BucketPath, is_bucket
from dp_dagster.storage.bucket_client import delta_options

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

Place = Path | BucketPath
"""A file or folder. What both can do is used alike; the rest is below."""

# How Delta's library colours and indents its messages.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m|↳")
_USER = re.compile(r"(?<=//)[^/\s@]*@")


def place_of(address: str) -> Place:
    """The place that ``s3://bucket/key``, ``file:///folder`` or a path names.

    Raises:
        ValueError: it is no address of a bucket, though it begins like one.
    """
    if is_bucket(address):
        return BucketPath.of(address)
    if address.startswith("file://"):
        return Path(unquote(urlsplit(address).path))
    return Path(address)


def stamp(place: Place) -> Hashable | None:
    """Something that is another whenever the file is replaced; ``None`` where there is no file."""
    if isinstance(place, BucketPath):
        facts = place.facts()
        return None if facts is None else (facts.tag, facts.modified, facts.size)
    try:
        found = place.stat()
    except OSError:
        return None
    # It is replaced by rename: a new file each time.
    return found.st_ino, found.st_mtime_ns, found.st_size


def age(place: Place) -> float:
    """Seconds since the file was last written, by the clock of the machine that keeps it.

    Raises:
        FileNotFoundError: there is no file.
    """
    if isinstance(place, BucketPath):
        facts = place.facts()
        if facts is None:
            raise FileNotFoundError(f"{place} does not exist")
        return (facts.now - facts.modified).total_seconds()
    return time.time() - place.stat().st_mtime


def names_in(folder: Place) -> set[str]:
    """Names of the files right in a folder; none where there is no folder."""
    if isinstance(folder, BucketPath):
        return {name for name, _ in folder.children()}
    try:
        return {entry.name for entry in folder.iterdir() if entry.is_file()}
    except FileNotFoundError:
        return set()


def matching(folder: Place, pattern: str) -> list[Place]:
    """Files right in a folder whose names match, sorted."""
    return sorted(folder.glob(pattern), key=str)


def missing_in(folder: Place, names: Collection[str]) -> set[str]:
    """Which of these files are not in a folder."""
    if isinstance(folder, BucketPath):
        return set(names) - names_in(folder)
    return {name for name in names if not (folder / name).is_file()}


def storage_options(place: Place) -> dict[str, str] | None:
    """What Delta's library needs to know beside the address."""
    return delta_options() if isinstance(place, BucketPath) else None


def what_happened(place: Place, error: Exception) -> str:
    """An error of Delta's library in one line.

    Raises:
        StoreError: the bucket itself cannot be used, which says it better.
    """
    if isinstance(place, BucketPath):
        place.ping()
    return _USER.sub("", " ".join(_COLOURS.sub(" ", str(error)).split()))
