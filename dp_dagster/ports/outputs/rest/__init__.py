"""REST_API output port: a dataset's rows over HTTP.

One module a concern, in the order in which a request meets them: ``application`` (addresses), ``asking`` (the query),
``negotiation`` (the form of the answer), ``prepared`` (what all requests share), ``bulk`` (exports and files),
``ranges`` (parts of files), ``answers`` (what goes out); ``document`` and ``page`` tell programs and people about the
port. This module is light; the web's libraries wait for ``application``.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from dp_dagster.ports.access_words import how_to_get_access
from dp_dagster.ports.base import Example, Fault, KindConfig, Missing, OutputContext, Projected
from dp_dagster.ports.endpoints import credential_header, endpoint_faults, served_address, served_path
from dp_dagster.ports.served import ServedConfig, ServedPort

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from dp_dagster.ports.served import PortHost
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest

LARGEST_PAGE = 10_000
"""Rows that a page can hold, whatever the limits are: it is made in memory. More come as a whole (``limit=all``)."""

_LIBRARIES = ("orjson", "cryptography", "uvicorn")


class RestConfig(ServedConfig):
    """Configuration of a REST_API output port."""

    endpoint: str | None = Field(
        default=None,
        description="Public address, `https://api.example.com/v1/customers`; the port is served at its path. By "
        "default `/<product>/v<major>/<dataset>`.",
    )
    page_size: int = Field(
        default=100, ge=1, le=LARGEST_PAGE, description="Rows of a page where `limit` says nothing."
    )


class RestOutput(ServedPort[RestConfig]):
    """Rows over HTTP: one by key, pages with filters and sorting, exports in five formats, published files.

    Consumers see the newest version; pages stay on the version that they began with.
    """

    kind = "REST_API"
    summary = "rows over HTTP, with filters, pages, exports and an OpenAPI document"
    Config: ClassVar[type[KindConfig]] = RestConfig

    def check(self, config: RestConfig, product_root: Any) -> Iterable[Fault]:
        """An endpoint must be an address whose path can be served."""
        return endpoint_faults(config.endpoint)

    def missing(self, config: RestConfig) -> Missing | None:
        """The web's libraries come with an extra."""
        if all(find_spec(name) for name in _LIBRARIES):
            return None
        return Missing("a REST_API port", "serve")

    def badges(self, config: RestConfig) -> frozenset[str]:
        """REST."""
        return frozenset({"rest"})

    def path(self, config: RestConfig, context: OutputContext) -> str:
        """The endpoint's path, or ``/<product>/v<major>/<dataset>``."""
        return served_path(config.endpoint, _default_path(context), context)

    def address(self, config: RestConfig, context: OutputContext) -> str:
        """The endpoint, or where ``dp serve`` listens by default."""
        return served_address(config.endpoint, _default_path(context), context)

    def access(self, config: RestConfig, context: OutputContext) -> str:
        """By what ``auth`` says."""
        return how_to_get_access(config.auth, context)

    def examples(self, config: RestConfig, context: OutputContext) -> tuple[Example, ...]:
        """With curl, Python and DuckDB."""
        address = self.address(config, context)
        header = credential_header(config.auth)
        credential, imports, given, secret = "", "import httpx", "", ""
        if header is not None:
            name, (prefix, _, variable) = header[0], header[1].rpartition("$")
            value = f'os.environ["{variable}"]'
            credential = f' -H "{name}: {header[1]}"'
            imports = "import os, httpx"
            given = f'    headers={{"{name}": {f"{prefix!r} + {value}" if prefix else value}}},\n'
            secret = f"create secret (type http, extra_http_headers map {{'{name}': '{prefix}…'}});\n"
        curl = f"curl{credential} '{address}?limit=5'"
        python = (
            f'{imports}\npage = httpx.get(\n    "{address}",\n    params={{"limit": 5}},\n{given}'
            ').raise_for_status().json()\nfor row in page["data"]:\n    print(row)'
        )
        sql = f"-- DuckDB\n{secret}from read_parquet('{address}?format=parquet') limit 5"
        return (Example("shell", curl), Example("python", python), Example("sql", sql))

    def project(
        self, config: RestConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Nothing is written: servers follow the manifest."""
        return Projected(self.address(config, context), {"path": self.path(config, context)})

    def application(
        self, config: RestConfig, context: OutputContext, host: PortHost
    ) -> Callable[[dict[str, Any], Any, Any], Awaitable[None]]:
        """The application below :meth:`path`."""
        from dp_dagster.ports.cursors import Cursors
        from dp_dagster.ports.outputs.rest.application import RestApplication
        from dp_dagster.ports.outputs.rest.description import PortDescription

        limits = config.limits.over(context.settings.limits)
        described = PortDescription(
            product=context.product_id,
            major=context.major,
            port=context.port_name,
            dataset=context.dataset,
            path=self.path(config, context),
            address=self.address(config, context),
            description=context.description or context.contract.description,
            contract=context.contract,
            auth=config.auth,
            access=self.access(config, context),
            examples=self.examples(config, context),
            page_size=config.page_size,
            most_rows=min(limits.page_size, LARGEST_PAGE)
            if isinstance(limits.page_size, int)
            else LARGEST_PAGE,
            largest=limits.response_bytes if isinstance(limits.response_bytes, int) else None,
            deprecation=context.deprecation,
        )
        return RestApplication(described, Cursors.of(context.settings), host)


def _default_path(context: OutputContext) -> str:
    return f"/{context.product_id}/v{context.major}/{context.dataset}"
