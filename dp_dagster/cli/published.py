"""What the manifest says of published versions, for the commands that must not open a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dp_dagster.descriptor.partitions import Calendar


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
                **({"partitions": entry.partitions} if entry.partitions else {}),
            }
    return found


def partitions_of(
    calendar: Calendar | None, column: str | None, published: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Where the partitions of a dataset stand: the newest that is due and published, and what is missing.

    ``None`` for a dataset without partitions.
    """
    from datetime import UTC, datetime

    from dp_dagster.descriptor.due import due_partitions
    from dp_dagster.descriptor.partitions import read_told, told

    if calendar is None or column is None:
        return None
    there = read_told((published or {}).get("partitions", ""), calendar)
    due = due_partitions(calendar, there, datetime.now(UTC))
    return {
        "by": calendar.by,
        "column": column,
        "published": told(there, calendar),
        "newest_due": due.newest,
        "newest_published": due.published,
        "missing": list(due.missing),
        "missing_told": told(due.missing, calendar),
    }


def published_ports(storage: str, product_id: str, major: int) -> dict[str, dict[str, Any]]:
    """What each port shows, by name: its ``version`` and ``address``.

    Raises:
        StoreError: the manifest is damaged.
    """
    from dp_dagster.storage.manifest import read_manifest

    manifest = read_manifest(storage, product_id)
    entries = (manifest.ports if manifest else {}).get(f"v{major}", {})
    return {name: {"version": entry.version, "address": entry.address} for name, entry in entries.items()}
