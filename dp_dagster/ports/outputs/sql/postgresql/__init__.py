"""A view in a PostgreSQL database: masks, row filters and grants of the product hold in it, whoever reads."""

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

_RIGHT = "postgresql://host/database/schema/view"
_CREDENTIALS = "set PGUSER and PGPASSWORD, or write `credentials: SHOP` and set SHOP_USER and SHOP_PASSWORD"
_LONGEST_NAME = 63


class Postgresql(SqlTarget):
    """Rows are loaded beside those on show, and shown by the end of one transaction."""

    badge = "postgresql"
    capabilities = OutputCapabilities(probed=True)

    def check(self, config: SqlConfig) -> Iterable[Fault]:
        """The endpoint names server, database, schema and view, and nothing else."""
        endpoint = config.endpoint or ""
        faults = list(endpoint_faults(endpoint, with_host=True, right=_RIGHT, credentials=_CREDENTIALS))
        yield from faults
        if faults:
            return
        place = read_endpoint(endpoint, with_host=True)
        for what in ("database", "schema", "view"):
            size = len(getattr(place, what).encode())
            if size > _LONGEST_NAME:
                yield Fault("endpoint", f"names a {what} with {size} bytes", f"use at most {_LONGEST_NAME}")
        if place.schema.startswith("pg_") or place.schema == "information_schema":
            yield Fault(
                "endpoint", f"names {place.schema}, which the server keeps to itself", "name another schema"
            )

    def missing(self) -> Missing | None:
        """The library that speaks to the server."""
        return None if find_spec("psycopg") else Missing("a SQL port on PostgreSQL", "postgres")

    def address(self, config: SqlConfig, context: OutputContext) -> str:
        """The endpoint."""
        return str(_endpoint(config, context))

    def access(self, config: SqlConfig, context: OutputContext) -> str:
        """What the server decides by."""
        place = _endpoint(config, context)
        if context.guarded is None:
            return f"Ask who administers {place.server}: `grant select on {place.schema}.{place.view}`."
        return (
            f"Sign in to {place.server}. `access` of {context.product_id} says who sees what: a role or subject "
            "there is a role or login here."
        )

    def examples(self, config: SqlConfig, context: OutputContext) -> tuple[Example, ...]:
        """With psql and from Python."""
        place = _endpoint(config, context)
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

        place = _endpoint(config, context)
        with connected(place, config) as server:
            view = Identifier(place.schema, place.view)
            server.execute(SQL("select from {} limit 1").format(view)).fetchall()

    def project(
        self, config: SqlConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Load the version if the view does not show it already, and have the view show it."""
        from dp_dagster.access.masks import Masks
        from dp_dagster.ports.outputs.sql.guard import guard_of
        from dp_dagster.ports.outputs.sql.postgresql.catalog import Place
        from dp_dagster.ports.outputs.sql.postgresql.connection import connected
        from dp_dagster.ports.outputs.sql.postgresql.publication import Publication, publish
        from dp_dagster.ports.outputs.sql.postgresql.types import HOLDING
        from dp_dagster.ports.outputs.sql.postgresql.view import privileges_of, sayable

        endpoint = _endpoint(config, context)
        what = f"{context.product_id}/v{context.major}/{context.port_name}"
        types = {column.name: column.type for column in snapshot.columns}
        differs = []
        decided = []
        for grant in context.guarded.grants if context.guarded else ():
            reason = sayable(grant, types)
            if reason:
                differs.append(f"a grant gives nothing on PostgreSQL: {reason}")
            else:
                decided.append(grant)
        guard = guard_of(snapshot.columns, context.guarded, decided, f"version {snapshot.version}")
        HOLDING.check(what, snapshot, [one.column for one in guard.stored if one.method is None])
        privileges = privileges_of(guard) if guard.is_decided else None
        publication = Publication(
            place=Place(endpoint.schema, endpoint.view, f"dp_{context.product_id}"[:_LONGEST_NAME]),
            port=what,
            snapshot=snapshot,
            guard=guard,
            privileges=privileges,
            key=context.key,
            description=context.description,
            descriptions={column.name: column.description for column in context.contract.columns},
            masks=Masks.from_environment(),
            patience=context.settings.lock_timeout,
        )

        def is_port(name: str) -> bool:
            product, major, port = name.split("/")
            return product == manifest.product_id and port in manifest.ports.get(major, {})

        with connected(endpoint, config) as server:
            absent = _absent_roles(server, [one.grantee for one in privileges or () if one.grantee])
            differs += publish(server, publication, is_port)
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


def _endpoint(config: SqlConfig, context: OutputContext) -> Endpoint:
    return read_endpoint(without_credentials(config.endpoint or ""), with_host=True).of_major(context)


def _quoted(name: str) -> str:
    """A name as it need not be quoted, where it need not be."""
    if name.isascii() and name.isidentifier() and name == name.lower():
        return name
    return '"' + name.replace('"', '""') + '"'


def _escaped(text: str) -> str:
    """For the shell's double quotes."""
    return "".join(f"\\{letter}" if letter in '"\\$`' else letter for letter in text)
