"""Input port over another product's output port: found through the manifest, read at one version."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dp_dagster.errors import InputError
from dp_dagster.ports.base import InputContext, InputPort, KindConfig, Pinned, UpstreamPort

if TYPE_CHECKING:
    from dp_dagster.storage.manifest import PortEntry

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

    def lands(self, config: ProductConfig, *, audited: bool) -> bool:
        """Never: committed files do not change, so a contract of the consumer's own is proven in place."""
        return False

    def fingerprint(self, config: ProductConfig, context: InputContext) -> str:
        """The version that the port shows."""
        return str(self._entry(config, context).version)

    def pin(self, config: ProductConfig, context: InputContext) -> Pinned:
        """The files of the version that the port shows now."""
        from dp_dagster.storage import Table, TableLocation

        entry = self._entry(config, context)
        upstream = self.upstream(config)
        table = Table(TableLocation(context.settings.storage, upstream.product, entry.area))
        snapshot = table.snapshot(entry.version)
        return Pinned(
            name=context.port_name,
            files=snapshot.files,
            version=snapshot.version,
            rows=snapshot.rows,
            provenance={
                "product": upstream.product,
                "port": upstream.port,
                "major": upstream.major,
                "version": snapshot.version,
                "product_version": snapshot.metadata.get("dp.product_version", ""),
                "published_at": entry.published_at,
            },
        )

    def _entry(self, config: ProductConfig, context: InputContext) -> PortEntry:
        from dp_dagster.storage.manifest import read_manifest

        upstream = self.upstream(config)
        what = f"{context.product_id}/input/{context.port_name}"
        manifest = read_manifest(context.settings.storage, upstream.product)
        if manifest is None:
            raise InputError(
                f"{what}: product {upstream.product} has published nothing at {context.settings.storage}; "
                f"run it first: dp run {upstream.product}"
            )
        ports = manifest.ports.get(f"v{upstream.major}", {})
        if upstream.port not in ports:
            known = ", ".join(
                f"{name}@{major[1:]}"
                for major, entries in sorted(manifest.ports.items())
                for name in sorted(entries)
            )
            raise InputError(
                f"{what}: product {upstream.product} has no output port {upstream.port}@{upstream.major}; "
                f"it has {known or 'none yet'}"
            )
        return ports[upstream.port]
