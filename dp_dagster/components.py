"""The Dagster component: a data product in a ``defs`` folder, by path or written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components import Scaffolder, ScaffoldRequest, scaffold_component, scaffold_with
from pydantic import BaseModel, Field

from dp_dagster.scaffold import product_id_of, write_product, write_settings

__all__ = ["DataProductComponent"]


class ProductParameters(BaseModel):
    """What ``dg scaffold defs`` may be told."""

    product_id: str | None = Field(
        default=None, description="Id of the product; made of the folder's name by default."
    )


class ProductScaffolder(Scaffolder[ProductParameters]):
    """Writes a small product that works: one CSV, one query, one contract, one port."""

    @classmethod
    def get_scaffold_params(cls) -> type[ProductParameters]:
        """The parameters."""
        return ProductParameters

    def scaffold(self, request: ScaffoldRequest[ProductParameters]) -> None:
        """Write the folder; in a project that has no settings yet, those too."""
        folder = Path(request.target_path)
        params = request.params
        write_product(folder, params.product_id or product_id_of(folder.name))
        if request.project_root is not None:
            write_settings(Path(request.project_root), folder)
        scaffold_component(request, {"descriptor": "product.yaml"})


@scaffold_with(ProductScaffolder)
class DataProductComponent(dg.Component, dg.Model, dg.Resolvable):
    """A data product: input ports, transforms, contracts, published datasets and output ports.

    Example:
        .. code-block:: yaml

            type: dp_dagster.DataProductComponent
            attributes:
              descriptor: product.yaml
    """

    descriptor: str | dict[str, Any] = Field(
        description="Path of the descriptor, relative to this folder, or the descriptor itself.",
        examples=["product.yaml"],
    )

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """What ``dg list components`` shows."""
        return dg.ComponentTypeSpec(
            description="A data product: lands inputs, proves contracts, publishes atomically, serves output ports.",
            tags=["data product", "contract", "duckdb", "delta lake"],
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The product's definitions."""
        from dp_dagster.definitions.load import load_inline, load_product

        folder = Path(context.path)
        if isinstance(self.descriptor, str):
            return load_product(folder / self.descriptor)
        return load_inline(self.descriptor, folder)
