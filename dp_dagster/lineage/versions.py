"""Which versions a version was made from, across products: read from the commits themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import StoreError, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.storage import PublicationEntry, TableLocation


@dataclass(frozen=True)
class MadeFrom:
    """One version of something, and the versions that it was made from.

    Attributes:
        name: What it is: ``flights/v1/dataset/flights``, or an input port.
        version: Its version; ``None`` for files that are read where they lie.
        published_at: When its rows were published.
        place: Where the data of an input port came from.
        sources: What it was made from.
        note: Why more is not known.
    """

    name: str
    version: int | None
    published_at: datetime | None = None
    place: str = ""
    sources: tuple[MadeFrom, ...] = ()
    note: str = ""


def made_from(location: TableLocation, version: int | None = None) -> MadeFrom:
    """What a version of a dataset was made from, back to the inputs of every product on the way.

    Args:
        location: The dataset's table.
        version: The version; the newest by default.

    Raises:
        UsageError: there is no such version.
        StoreError: the table cannot be read.
    """
    entry = _entry(location, version)
    upstream = json.loads(entry.metadata.get("dp.upstream") or "{}")
    sources = tuple(_source(location, name, provenance) for name, provenance in sorted(upstream.items()))
    return MadeFrom(str(location), entry.version, entry.at, sources=sources)


def _entry(location: TableLocation, version: int | None) -> PublicationEntry:
    from dp_dagster.storage import Table

    history = Table(location).history()
    if not history:
        raise UsageError(f"{location} was never published")
    if version is None:
        return history[0]
    for entry in history:
        if entry.version == version:
            return entry
    known = ", ".join(str(entry.version) for entry in history[:20])
    raise UsageError(f"{location} has no version {version}; it has {known}")


def _source(location: TableLocation, name: str, provenance: dict[str, Any]) -> MadeFrom:
    version = provenance.get("version")
    producer = provenance.get("product")
    if producer is None:
        return MadeFrom(
            f"{location.product}/input/{name}", version, place=str(provenance.get("location", ""))
        )
    port = f"{producer}/v{provenance['major']}/port/{provenance['port']}"
    try:
        return MadeFrom(port, version, sources=(made_from(_dataset_of(location.root, provenance), version),))
    except (UsageError, StoreError) as error:
        return MadeFrom(port, version, note=str(error))


def _dataset_of(root: str, provenance: dict[str, Any]) -> TableLocation:
    from dp_dagster.storage.manifest import read_manifest

    producer = provenance["product"]
    manifest = read_manifest(root, producer)
    entry = manifest.port(provenance["major"], provenance["port"]) if manifest else None
    if manifest is None or entry is None:
        raise UsageError(f"{producer} shows no port {provenance['port']}@{provenance['major']} any more")
    return manifest.location(root, entry)
