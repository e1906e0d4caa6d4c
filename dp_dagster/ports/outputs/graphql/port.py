"""The GRAPHQL kind. GraphQL and web libraries are imported by :meth:`GraphqlOutput.application` only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from dp_dagster.ports.base import Example, KindConfig, OutputContext, Projected
from dp_dagster.ports.served import ServedPort

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dp_dagster.ports.served import PortHost
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest


class GraphqlLimits(BaseModel):
    """How much one query may ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int = Field(default=20_000, ge=1, le=1_000_000, description="Size of a request.")
    depth: int = Field(default=12, ge=3, le=100, description="Levels of fields within each other.")
    fields: int = Field(
        default=500, ge=1, le=10_000, description="Fields, each fragment counted wherever it is used."
    )
    cost: int = Field(
        default=10_000, ge=1, description="Rows that may be read at most, related rows among them."
    )


class _L(BaseModel):
    page_size: int = 1000


class GraphqlConfig(KindConfig):
    """Configuration of a GRAPHQL output port."""

    limits: _L = _L()

    endpoint: str | None = Field(
        default=None, description="Public address, where a proxy gives it another one."
    )
    introspection: bool = Field(
        default=True, description="Whether consumers may ask for the schema. Queries are answered either way."
    )
    query: GraphqlLimits = Field(default=GraphqlLimits(), description="How much one query may ask for.")


class GraphqlOutput(ServedPort[GraphqlConfig]):
    """Rows of a dataset, and of those that its contract refers to, over GraphQL."""

    kind = "GRAPHQL"
    summary = "rows and relationships over GraphQL"
    Config: ClassVar[type[KindConfig]] = GraphqlConfig

    def path(self, config: GraphqlConfig, context: OutputContext) -> str:
        """``/flights/v1/flights_graphql``: product, major version and port."""
        return f"/{context.product_id}/v{context.major}/{context.port_name}"

    def address(self, config: GraphqlConfig, context: OutputContext) -> str:
        """The public address, or where ``dp serve`` answers by default."""
        return config.endpoint or f"http://127.0.0.1:8000{self.path(config, context)}"

    def examples(self, config: GraphqlConfig, context: OutputContext) -> tuple[Example, ...]:
        """With curl and with Python."""
        return ()

    def project(
        self, config: GraphqlConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Nothing to write: the server follows the manifest, and shows the version once it is named there."""
        return Projected(self.address(config, context), {"path": self.path(config, context)})

    def application(
        self, config: GraphqlConfig, context: OutputContext, host: PortHost
    ) -> Callable[[dict[str, Any], Any, Any], Awaitable[None]]:
        """The ASGI application: GraphQL over HTTP, and the schema as a document and as a page."""
        from dp_dagster.ports.outputs.graphql.application import GraphqlApplication

        return GraphqlApplication(config, context, host, self.path(config, context))
