"""Small JSON documents beside the tables: written whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import ConflictError, StoreError
from dp_dagster.storage.bucket import BucketPath

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dp_dagster.storage.places import Place

TEMPORARY_SUFFIX = ".tmp"


def write_document(path: Place, content: dict[str, Any], *, durable: bool = True) -> None:
    """Replace ``path`` by ``content`` as JSON, in one step: a reader sees the old document or the new one.

    Args:
        path: Where it lies; folders are made.
        content: Anything that JSON can say.
        durable: Wait for the disk, so that it survives a power cut and not only the end of the process. A bucket
            answers only then.

    Raises:
        StoreError: the folder or bucket cannot be written.
    """
    if isinstance(path, BucketPath):
        path.put(json.dumps(content, indent=1, ensure_ascii=False).encode())
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=1, ensure_ascii=False)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error


def replace_document(path: Place, content: dict[str, Any], before: str | None) -> None:
    """:func:`write_document` where somebody else may write as well.

    Args:
        path: Where it lies.
        content: Anything that JSON can say.
        before: What :func:`tag_of` said when the old document was read. On a disk a lock keeps others away.

    Raises:
        ConflictError: somebody else has replaced it since.
        StoreError: it cannot be written.
    """
    if not isinstance(path, BucketPath):
        write_document(path, content)
    elif path.put_if(json.dumps(content, indent=1, ensure_ascii=False).encode(), before) is None:
        raise ConflictError(f"{path} was replaced by somebody else meanwhile; run again")


def tag_of(path: Place) -> str | None:
    """What changes with the document, for :func:`replace_document`; ``None`` where there is none, or on a disk."""
    facts = path.facts() if isinstance(path, BucketPath) else None
    return None if facts is None else facts.tag


def read_lasting(path: Place, copy: Path, lasts: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """:func:`read_document`, asking a bucket only once for a document that does not change any more.

    Args:
        path: Where it lies.
        copy: Where it is kept on this machine.
        lasts: Whether this is how it stays.
    """
    if not isinstance(path, BucketPath):
        return read_document(path)
    content = read_document(copy)
    if content is None:
        content = read_document(path)
        if content is not None and lasts(content):
            write_document(copy, content, durable=False)
    return content


def read_document(path: Place) -> dict[str, Any] | None:
    """The document at ``path``; ``None`` where there is none.

    Raises:
        StoreError: it cannot be read or is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise StoreError(f"{path} is damaged: {error}; restore it or remove it") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path} is damaged: not a JSON object; restore it or remove it")
    return content
