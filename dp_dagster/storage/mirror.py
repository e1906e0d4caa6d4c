"""The local side of a storage root that is a bucket: files are written, audited and read here.

What is published never changes, so a copy of it is good for ever: the mirror is a cache of immutable files by their
place in the bucket, made whole by rename, shared by all processes of the machine. It also holds the candidates that
are being written, and nothing that cannot be made again.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dp_dagster.errors import SettingsError, StoreError
from dp_dagster.storage.bucket import BucketPath, is_bucket

if TYPE_CHECKING:
    from collections.abc import Sequence

# Beside the published files: none of a bucket's folders begins so.
HOME = ".home"
_THREADS = 8


def root_place(root: str) -> BucketPath:
    """The bucket's folder that is the storage root.

    Raises:
        SettingsError: it is no address of a bucket.
    """
    try:
        return BucketPath.of(root)
    except ValueError as error:
        raise SettingsError(f"storage {error}; give s3://bucket/folder") from None


def local_root(root: str) -> Path:
    """The folder below which files of a storage root are read and written on this machine.

    Raises:
        SettingsError: the root is a folder that Delta tables cannot be in.
    """
    if is_bucket(root):
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        # The endpoint belongs to the address: two servers may have a bucket of one name.
        server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        digest = hashlib.sha256(f"{server}\n{root_place(root)}".encode()).hexdigest()[:16]
        return caches.absolute() / "dp_dagster" / f"{root_place(root).bucket}-{digest}"
    folder = Path(root).absolute()
    if "%" in str(folder):
        # deltalake writes to such a folder and then looks for it unescaped.
        raise SettingsError(f"storage {folder} has a percent sign in its path; choose a folder without one")
    return folder


def place_in(root: str, path: Path) -> BucketPath:
    """Where a file of the mirror is in the bucket."""
    return root_place(root) / path.relative_to(local_root(root)).as_posix()


def ensure(root: str, paths: Sequence[str]) -> None:
    """Have these published files here; in a local storage they are.

    Raises:
        StoreError: the bucket cannot be read, or no longer has one of them.
    """
    if not is_bucket(root):
        return
    missing = []
    for path in map(Path, paths):
        try:
            # Used just now: the last to go when room is needed.
            os.utime(path)
        except FileNotFoundError:
            missing.append(path)
    if not missing:
        return

    from concurrent.futures import ThreadPoolExecutor

    def fetch(path: Path) -> bool:
        return place_in(root, path).download(path)

    with ThreadPoolExecutor(max_workers=min(_THREADS, len(missing))) as pool:
        for path, found in zip(missing, pool.map(fetch, missing), strict=True):
            if not found:
                raise StoreError(f"{place_in(root, path)} is gone; it was vacuumed, or removed by hand")


def has(root: str, path: Path) -> bool:
    """Whether a file that never changes is in the storage; if so it is here afterwards."""
    if not is_bucket(root):
        return path.exists()
    return path.exists() or place_in(root, path).download(path)


def publish_file(root: str, path: Path) -> None:
    """Put a file of the mirror into the bucket, under the same name; in a local storage it is there.

    Raises:
        StoreError: the bucket refuses it.
    """
    if is_bucket(root):
        place_in(root, path).upload(path)


def make_room(root: str, room: int, grace: float) -> int:
    """Remove the files that were not used for longest until the mirror fits; returns the bytes removed.

    Args:
        root: Storage root; nothing is done to a local one.
        room: Bytes that may stay.
        grace: Seconds for which a file stays that was used: a reader may be about to open it.
    """
    if not is_bucket(root):
        return 0
    found: list[tuple[float, int, Path]] = []
    for path in local_root(root).rglob("*.parquet"):
        try:
            status = path.stat()
        except FileNotFoundError:  # another process makes room as well
            continue
        found.append((status.st_mtime, status.st_size, path))
    total, removed, now = sum(size for _, size, _ in found), 0, time.time()
    for used, size, path in sorted(found, key=lambda one: one[0]):
        if total - removed <= room or now - used < grace:
            break
        path.unlink(missing_ok=True)
        removed += size
    return removed
