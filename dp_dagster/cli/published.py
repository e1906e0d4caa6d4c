"""What the manifest says of published versions, for the commands that must not open a table."""

from __future__ import annotations

from typing import Any


def published_datasets(storage: str, product_id: str, major: int) -> dict[str, dict[str, Any]]:
    """Newest version that any port shows, by dataset: its ``version``, ``rows`` and ``published_at``.

    Raises:
        StoreError: the manifest is damaged.
    """
    from dp_dagster.storage.manifest import read_manifest

    manifest = read_manifest(storage, product_id)
    found: dict[str, dict[str, Any]] = {}
    for entry in (manifest.ports if manifest else {}).get(f"v{major}", {}).values():
        if entry.dataset not in found or entry.version > found[entry.dataset]["version"]:
            found[entry.dataset] = {
                "version": entry.version,
                "rows": entry.rows,
                "published_at": entry.published_at,
            }
    return found


def published_ports(storage: str, product_id: str, major: int) -> dict[str, dict[str, Any]]:
    """What each port shows, by name: its ``version`` and ``address``.

    Raises:
        StoreError: the manifest is damaged.
    """
    from dp_dagster.storage.manifest import read_manifest

    manifest = read_manifest(storage, product_id)
    entries = (manifest.ports if manifest else {}).get(f"v{major}", {})
    return {name: {"version": entry.version, "address": entry.address} for name, entry in entries.items()}
