"""Objects in a bucket: read whole, replaced whole, and by condition where two writers may meet.

Credentials come from the AWS chain alone (environment, profile, role of the machine), the endpoint from
``AWS_ENDPOINT_URL``; neither is ever part of an address. botocore is imported with the first request, so naming
a bucket costs nothing.
"""

from __future__ import annotations

import contextlib
import fnmatch
import io
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dp_dagster.errors import StoreError
from dp_dagster.storage.bucket_client import client, code_of, import_botocore, speaking
from dp_dagster.storage.conditions import check_conditions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

SCHEME = "s3"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY = re.compile(r"[A-Za-z0-9_.=~-]+(?:/[A-Za-z0-9_.=~-]+)*")
_PART_BYTES = 64 * 1024**2
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})
_LOST = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})


def is_bucket(address: str) -> bool:
    """Whether an address names a bucket."""
    return address.startswith(f"{SCHEME}://")


def fault_of(address: str) -> str:
    """What is wrong with ``s3://bucket/key``; empty where nothing is. Never repeats a secret."""
    try:
        parts = urlsplit(address)
        has_user = "@" in parts.netloc
    except ValueError:
        return "is no address of a bucket"
    key = parts.path.removeprefix("/").removesuffix("/")
    if has_user:
        return "holds a user or password; credentials come from the environment alone (AWS_ACCESS_KEY_ID, a profile)"
    if parts.query or parts.fragment or "?" in address or "#" in address:
        return "holds more than a bucket and a key"
    if not _BUCKET.fullmatch(parts.netloc):
        return "names no bucket: 3 to 63 small letters, digits, dots and dashes"
    if key and (not _KEY.fullmatch(key) or {".", ".."} & set(key.split("/"))):
        return "has a key with more than letters, digits and _ . = ~ - between single slashes"
    return ""


@dataclass(frozen=True)
class ObjectFacts:
    """What a bucket says of an object: its size, its tag (changes with the content), and when it was written.

    ``now`` is the server's clock at the time of the answer: ages are told without trusting ours.
    """

    size: int
    tag: str
    modified: datetime
    now: datetime


@dataclass(frozen=True)
class BucketPath:
    """An object, or a folder of objects. As far as it goes, it is used as :class:`pathlib.Path` is.

    Attributes:
        bucket: Name of the bucket.
        key: Key of the object, without a slash at either end; empty for the bucket itself.
    """

    bucket: str
    key: str = ""

    @classmethod
    def of(cls, address: str) -> BucketPath:
        """From ``s3://bucket/key``.

        Raises:
            ValueError: it is no such address; says what is wrong.
        """
        if fault := fault_of(address):
            raise ValueError(fault)
        parts = urlsplit(address)
        return cls(parts.netloc, parts.path.strip("/"))

    def __str__(self) -> str:
        return f"{SCHEME}://{self.bucket}/{self.key}".rstrip("/")

    def __truediv__(self, name: str) -> BucketPath:
        return BucketPath(self.bucket, f"{self.key}/{name}".strip("/"))

    @property
    def name(self) -> str:
        """Last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """Last part of the key without its ending."""
        return self.name.rpartition(".")[0] or self.name

    @property
    def parent(self) -> BucketPath:
        """The folder."""
        return BucketPath(self.bucket, self.key.rpartition("/")[0])

    def with_suffix(self, suffix: str) -> BucketPath:
        """The same with another ending."""
        return self.parent / f"{self.stem}{suffix}"

    # -- asking ------------------------------------------------------------------------------------------

    def facts(self) -> ObjectFacts | None:
        """Size, tag and time; ``None`` where there is no such object.

        Raises:
            StoreError: the bucket cannot be asked.
        """
        answer = self._ask("head_object", Key=self.key)
        return None if answer is None else _facts(answer)

    def is_file(self) -> bool:
        """Whether the object exists."""
        return self.facts() is not None

    def exists(self) -> bool:
        """Whether the object exists."""
        return self.is_file()

    def look(self) -> tuple[bytes, ObjectFacts] | None:
        """Content and facts, in one request; ``None`` where there is no such object."""
        answer = self._ask("get_object", Key=self.key)
        if answer is None:
            return None
        with speaking(self):
            return answer["Body"].read(), _facts(answer)

    def get(self) -> tuple[bytes, str] | None:
        """Content and tag, in one request; ``None`` where there is no such object."""
        found = self.look()
        return None if found is None else (found[0], found[1].tag)

    def read_bytes(self) -> bytes:
        """The content.

        Raises:
            FileNotFoundError: there is no such object.
            StoreError: the bucket cannot be asked.
        """
        found = self.get()
        if found is None:
            raise FileNotFoundError(f"{self} does not exist")
        return found[0]

    def read_text(self, encoding: str = "utf-8") -> str:
        """The content as text."""
        return self.read_bytes().decode(encoding)

    def read_range(self, start: int, size: int, tag: str) -> bytes:
        """Bytes of the object as it was when its tag was read.

        Raises:
            StoreError: the object has changed since, or the bucket cannot be asked.
        """
        answer = self._ask("get_object", Key=self.key, Range=f"bytes={start}-{start + size - 1}", IfMatch=tag)
        if answer is None:
            raise StoreError(f"{self} was replaced while it was read; read it again")
        with speaking(self):
            return bytes(answer["Body"].read())

    def open(self) -> io.BufferedReader:
        """The object as a file that can be sought in; all reads are of the content that it has now.

        Raises:
            FileNotFoundError: there is no such object.
        """
        facts = self.facts()
        if facts is None:
            raise FileNotFoundError(f"{self} does not exist")
        return io.BufferedReader(_ObjectFile(self, facts), 1024**2)

    def children(self) -> Iterator[tuple[str, ObjectFacts]]:
        """Names and facts of the objects right below this folder."""
        prefix = f"{self.key}/" if self.key else ""
        for answer in self._pages(Prefix=prefix, Delimiter="/"):
            now = _clock(answer)
            for found in answer.get("Contents", ()):
                name = str(found["Key"])[len(prefix) :]
                if name:
                    yield name, ObjectFacts(found["Size"], found["ETag"], found["LastModified"], now)

    def folders(self) -> Iterator[str]:
        """Names of the folders right below this one."""
        prefix = f"{self.key}/" if self.key else ""
        for answer in self._pages(Prefix=prefix, Delimiter="/"):
            for found in answer.get("CommonPrefixes", ()):
                yield str(found["Prefix"])[len(prefix) :].rstrip("/")

    def glob(self, pattern: str) -> Iterator[BucketPath]:
        """Objects right below this folder whose names match."""
        for name, _ in self.children():
            if fnmatch.fnmatchcase(name, pattern):
                yield self / name

    # -- changing ----------------------------------------------------------------------------------------

    def put(self, content: bytes) -> str:
        """Replace the object, whole or not at all; returns its tag."""
        answer = self._do("put_object", Key=self.key, Body=content)
        return str(answer["ETag"])

    def put_if(self, content: bytes, tag: str | None) -> str | None:
        """Replace the object if it still has that tag; with ``None`` if there is no object yet.

        Returns the new tag, or ``None`` where somebody else was first. Content that is unique makes this exact
        even if an answer is lost on the way: it is then found again as ours.

        Raises:
            StoreError: the bucket cannot be asked, or its server does not keep conditions.
        """
        check_conditions(self.parent)
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        answer = self._ask("put_object", Key=self.key, Body=content, **condition)
        if answer is not None:
            return str(answer["ETag"])
        found = self.get()
        return found[1] if found is not None and found[0] == content else None

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: ARG002 as pathlib has it
        """Remove the object. A bucket does not tell whether there was one, so a missing one is no error."""
        self._do("delete_object", Key=self.key)

    def upload(self, source: Path) -> int:
        """Make the object a copy of a local file, whole or not at all; returns its size.

        Raises:
            StoreError: the bucket refuses it, or the file cannot be read.
        """
        try:
            size = source.stat().st_size
            with source.open("rb") as stream:
                if size <= _PART_BYTES:
                    self._do("put_object", Key=self.key, Body=stream)
                else:
                    self._upload_parts(stream)
        except OSError as error:
            raise StoreError(f"{source} cannot be read: {error.strerror or error}") from error
        return size

    def download(self, target: Path) -> bool:
        """Copy the object to a local file, which appears whole; returns whether there is such an object.

        Raises:
            StoreError: the connection broke, or the file cannot be written.
        """
        answer = self._ask("get_object", Key=self.key)
        if answer is None:
            return False
        building = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with speaking(self), building.open("wb") as stream:
                for chunk in answer["Body"].iter_chunks(1024**2):
                    stream.write(chunk)
            building.replace(target)
        except OSError as error:
            raise StoreError(f"{target} cannot be written: {error.strerror or error}") from error
        finally:
            building.unlink(missing_ok=True)
        return True

    def ping(self) -> None:
        """Return if the bucket can be read here.

        Raises:
            StoreError: it cannot; says why in one line.
        """
        self._do("list_objects_v2", Prefix=self.key, MaxKeys=1)

    # -- inside ------------------------------------------------------------------------------------------

    def _upload_parts(self, stream: io.BufferedReader) -> None:
        # What a killed process began is nobody's any more: callers hold the product's lock.
        for answer in self._pages("list_multipart_uploads", Prefix=self.key):
            for begun in answer.get("Uploads", ()):
                if begun["Key"] == self.key:
                    self._ask("abort_multipart_upload", Key=self.key, UploadId=begun["UploadId"])
        upload = self._do("create_multipart_upload", Key=self.key)["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            while chunk := stream.read(_PART_BYTES):
                number = len(parts) + 1
                answer = self._do("upload_part", Key=self.key, UploadId=upload, PartNumber=number, Body=chunk)
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            self._do(
                "complete_multipart_upload", Key=self.key, UploadId=upload, MultipartUpload={"Parts": parts}
            )
        except BaseException:
            with contextlib.suppress(StoreError):  # the first error is the one to tell
                self._do("abort_multipart_upload", Key=self.key, UploadId=upload)
            raise

    def _pages(self, operation: str = "list_objects_v2", **arguments: Any) -> Iterator[dict[str, Any]]:
        with speaking(self):
            yield from client().get_paginator(operation).paginate(Bucket=self.bucket, **arguments)

    def _do(self, operation: str, **arguments: Any) -> dict[str, Any]:
        answer = self._ask(operation, **arguments)
        if answer is None:
            raise StoreError(f"{self} is gone")
        return answer

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any] | None:
        """One request; ``None`` where there is no such object, or it is no longer as the condition says."""
        import_botocore()
        from botocore.exceptions import ClientError

        with speaking(self):
            try:
                answer = getattr(client(), operation)(Bucket=self.bucket, **arguments)
            except ClientError as error:
                if code_of(error) in _ABSENT | _LOST:
                    return None
                raise
        found: dict[str, Any] = answer
        return found


class _ObjectFile(io.RawIOBase):
    """One content of an object, read in ranges."""

    def __init__(self, path: BucketPath, facts: ObjectFacts) -> None:
        self._path = path
        self._facts = facts
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._facts.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._facts.size - self._at)
        if wanted <= 0:
            return 0
        content = self._path.read_range(self._at, wanted, self._facts.tag)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _facts(answer: dict[str, Any]) -> ObjectFacts:
    return ObjectFacts(
        int(answer["ContentLength"]), str(answer["ETag"]), answer["LastModified"], _clock(answer)
    )


def _clock(answer: dict[str, Any]) -> datetime:
    from email.utils import parsedate_to_datetime

    return parsedate_to_datetime(str(answer["ResponseMetadata"]["HTTPHeaders"]["date"]))
