"""Input port over another product's output port: found through the manifest, read at one version."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dp_dagster.errors import InputError
from dp_dagster.ports.base import InputContext, InputPort, KindConfig, Pinned, UpstreamPort, pinned_partitions

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.storage.manifest import Manifest, PortEntry

_PATTERN = r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*@[0-9]+$"


class ProductConfig(KindConfig):
    """Configuration of a PRODUCT input port."""

    port: str = Field(
        pattern=_PATTERN,
        description="`product.port@major`: an output port of another product, one major version.",
    )


class ProductInput(InputPort[ProductConfig]):
    """Another product's output port. Nothing is copied: the published files themselves are read."""

    kind = "PRODUCT"
    summary = "another product's output port"
    Config: ClassVar[type[KindConfig]] = ProductConfig

    def upstream(self, config: ProductConfig) -> UpstreamPort:
        """The port that is read."""
        product, port, major = re.split(r"[.@]", config.port)
        return UpstreamPort(product=product, major=int(major), port=port)

    def location(self, config: ProductConfig) -> str:
        """``product.port@major``."""
        return config.port

    def badges(self, config: ProductConfig) -> frozenset[str]:
        """A data product."""
        return frozenset({"dataproduct"})

    def lands(self, config: ProductConfig, *, audited: bool) -> bool:
        """Never: committed files do not change, so a contract of the consumer's own is proven in place."""
        return False

    def fingerprint(self, config: ProductConfig, context: InputContext) -> str:
        """The version that the port shows."""
        return str(self._entry(config, context).version)

    def available_since(
        self, config: ProductConfig, context: InputContext, shown: str | None
    ) -> datetime | None:
        """When the first version after ``shown`` was committed."""
        from dp_dagster.storage import Table, TableLocation

        entry = self._entry(config, context)
        if shown == str(entry.version):
            return None
        seen = int(shown) if shown else entry.version - 1
        location = TableLocation(context.settings.storage, self.upstream(config).product, entry.area)
        # Only as far back as what is missing, not the whole history.
        missing = [
            publication.at
            for publication in Table(location).history(limit=max(entry.version - seen, 1))
            if publication.version > seen
        ]
        return min(missing, default=None)

    def pin(self, config: ProductConfig, context: InputContext) -> Pinned:
        """The files of the version that the port shows now."""
        manifest, entry = self._found(config, context)
        upstream = self.upstream(config)
        snapshot = manifest.snapshot(context.settings.storage, entry)
        return Pinned(
            name=context.port_name,
            files=snapshot.files,
            version=snapshot.version,
            rows=snapshot.rows,
            partitions=pinned_partitions(snapshot),
            provenance={
                "product": upstream.product,
                "port": upstream.port,
                "major": upstream.major,
                "version": snapshot.version,
                "fingerprint": str(snapshot.version),
                "product_version": snapshot.metadata.get("dp.product_version", ""),
                "published_at": entry.published_at,
            },
        )

    def _entry(self, config: ProductConfig, context: InputContext) -> PortEntry:
        return self._found(config, context)[1]

    def _found(self, config: ProductConfig, context: InputContext) -> tuple[Manifest, PortEntry]:
        from dp_dagster.storage.manifest import read_manifest

        upstream = self.upstream(config)
        what = f"{context.product_id}/input/{context.port_name}"
        manifest = read_manifest(context.settings.storage, upstream.product)
        if manifest is None:
            raise InputError(
                f"{what}: product {upstream.product} has published nothing at {context.settings.storage}; "
                f"run it first: dp run {upstream.product}"
            )
        entry = manifest.port(upstream.major, upstream.port)
        if entry is None:
            known = ", ".join(
                f"{name}@{major[1:]}"
                for major, entries in sorted(manifest.ports.items())
                for name in sorted(entries)
            )
            raise InputError(
                f"{what}: product {upstream.product} has no output port {upstream.port}@{upstream.major}; "
                f"it has {known or 'none yet'}"
            )
        return manifest, entry
