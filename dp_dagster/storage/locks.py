"""One writer at a time: file locks that the operating system drops when their process dies."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dp_dagster.errors import LockedError, StoreError
from dp_dagster.storage.bucket import is_bucket
from dp_dagster.storage.documents import read_document, write_document
from dp_dagster.storage.location import product_directory
from dp_dagster.storage.mirror import HOME, local_root, place_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def hold(lock_file: Path, what: str, holder: str, timeout: float, root: str = "") -> Iterator[None]:
    """Hold the lock at ``lock_file``. The same thread may take it again while it holds it.

    Args:
        lock_file: Lies on a file system with ``flock``; never removed.
        what: What is locked, for the error.
        holder: Who holds it, for the errors of others (a run id, say).
        timeout: Seconds to wait for somebody else.
        root: Storage root. Where it is a bucket, other machines are kept away by a lease beside the data.

    Raises:
        LockedError: somebody else held it all the time; names them.
        StoreError: the file system cannot lock.
    """
    # Heavy enough to matter for commands that only read.
    from filelock import FileLock, Timeout

    holder_file = lock_file.with_suffix(".holder")
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        # A singleton, so that all who lock this path in one thread share it. Without the soft fallback: a lock
        # made of a file's mere existence would outlive kill -9.
        lock = FileLock(lock_file, is_singleton=True, fallback_to_soft=False)
        lock.acquire(timeout=timeout, poll_interval=0.02)
    except Timeout:
        raise LockedError(
            f"{what} is locked by {_describe(holder_file)}; gave up after {timeout:g} s, try again later"
        ) from None
    except OSError as error:
        raise StoreError(f"{lock_file} cannot be locked: {error.strerror or error}") from error
    lease = None
    try:
        if lock.lock_counter == 1:
            if is_bucket(root):
                from dp_dagster.storage.lease import Lease

                lease = Lease(place_in(root, lock_file), _home(root))
                try:
                    lease.acquire(what, holder, timeout)
                except BaseException:
                    lease = None
                    raise
            write_document(
                holder_file,
                {
                    "holder": holder,
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "since": datetime.now(UTC).isoformat(timespec="seconds"),
                },
                durable=False,
            )
        yield
    finally:
        if lock.lock_counter == 1:
            holder_file.unlink(missing_ok=True)
            if lease is not None:
                lease.release()
        lock.release()


def product_lock(
    root: str, product: str, holder: str, timeout: float
) -> contextlib.AbstractContextManager[None]:
    """The lock under which a product's manifest and catalog change.

    Raises:
        LockedError: somebody else held it for ``timeout`` seconds.
    """
    directory = product_directory(root, product)
    return hold(directory / ".locks" / "manifest.lock", f"product {product}", holder, timeout, root)


def _home(root: str) -> str:
    """What names this machine's mirror of a bucket."""
    path = local_root(root) / HOME
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8")
    building = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    path.parent.mkdir(parents=True, exist_ok=True)
    building.write_text(uuid.uuid4().hex, encoding="utf-8")
    with contextlib.suppress(FileExistsError):
        os.link(building, path)  # the first one stays
    building.unlink()
    return path.read_text(encoding="utf-8")


def _describe(holder_file: Path) -> str:
    found = read_document(holder_file)
    if found is None:
        return "another process"
    return f"{found.get('holder')} (process {found.get('pid')} on {found.get('host')}, since {found.get('since')})"
