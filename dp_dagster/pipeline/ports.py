"""How the output ports of a product are reached: address, version on show, access, lines to copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.pipeline.deliveries import deliveries
from dp_dagster.pipeline.projections import output_context
from dp_dagster.pipeline.session import Session
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from dp_dagster.ports.base import Example
    from dp_dagster.resolve import ResolvedOutput, ResolvedProduct
    from dp_dagster.storage.manifest import PortEntry


@dataclass(frozen=True)
class PortFacts:
    """What a consumer needs to know of an output port.

    Attributes:
        port: Its name; with ``@major`` for an older version that stays live.
        kind: Its kind.
        dataset: The dataset that it shows; ``None`` where there is none.
        state: ``active``, or why nobody can use it; ``reason`` then says more.
        reason: Empty for an active port.
        address: Where it is; empty where it is not active.
        version: The version on show; ``None`` before the first one.
        rows: Rows of that version.
        published_at: When its rows were published, UTC, ISO 8601.
        deprecated: Why not to use the port any more; ``None`` while it is current.
        access: How to get access, in Markdown.
        delivery: How far the port has come that sends what it has to tell; empty for others.
        differs: Where the port's place is not as the descriptor says, a line each.
        examples: Lines to copy, the shortest first.
    """

    port: str
    kind: str
    dataset: str | None
    state: str
    reason: str = ""
    address: str = ""
    version: int | None = None
    rows: int | None = None
    published_at: str | None = None
    deprecated: str | None = None
    access: str = ""
    delivery: str = ""
    differs: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()


def port_facts(product: ResolvedProduct) -> list[PortFacts]:
    """The output ports of a product, in order of declaration.

    Raises:
        StoreError: the product's manifest is damaged.
    """
    manifest = read_manifest(product.settings.storage, product.id)
    return [
        _facts(product, port, manifest.port(port.major, port.name) if manifest else None)
        for port in product.ports
    ]


def _facts(product: ResolvedProduct, port: ResolvedOutput, shown: PortEntry | None) -> PortFacts:
    dataset = port.dataset.label if port.dataset else None
    if port.state != "active" or port.port is None:
        return PortFacts(port.label, port.declaration.type, dataset, port.state, port.reason)
    context = output_context(Session(product, "ports"), port)
    return PortFacts(
        port.label,
        port.port.kind,
        dataset,
        port.state,
        address=port.port.address(port.config, context),
        version=shown.version if shown else None,
        rows=shown.rows if shown else None,
        published_at=shown.published_at if shown else None,
        deprecated=shown.deprecated if shown else None,
        access=port.port.access(port.config, context),
        delivery=str(deliveries(product)[port.label]) if port.port.pushes(port.config) else "",
        differs=tuple(shown.metadata.get("differs", ())) if shown else (),
        examples=port.port.examples(port.config, context),
    )
