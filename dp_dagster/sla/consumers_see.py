"""What the consumers of a port see at this moment, in words for messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from dp_dagster.sla.words import moment
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from dp_dagster.settings import Settings
    from dp_dagster.storage.manifest import Manifest, PortEntry


@dataclass(frozen=True)
class Seen:
    """The version on show, and the sentence about it; no version where there is none."""

    version: int | None
    published_at: datetime | None
    rows: int | None
    text: str


def consumers_see(settings: Settings, product: str, port: str) -> Seen:
    """What consumers of a port see now.

    Args:
        settings: Of the platform.
        product: Id of the product.
        port: Label of the port: ``vw_flights``, or ``vw_flights@1`` for an older major version.

    Raises:
        StoreError: the product's manifest is damaged.
    """
    manifest = read_manifest(settings.storage, product)
    entry = entry_of(manifest, port) if manifest is not None else None
    if entry is None:
        return Seen(None, None, None, "nothing: never published")
    published = datetime.fromisoformat(entry.published_at)
    text = f"version {entry.version} of {moment(published)} ({entry.rows:,} rows)"
    return Seen(entry.version, published, entry.rows, text)


def entry_of(manifest: Manifest, label: str) -> PortEntry | None:
    """The entry of a port by its label; without a major version, that of the newest which has it."""
    name, at, major = label.partition("@")
    if at:
        return manifest.port(int(major), name)
    found = [
        ports[name]
        for _, ports in sorted(manifest.ports.items(), key=lambda one: int(one[0][1:]))
        if name in ports
    ]
    return found[-1] if found else None
