"""The GRAPHQL kind. GraphQL and web libraries are imported by :meth:`GraphqlOutput.application` only."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from dp_dagster.ports.access_words import how_to_get_access
from dp_dagster.ports.base import Example, Fault, KindConfig, Missing, OutputContext, Projected
from dp_dagster.ports.endpoints import credential_header, endpoint_faults, served_address, served_path
from dp_dagster.ports.outputs.graphql.names import field_names
from dp_dagster.ports.served import ServedConfig, ServedPort
from dp_dagster.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from dp_dagster.ports.served import PortHost
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest

_LIBRARIES = ("graphql", "orjson", "cryptography", "uvicorn")


class GraphqlLimits(Limits):
    """What each consumer may take, and what one query may ask for."""

    depth: int = Field(default=12, ge=3, le=100, description="Levels of fields within each other.")
    fields: int = Field(
        default=500,
        ge=1,
        le=10_000,
        description="Fields of a query, each fragment counted wherever it is used.",
    )
    cost: int = Field(
        default=10_000, ge=1, description="Rows that a query may read at most, related rows among them."
    )
    request_bytes: int = Field(default=20_000, ge=100, le=1_000_000, description="Size of a request.")

    def over(self, others: Limits) -> Limits:
        """The limits that all served kinds know, with those of ``others`` where nothing is said."""
        own = self.model_dump(include=set(Limits.model_fields), exclude_none=True)
        return Limits(**own).over(others)


class GraphqlConfig(ServedConfig):
    """Configuration of a GRAPHQL output port."""

    limits: GraphqlLimits = Field(
        default_factory=GraphqlLimits,
        description="What each consumer may take, as of every served port, and what one query may ask for: `depth`, "
        "`fields`, `cost`, `request_bytes`.",
    )
    endpoint: str | None = Field(
        default=None,
        description="Public address, `https://api.example.com/v1/graphql`; the port is served at its path. By "
        "default `/<product>/v<major>/<port>`.",
    )
    introspection: bool = Field(
        default=True, description="Whether consumers may ask for the schema. Queries are answered either way."
    )


class GraphqlOutput(ServedPort[GraphqlConfig]):
    """Rows of a dataset, and of those that its contract refers to, over GraphQL."""

    kind = "GRAPHQL"
    summary = "rows and relationships over GraphQL"
    Config: ClassVar[type[KindConfig]] = GraphqlConfig

    def check(self, config: GraphqlConfig, product_root: Path) -> Iterable[Fault]:
        """An endpoint must be an address whose path can be served."""
        return endpoint_faults(config.endpoint)

    def missing(self, config: GraphqlConfig) -> Missing | None:
        """The libraries come with an extra."""
        if all(find_spec(name) for name in _LIBRARIES):
            return None
        return Missing("a GRAPHQL port", "serve")

    def path(self, config: GraphqlConfig, context: OutputContext) -> str:
        """The endpoint's path, or ``/<product>/v<major>/<port>``."""
        return served_path(config.endpoint, _default_path(context), context)

    def address(self, config: GraphqlConfig, context: OutputContext) -> str:
        """The endpoint, or where ``dp serve`` listens by default."""
        return served_address(config.endpoint, _default_path(context), context)

    def access(self, config: GraphqlConfig, context: OutputContext) -> str:
        """By what ``auth`` says."""
        return how_to_get_access(config.auth, context)

    def examples(self, config: GraphqlConfig, context: OutputContext) -> tuple[Example, ...]:
        """With curl, and with Python."""
        address = self.address(config, context)
        many = field_names([context.dataset])[context.dataset]
        names = field_names(column.name for column in context.contract.columns)
        query = f"{{ {many}(first: 3) {{ nodes {{ {' '.join([*names.values()][:3]) or '__typename'} }} }} }}"
        body = json.dumps({"query": query})
        header = credential_header(config.auth)
        credential = f' -H "{header[0]}: {header[1]}"' if header else ""
        curl = f"curl -H 'Content-Type: application/json'{credential} -d '{body}' {address}"
        given = ""
        if header is not None:
            prefix, _, variable = header[1].rpartition("$")
            value = f'os.environ["{variable}"]'
            given = f'    headers={{"{header[0]}": {f"{prefix!r} + {value}" if prefix else value}}},\n'
        python = (
            f'import {"os, " if header else ""}httpx\nquery = {query!r}\nanswer = httpx.post(\n    "{address}",\n'
            f'    json={{"query": query}},\n{given}).raise_for_status().json()\n'
            f'for row in answer["data"]["{many}"]["nodes"]:\n    print(row)'
        )
        return (Example("shell", curl), Example("python", python))

    def project(
        self, config: GraphqlConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Nothing is written: servers follow the manifest."""
        return Projected(self.address(config, context), {"path": self.path(config, context)})

    def application(
        self, config: GraphqlConfig, context: OutputContext, host: PortHost
    ) -> Callable[[dict[str, Any], Any, Any], Awaitable[None]]:
        """The ASGI application: GraphQL over HTTP, and the schema as a document and as a page."""
        from dp_dagster.ports.outputs.graphql.application import GraphqlApplication

        return GraphqlApplication(config, context, host, self.path(config, context))


def _default_path(context: OutputContext) -> str:
    return f"/{context.product_id}/v{context.major}/{context.port_name}"
