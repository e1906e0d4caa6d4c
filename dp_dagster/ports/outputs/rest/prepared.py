"""What depends on the version and the view alone, prepared once for all requests; headers and entity tags."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from dp_dagster.ports.outputs.rest.asking import Readable
from dp_dagster.ports.values import row_encoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column
    from dp_dagster.ports.outputs.rest.answers import Headers
    from dp_dagster.rows.query import ServedVersion

    Scope = dict[str, Any]

JSON = (b"content-type", b"application/json")
# The same address shows another version tomorrow, and another consumer something else.
VARY = (b"vary", b"Accept, Authorization, X-API-Key")
_PRIVATE: Headers = ((b"cache-control", b"private, no-cache"), VARY)
_RANGES = (b"accept-ranges", b"bytes")


@dataclass
class Prepared:
    """What is the same for every request of one view for one version."""

    version: ServedVersion
    view: DatasetView
    fingerprint: str
    readable: Readable
    names: tuple[str, ...]
    encode: Callable[[tuple[Any, ...]], dict[str, Any]]
    tag: str
    row_headers: Headers
    head: bytes

    @classmethod
    def of(cls, version: ServedVersion, view: DatasetView) -> Prepared:
        """For a view of a version."""
        columns = {column.name: column for column in version.columns}
        seen: dict[str, Column] = {name: columns[name] for name in view.columns if name in columns}
        readable = Readable(seen, view.clear & seen.keys())
        fingerprint = view.fingerprint
        tag = f"{version.version}-{fingerprint}"
        return cls(
            version,
            view,
            fingerprint,
            readable,
            tuple(seen),
            row_encoder(tuple(seen.values()), view.masks),
            tag,
            (
                JSON,
                (b"etag", f'W/"{tag}"'.encode()),
                (b"dataset-version", str(version.version).encode()),
                *_PRIVATE,
            ),
            orjson.dumps({"version": version.version, "published_at": _written(version)})[:-1],
        )


def header(scope: Scope, wanted: bytes) -> str:
    """A header's value; several of one name are one list."""
    found = ""
    for name, value in scope["headers"]:
        if name == wanted:
            found = f"{found}, {value.decode('latin-1')}" if found else value.decode("latin-1")
    return found


def tag_of(prepared: Prepared, form: str, scope: Scope) -> str:
    """The entity tag of an answer to a query."""
    return f"{prepared.tag}-{form}-{zlib.crc32(scope['query_string']):08x}"


def headers_of(prepared: Prepared, tag: str) -> Headers:
    """Of what may be kept, and is asked about each time."""
    return (
        (b"etag", f'W/"{tag}"'.encode()),
        (b"dataset-version", str(prepared.version.version).encode()),
        *_PRIVATE,
    )


def file_headers(prepared: Prepared, tag: str) -> Headers:
    """Of what has the same bytes each time, so that a reader may go on in the middle."""
    return (b"etag", f'"{tag}"'.encode()), _RANGES, *headers_of(prepared, tag)[1:]


def published_at(prepared: Prepared) -> str:
    """When the version was published."""
    return _written(prepared.version)


def _written(version: ServedVersion) -> str:
    return version.published_at.isoformat(timespec="microseconds")


def _tags(header: str) -> set[str]:
    """The entity tags of a list, weak ones like strong ones."""
    return {part.strip().removeprefix("W/").strip('"') for part in header.split(",")} - {""}


def not_modified(scope: Scope, tag: str) -> bool:
    """Whether who asks has the answer already. Known before anything is read: a version never changes."""
    given = header(scope, b"if-none-match")
    return bool(given) and tag in _tags(given)
