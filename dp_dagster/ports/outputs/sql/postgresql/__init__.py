"""A view in a PostgreSQL database: masks, row filters and grants of the product hold in it, whoever reads."""

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

_LONGEST_NAME = 63


class Postgresql(ServerTarget):
    """Rows are loaded beside those on show, and shown by the end of one transaction."""

    badge = "postgresql"
    name = "PostgreSQL"
    with_host = True
    right = "postgresql://host/database/schema/view"
    credentials = (
        "set PGUSER and PGPASSWORD, or write `credentials: SHOP` and set SHOP_USER and SHOP_PASSWORD"
    )
    longest_name = (_LONGEST_NAME, "bytes")

    def size_of(self, name: str) -> int:
        """In bytes."""
        return len(name.encode())

    def is_reserved(self, schema: str) -> bool:
        """Schemas of the server's own."""
        return schema.startswith("pg_") or schema == "information_schema"

    def missing(self) -> Missing | None:
        """The library that speaks to the server."""
        return None if find_spec("psycopg") else Missing("a SQL port on PostgreSQL", "postgres")

    def access(self, config: SqlConfig, context: OutputContext) -> str:
        """What the server decides by."""
        place = self.endpoint(config, context)
        if context.guarded is None:
            return f"Ask who administers {place.server}: `grant select on {place.schema}.{place.view}`."
        return (
            f"Sign in to {place.server}. `access` of {context.product_id} says who sees what: a role or subject "
            "there is a role or login here."
        )

    def examples(self, config: SqlConfig, context: OutputContext) -> tuple[Example, ...]:
        """With psql and from Python."""
        place = self.endpoint(config, context)
        query = f"select * from {_quoted(place.schema)}.{_quoted(place.view)}"
        url = f"postgresql://{place.server}/{str(place).split('/')[3]}"
        return (
            Example("shell", f'psql {url} -c "{_escaped(query)} limit 10"'),
            Example("python", f"import psycopg\npsycopg.connect({url!r}).execute({query!r}).fetchall()"),
        )

    def probe(self, config: SqlConfig, context: OutputContext) -> None:
        """Sign in, and read one row of the view."""
        from psycopg.sql import SQL, Identifier

        from dp_dagster.ports.outputs.sql.postgresql.connection import connected

        place = self.endpoint(config, context)
        with connected(place, config) as server:
            view = Identifier(place.schema, place.view)
            server.execute(SQL("select from {} limit 1").format(view)).fetchall()

    def project(
        self, config: SqlConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Load the version if the view does not show it already, and have the view show it."""
        from dp_dagster.access.masks import Masks
        from dp_dagster.ports.outputs.sql.postgresql.catalog import Place
        from dp_dagster.ports.outputs.sql.postgresql.connection import connected
        from dp_dagster.ports.outputs.sql.postgresql.publication import Publication, publish
        from dp_dagster.ports.outputs.sql.postgresql.types import HOLDING
        from dp_dagster.ports.outputs.sql.postgresql.view import privileges_of, sayable

        endpoint = self.endpoint(config, context)
        guard, differs = self.guard(context, snapshot, sayable, HOLDING)
        privileges = privileges_of(guard) if guard.is_decided else None
        publication = Publication(
            place=Place(endpoint.schema, endpoint.view, f"dp_{context.product_id}"[:_LONGEST_NAME]),
            port=port_of(context),
            snapshot=snapshot,
            guard=guard,
            privileges=privileges,
            key=context.key,
            description=context.description,
            descriptions={column.name: column.description for column in context.contract.columns},
            masks=Masks.from_environment(),
            patience=context.settings.lock_timeout,
        )

        with connected(endpoint, config) as server:
            absent = _absent_roles(server, [one.grantee for one in privileges or () if one.grantee])
            differs += publish(server, publication, still_is(manifest))
        if absent:
            differs.append(
                f"no role or login {', '.join(absent)} is on the server, so nobody has these grants"
            )
        metadata = {"server": endpoint.server, "view": f"{endpoint.schema}.{endpoint.view}"}
        return Projected(str(endpoint), metadata, tuple(differs))


def _absent_roles(server: object, names: list[str]) -> list[str]:
    from dp_dagster.ports.outputs.sql.postgresql.connection import Server

    assert isinstance(server, Server)
    found = {
        row[0] for row in server.execute("select rolname from pg_roles where rolname = any(%s)", (names,))
    }
    return sorted(set(names) - found)


def _quoted(name: str) -> str:
    """A name as it need not be quoted, where it need not be."""
    if name.isascii() and name.isidentifier() and name == name.lower():
        return name
    return '"' + name.replace('"', '""') + '"'


def _escaped(text: str) -> str:
    """For the shell's double quotes."""
    return "".join(f"\\{letter}" if letter in '"\\$`' else letter for letter in text)
