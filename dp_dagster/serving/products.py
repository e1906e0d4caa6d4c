"""Which products a server serves, and what of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dp_dagster.errors import UsageError
from dp_dagster.ports.served import ServedPort

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.resolve import ResolvedOutput, ResolvedProduct
    from dp_dagster.serving.options import ServeOptions
    from dp_dagster.settings import Settings

_LOG = logging.getLogger("dp_dagster.serving")


def served_products(options: ServeOptions, settings: Settings) -> tuple[ResolvedProduct, ...]:
    """The products to serve. Without names, those of the project that are sound.

    Raises:
        UsageError: a product is unknown, or none has a port to serve and there is no control port.
        DescriptorError: a product that was named is at fault.
    """
    products, faults = found_products(options, settings)
    for name, fault in faults.items():
        _LOG.error("%s is not served: %s", name, fault)
    # The control port watches products that serve nothing, too.
    if settings.control is None and not any(served_ports(product) for product in products):
        names = ", ".join(product.id for product in products) or "the project"
        raise UsageError(
            f"{names}: no active output port is served; declare one of type REST_API, GRAPHQL or EVENT_STREAM, see "
            "docs/serving.md, or set a control port, see docs/control.md"
        )
    return products


def found_products(
    options: ServeOptions, settings: Settings
) -> tuple[tuple[ResolvedProduct, ...], Mapping[str, str]]:
    """The products that were named, else those of the project; and what is wrong with the others."""
    from dp_dagster.resolve import find_product, resolve_project

    if options.products:
        return tuple(find_product(name, settings) for name in options.products), {}
    project = resolve_project(settings)
    return project.products, {failure.product_id: str(failure.error) for failure in project.failures}


def served_ports(product: ResolvedProduct) -> list[ResolvedOutput]:
    """The ports of a product that answer requests."""
    return [port for port in product.active_ports if isinstance(port.port, ServedPort)]
