"""Deprecated major versions: what consumers are told, and what happens past the sunset."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dp_dagster.errors import AuthorError
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from dp_dagster.descriptor.model import Deprecation
    from dp_dagster.resolve import ResolvedDataset, ResolvedInput, ResolvedProduct


def deprecation_notice(deprecated: Deprecation | None) -> str | None:
    """What consumers of a deprecated version are told, without a full stop; ``None`` while it is not."""
    if deprecated is None:
        return None
    said = (deprecated.note or "").strip().removesuffix(".")
    note = f": {said}" if said else ""
    return f"deprecated, kept up until {deprecated.sunset.isoformat()}{note}"


def past_sunset(product: ResolvedProduct, dataset: ResolvedDataset) -> str | None:
    """A warning where a version is published past its sunset; ``None`` before.

    Raises:
        AuthorError: the product says that publishing ends with the sunset.
    """
    deprecated = dataset.deprecated
    if deprecated is None or datetime.now(UTC).date() < deprecated.sunset:
        return None
    name = f"{product.id}.{dataset.name} v{dataset.major}"
    if deprecated.after_sunset == "refuse":
        raise AuthorError(
            f"{name} has been past its sunset since {deprecated.sunset.isoformat()} and is no longer published; "
            "remove the version from product.yaml, or move its sunset"
        )
    return f"{name} is published past its sunset of {deprecated.sunset.isoformat()}; remove the version, or move it"


def upstream_notice(product: ResolvedProduct, declared: ResolvedInput) -> str | None:
    """What the producer says of the port that an input reads, if it is deprecated."""
    upstream = declared.port.upstream(declared.config)
    if upstream is None:
        return None
    manifest = read_manifest(product.settings.storage, upstream.product)
    entry = manifest.port(upstream.major, upstream.port) if manifest is not None else None
    return f"{upstream} is {entry.deprecated}" if entry is not None and entry.deprecated else None
