"""Asset keys. They are part of what a product promises: lineage and automation of others name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster import AssetKey

if TYPE_CHECKING:
    from dp_dagster.ports.base import UpstreamPort
    from dp_dagster.resolve import ResolvedProduct


def input_key(product_id: str, name: str) -> AssetKey:
    """``<product>/input/<port>``."""
    return AssetKey([product_id, "input", name])


def transform_key(product_id: str, name: str) -> AssetKey:
    """``<product>/transform/<name>``."""
    return AssetKey([product_id, "transform", name])


def dataset_key(product_id: str, major: int, name: str) -> AssetKey:
    """``<product>/v<major>/dataset/<name>``."""
    return AssetKey([product_id, f"v{major}", "dataset", name])


def quarantine_key(product_id: str, major: int, name: str) -> AssetKey:
    """``<product>/v<major>/quarantine/<name>``."""
    return AssetKey([product_id, f"v{major}", "quarantine", name])


def port_key(product_id: str, major: int, name: str) -> AssetKey:
    """``<product>/v<major>/port/<name>``."""
    return AssetKey([product_id, f"v{major}", "port", name])


def upstream_key(upstream: UpstreamPort) -> AssetKey:
    """The key of another product's output port."""
    return port_key(upstream.product, upstream.major, upstream.port)


def relation_key(product: ResolvedProduct, name: str) -> AssetKey:
    """The key of an input port or of something that a transform provides."""
    if any(declared.name == name for declared in product.inputs):
        return input_key(product.id, name)
    return transform_key(product.id, name)


def step_name(*parts: str) -> str:
    """A Dagster step's name, made of the parts of its asset's key."""
    return "__".join(parts)
