"""Data products as Dagster code locations: contracts prove, one commit publishes, ports serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dp_dagster.components import DataProductComponent
    from dp_dagster.definitions.load import load_product, load_products

__all__ = ["DataProductComponent", "load_product", "load_products"]


def __dir__() -> list[str]:
    # Dagster finds components by what a module lists; what is loaded on first use must be listed, too.
    return [*globals(), *__all__]


def __getattr__(name: str) -> object:
    # Dagster takes a second to import; the command line must not pay for it.
    if name == "DataProductComponent":
        from dp_dagster.components import DataProductComponent

        return DataProductComponent
    if name in {"load_product", "load_products"}:
        from dp_dagster.definitions import load

        return getattr(load, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
