"""A view in a Snowflake database."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from dp_dagster.ports.base import Example, Missing, Projected
from dp_dagster.ports.outputs.sql.server import ServerTarget, port_of, still_is

if TYPE_CHECKING:
    from dp_dagster.ports.base import OutputContext
    from dp_dagster.ports.outputs.sql.config import SqlConfig
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest


class Snowflake(ServerTarget):
    """Rows are loaded into a table of their own by way of a stage; the view is then replaced in one statement."""

    badge = "snowflake"
    name = "Snowflake"
    with_host = False
    right = "snowflake://database/schema/view"
    credentials = (
        "set SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER and SNOWFLAKE_PASSWORD, or write `credentials: SHOP` and set "
        "SHOP_ACCOUNT and so on"
    )
    longest_name = (255, "letters")

    def missing(self) -> Missing | None:
        """The library that speaks to the server."""
        is_there = find_spec("snowflake") and find_spec("snowflake.connector")
        return None if is_there else Missing("a SQL port on Snowflake", "snowflake")

    def access(self, config: SqlConfig, context: OutputContext) -> str:
        """What the server decides by."""
        place = self.endpoint(config, context)
        view = ".".join(_shown(name) for name in (place.database, place.schema, place.view))
        if context.guarded is None:
            return f"Ask who administers the account: `grant select on view {view}`."
        who = f"`access` of {context.product_id} says who sees what"
        return f"Sign in to Snowflake. {who}: a role there is a role here."

    def examples(self, config: SqlConfig, context: OutputContext) -> tuple[Example, ...]:
        """In SQL and from Python."""
        place = self.endpoint(config, context)
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

        place = self.endpoint(config, context)
        with connected(place, config) as server:
            server.run(f"select 1 from {full_name(place.database, place.schema, place.view)} limit 1")

    def project(
        self, config: SqlConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Load the version if its table is not there already, and have the view show it."""
        from dp_dagster.access.masks import Masks
        from dp_dagster.ports.outputs.sql.snowflake.connection import connected
        from dp_dagster.ports.outputs.sql.snowflake.publication import Publication, publish
        from dp_dagster.ports.outputs.sql.snowflake.types import HOLDING
        from dp_dagster.ports.outputs.sql.snowflake.view import sayable

        endpoint = self.endpoint(config, context)
        guard, differs = self.guard(context, snapshot, sayable, HOLDING)
        publication = Publication(
            endpoint=endpoint,
            product=context.product_id,
            port=port_of(context),
            snapshot=snapshot,
            guard=guard,
            key=context.key,
            description=context.description,
            descriptions={column.name: column.description for column in context.contract.columns},
            masks=Masks.from_environment(),
        )

        with connected(endpoint, config) as server:
            differs += publish(server, publication, still_is(manifest))
            metadata = {"account": server.account, "view": f"{endpoint.schema}.{endpoint.view}"}
        return Projected(str(endpoint), metadata, tuple(differs))


def _shown(name: str) -> str:
    """A name as it need not be quoted, where it need not be."""
    from dp_dagster.ports.outputs.sql.snowflake.names import quoted_name, server_name

    return name if server_name(name) != name else quoted_name(name)
