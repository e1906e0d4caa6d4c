"""Whether a bucket's server keeps the conditions of writes: all promises about a storage in a bucket rest on that.

A server that ignores ``If-None-Match`` and ``If-Match`` answers as if all were well, and the second of two writers wins
without a word. So each machine tries it once for each bucket, before the first write that depends on it.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import StoreError
from dp_dagster.storage.bucket_client import client, code_of, endpoint, import_botocore, speaking

if TYPE_CHECKING:
    from dp_dagster.storage.bucket import BucketPath

# Servers are replaced, and so is what stands before them.
_GOOD_FOR_SECONDS = 7 * 24 * 3600
_REFUSED = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
_UNKNOWN = frozenset({"501", "NotImplemented"})
_known: set[Path] = set()


def check_conditions(folder: BucketPath) -> None:
    """Return if the bucket's server keeps the conditions of writes; asked once a week on each machine.

    Args:
        folder: Where an object may be written to find out; it is removed again.

    Raises:
        StoreError: it does not, or it cannot be asked.
    """
    note = _note(folder.bucket)
    if note in _known:
        return
    try:
        is_known = time.time() - note.stat().st_mtime < _GOOD_FOR_SECONDS
    except FileNotFoundError:
        is_known = False
    if not is_known:
        _try(folder)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    _known.add(note)


def _note(bucket: str) -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(f"{endpoint()}\n{bucket}".encode()).hexdigest()[:16]
    return caches.absolute() / "dp_dagster" / "conditions" / digest


def _try(folder: BucketPath) -> None:
    tried = folder / f".conditions-{uuid.uuid4().hex}"
    with speaking(tried):
        try:
            first = _put(tried, b"first", IfNoneMatch="*")
            if first is None:
                raise StoreError(f"{tried} cannot be written: it is there already")
            ignored = [
                header
                for header, condition in (
                    ("If-None-Match", {"IfNoneMatch": "*"}),
                    ("If-Match", {"IfMatch": '"00000000000000000000000000000000"'}),
                )
                if _put(tried, b"second", **condition) is not None
            ]
        finally:
            client().delete_object(Bucket=tried.bucket, Key=tried.key)
    if ignored:
        raise _does_not(folder, f"ignores {' and '.join(ignored)}")


def _put(place: BucketPath, content: bytes, **condition: str) -> str | None:
    """The tag of what was written; ``None`` where the condition did not hold."""
    import_botocore()
    from botocore.exceptions import ClientError

    try:
        answer: dict[str, Any] = client().put_object(
            Bucket=place.bucket, Key=place.key, Body=content, **condition
        )
    except ClientError as error:
        code = code_of(error)
        if code in _REFUSED:
            return None
        if code in _UNKNOWN:
            raise _does_not(place.parent, f"does not know {' and '.join(condition)} ({code})") from error
        raise
    return str(answer["ETag"])


def _does_not(folder: BucketPath, why: str) -> StoreError:
    return StoreError(
        f"bucket {folder.bucket} cannot hold a storage: {endpoint()} {why} when something is written, so of two "
        "writers at once both would win; use a server that keeps the conditions of writes, as Amazon S3 does, or a "
        "folder"
    )
