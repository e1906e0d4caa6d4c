"""A view in a Snowflake database."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from dp_dagster.ports.base import Example, Fault, Missing, OutputCapabilities, Projected
from dp_dagster.ports.outputs.sql.endpoint import endpoint_faults, read_endpoint, without_credentials
from dp_dagster.ports.outputs.sql.target import SqlTarget

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.ports.base import OutputContext
    from dp_dagster.ports.outputs.sql.config import SqlConfig
    from dp_dagster.ports.outputs.sql.endpoint import Endpoint
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest

_RIGHT = "snowflake://database/schema/view"
_CREDENTIALS = (
    "set SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER and SNOWFLAKE_PASSWORD, or write `credentials: SHOP` and set SHOP_ACCOUNT "
    "and so on"
)
_LONGEST_NAME = 255


class Snowflake(SqlTarget):
    """Rows are loaded into a table of their own by way of a stage; the view is then replaced in one statement."""

    badge = "snowflake"
    capabilities = OutputCapabilities(probed=True)

    def check(self, config: SqlConfig) -> Iterable[Fault]:
        """The endpoint names database, schema and view; the account comes from the environment."""
        endpoint = config.endpoint or ""
        faults = list(endpoint_faults(endpoint, with_host=False, right=_RIGHT, credentials=_CREDENTIALS))
        yield from faults
        if faults:
            return
        place = read_endpoint(endpoint, with_host=False)
        for what in ("database", "schema", "view"):
            size = len(getattr(place, what))
            if size > _LONGEST_NAME:
                yield Fault("endpoint", f"names a {what} with {size} letters", f"use at most {_LONGEST_NAME}")
        if place.schema.upper() == "INFORMATION_SCHEMA":
            yield Fault(
                "endpoint", f"names {place.schema}, which the server keeps to itself", "name another schema"
            )

    def missing(self) -> Missing | None:
        """The library that speaks to the server."""
        is_there = find_spec("snowflake") and find_spec("snowflake.connector")
        return None if is_there else Missing("a SQL port on Snowflake", "snowflake")

    def address(self, config: SqlConfig, context: OutputContext) -> str:
        """The endpoint."""
        return str(_endpoint(config, context))

    def access(self, config: SqlConfig, context: OutputContext) -> str:
        """What the server decides by."""
        place = _endpoint(config, context)
        view = ".".join(_shown(name) for name in (place.database, place.schema, place.view))
        if context.guarded is None:
            return f"Ask who administers the account: `grant select on view {view}`."
        who = f"`access` of {context.product_id} says who sees what"
        return f"Sign in to Snowflake. {who}: a role there is a role here."

    def examples(self, config: SqlConfig, context: OutputContext) -> tuple[Example, ...]:
        """In SQL and from Python."""
        place = _endpoint(config, context)
        view = ".".join(_shown(name) for name in (place.database, place.schema, place.view))
        query = f"select * from {view}"
        return (
            Example("sql", f"{query} limit 10;"),
            Example(
                "python",
                "import snowflake.connector\n"
                f"snowflake.connector.connect(connection_name='default').cursor().execute({query!r}).fetchall()",
            ),
        )

    def probe(self, config: SqlConfig, context: OutputContext) -> None:
        """Sign in, and read one row of the view."""
        from dp_dagster.ports.outputs.sql.snowflake.connection import connected
        from dp_dagster.ports.outputs.sql.snowflake.names import full_name

        place = _endpoint(config, context)
        with connected(place, config) as server:
            server.run(f"select 1 from {full_name(place.database, place.schema, place.view)} limit 1")

    def project(
        self, config: SqlConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Load the version if its table is not there already, and have the view show it."""
        from dp_dagster.access.masks import Masks
        from dp_dagster.ports.outputs.sql.guard import guard_of
        from dp_dagster.ports.outputs.sql.snowflake.connection import connected
        from dp_dagster.ports.outputs.sql.snowflake.publication import Publication, publish
        from dp_dagster.ports.outputs.sql.snowflake.types import HOLDING
        from dp_dagster.ports.outputs.sql.snowflake.view import sayable

        endpoint = _endpoint(config, context)
        what = f"{context.product_id}/v{context.major}/{context.port_name}"
        types = {column.name: column.type for column in snapshot.columns}
        differs = []
        decided = []
        for grant in context.guarded.grants if context.guarded else ():
            reason = sayable(grant, types)
            if reason:
                differs.append(f"a grant gives nothing on Snowflake: {reason}")
            else:
                decided.append(grant)
        guard = guard_of(snapshot.columns, context.guarded, decided, f"version {snapshot.version}")
        HOLDING.check(what, snapshot, [one.column for one in guard.stored if one.method is None])
        publication = Publication(
            endpoint=endpoint,
            product=context.product_id,
            port=what,
            snapshot=snapshot,
            guard=guard,
            key=context.key,
            description=context.description,
            descriptions={column.name: column.description for column in context.contract.columns},
            masks=Masks.from_environment(),
        )

        def is_port(name: str) -> bool:
            product, major, port = name.split("/")
            return product == manifest.product_id and port in manifest.ports.get(major, {})

        with connected(endpoint, config) as server:
            differs += publish(server, publication, is_port)
            metadata = {"account": server.account, "view": f"{endpoint.schema}.{endpoint.view}"}
        return Projected(str(endpoint), metadata, tuple(differs))


def _endpoint(config: SqlConfig, context: OutputContext) -> Endpoint:
    return read_endpoint(without_credentials(config.endpoint or ""), with_host=False).of_major(context)


def _shown(name: str) -> str:
    """A name as it need not be quoted, where it need not be."""
    from dp_dagster.ports.outputs.sql.snowflake.names import quoted_name, server_name

    return name if server_name(name) != name else quoted_name(name)
