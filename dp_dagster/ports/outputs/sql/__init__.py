"""SQL output port: a view that consumers query, in the product's DuckDB catalog or on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from dp_dagster.ports.base import (
    Example,
    Fault,
    KindConfig,
    Missing,
    OutputCapabilities,
    OutputContext,
    OutputPort,
    Projected,
)
from dp_dagster.ports.outputs.sql.config import SqlConfig
from dp_dagster.ports.outputs.sql.duckdb_catalog import DuckdbCatalog, catalog_path, ensure_catalog
from dp_dagster.ports.outputs.sql.endpoint import scheme_of, without_credentials
from dp_dagster.ports.outputs.sql.postgresql import Postgresql
from dp_dagster.ports.outputs.sql.snowflake import Snowflake

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dp_dagster.ports.outputs.sql.target import SqlTarget
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest

__all__ = ["SqlConfig", "SqlOutput", "catalog_path", "ensure_catalog"]

_CATALOG = DuckdbCatalog()
_SERVERS: dict[str, SqlTarget] = {
    "snowflake": Snowflake(),
    "postgresql": Postgresql(),
    "postgres": Postgresql(),
}


class SqlOutput(OutputPort[SqlConfig]):
    """A view that consumers query: with DuckDB over exactly the published files, or on a server with its own SQL."""

    kind = "SQL"
    summary = "a view in the product's DuckDB catalog, or on a server"
    Config: ClassVar[type[KindConfig]] = SqlConfig
    capabilities = DuckdbCatalog.capabilities

    def capabilities_of(self, config: SqlConfig) -> OutputCapabilities:
        """A catalog hands out files; a server does not."""
        return _target(config).capabilities

    def check(self, config: SqlConfig, product_root: Path) -> Iterable[Fault]:
        """An endpoint must name a server that is known, and a view on it."""
        scheme = scheme_of(config.endpoint)
        if config.endpoint and scheme != "duckdb" and scheme not in _SERVERS:
            yield Fault(
                "endpoint",
                f"{without_credentials(config.endpoint)} names no known SQL server",
                f"leave it out for the DuckDB catalog, or begin with "
                f"{', '.join(f'{name}://' for name in _SERVERS)}",
            )
        else:
            yield from _target(config).check(config)

    def missing(self, config: SqlConfig) -> Missing | None:
        """Servers other than DuckDB are brought by extras."""
        return _target(config).missing()

    def badges(self, config: SqlConfig) -> frozenset[str]:
        """SQL, and where."""
        return frozenset({"sql", _target(config).badge})

    def address(self, config: SqlConfig, context: OutputContext) -> str:
        """``product.v1.port`` in the product's catalog file, or the endpoint."""
        return _target(config).address(config, context)

    def access(self, config: SqlConfig, context: OutputContext) -> str:
        """The storage's or the server's permissions decide."""
        return _target(config).access(config, context)

    def examples(self, config: SqlConfig, context: OutputContext) -> tuple[Example, ...]:
        """From the shell and from Python."""
        return _target(config).examples(config, context)

    def probe(self, config: SqlConfig, context: OutputContext) -> None:
        """Read one row of the view."""
        _target(config).probe(config, context)

    def project(
        self, config: SqlConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Have the view show the version, all at once."""
        return _target(config).project(config, context, snapshot, manifest)


def _target(config: SqlConfig) -> SqlTarget:
    return _SERVERS.get(scheme_of(config.endpoint), _CATALOG)
