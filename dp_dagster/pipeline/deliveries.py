"""How far ports have come that send what they have to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.pipeline.projections import output_context
from dp_dagster.pipeline.session import Session
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from dp_dagster.ports.base import Delivery
    from dp_dagster.resolve import ResolvedOutput, ResolvedProduct


def sending_ports(product: ResolvedProduct) -> list[ResolvedOutput]:
    """The ports of a product that send what they have to tell."""
    return [port for port in product.active_ports if port.port is not None and port.port.pushes(port.config)]


def deliveries(product: ResolvedProduct) -> dict[str, Delivery]:
    """How far each of them has come, by label.

    Raises:
        StoreError: the manifest is damaged, or the database of the records cannot be read.
    """
    manifest = read_manifest(product.settings.storage, product.id)
    found = {}
    for port in sending_ports(product):
        assert port.port is not None
        shown = manifest.port(port.major, port.name) if manifest else None
        context = output_context(Session(product, "deliveries"), port)
        found[port.label] = port.port.delivery(port.config, context, shown.version if shown else None)
    return found
