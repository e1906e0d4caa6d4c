"""Where to look, and what consumers see now: what every message leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.settings import Settings


def links(settings: Settings, product: str, subject: str, run_id: str = "") -> dict[str, str]:
    """Where to look: the asset, and the run."""
    base = settings.ui_url.rstrip("/")
    found = {"asset": f"{base}/assets/{product}/{subject}"} if subject else {}
    if run_id:
        found |= {"run": f"{base}/runs/{run_id}", "run id": run_id}
    return found


def consumers_see(settings: Settings, product: str, subject: str = "") -> str:
    """What consumers of a product (or of one dataset or port of it) see now."""
    manifest = read_manifest(settings.storage, product)
    shown = []
    for major, ports in (manifest.ports if manifest is not None else {}).items():
        for name, entry in ports.items():
            place = f"{major}/port/{name}"
            if not subject or subject in {entry.area, place}:
                shown.append(
                    f"{place}: version {entry.version}, published at {entry.published_at[:19].replace('T', ' ')} UTC"
                )
    if not shown:
        return "nothing: never published"
    return f"still the last good version of {'; '.join(shown)}"


def quarantine_links(product: ResolvedProduct, subject: str) -> dict[str, str]:
    """Where the rows of a dataset lie that were set aside."""
    major, kind, name = (*subject.split("/", 2), "", "")[:3]
    if kind != "dataset":
        return {}
    label = name if major == f"v{product.major}" else f"{name}@{major[1:]}"
    base = product.settings.ui_url.rstrip("/")
    return {
        "quarantine": f"{base}/assets/{product.id}/{major}/quarantine/{name}",
        "see the rows": f"dp quarantine {product.id}.{label}",
    }
