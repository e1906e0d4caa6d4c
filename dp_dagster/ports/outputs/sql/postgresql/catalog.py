"""What stands beside the views in a database, in a schema that consumers cannot enter.

``ports``
    The views, and what each of them shows.
``generations``
    The tables behind them: one for each version that some reader may still be in the middle of.
``claims``
    What is known of logins beside their roles; kept by whoever administers the database.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import errors
from psycopg.sql import SQL, Composable, Identifier

from dp_dagster.errors import LockedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.ports.outputs.sql.postgresql.connection import Server

_TABLES = """
create table if not exists {hidden}.ports (
    schema_name text not null,
    view_name text not null,
    port text not null,
    parent text not null,
    shape text not null,
    generation bigint not null,
    version bigint not null,
    fingerprint text not null,
    query_hash text not null,
    definition_hash text not null,
    privileges jsonb not null,
    primary key (schema_name, view_name)
);
create table if not exists {hidden}.generations (
    generation bigint primary key,
    schema_name text not null,
    view_name text not null,
    parent text not null,
    superseded boolean not null default false,
    readers text[]
);
create table if not exists {hidden}.claims (
    login text not null,
    claim text not null,
    value text not null,
    primary key (login, claim, value)
);
create sequence if not exists {hidden}.numbers;
create or replace function {hidden}.gone() returns bigint language plpgsql stable as $$
begin
    raise exception using errcode = 'serialization_failure',
        message = 'the columns have changed since this transaction began; begin another one';
end $$;
comment on schema {hidden} is
    'Tables behind the views of a data product; written by dp_dagster alone. Not for consumers.';
comment on table {hidden}.claims is
    'What row filters may compare with: a line for each login, claim and value; scope and client stand here, too.';
"""


@dataclass(frozen=True)
class Place:
    """A view, and the schema of the tables behind it."""

    schema: str
    view: str
    hidden: str

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.schema}.{self.view}"

    @property
    def identifier(self) -> Composable:
        """The view, in SQL."""
        return Identifier(self.schema, self.view)


@dataclass(frozen=True)
class Shown:
    """What a view shows, as its own line says."""

    port: str
    parent: str
    shape: str
    generation: int
    version: int
    fingerprint: str
    query_hash: str
    definition_hash: str
    privileges: list[Any]


_FIELDS = "port, parent, shape, generation, version, fingerprint, query_hash, definition_hash, privileges"


@contextmanager
def alone(server: Server, place: Place, patience: float) -> Iterator[None]:
    """Keep others from publishing into the same view meanwhile; ends with the connection at the latest.

    Raises:
        LockedError: somebody else is at it, and was not done in time.
    """
    key = f"dp_dagster:{place.hidden}:{place.schema}:{place.view}"
    deadline = time.monotonic() + patience
    while not server.execute("select pg_try_advisory_lock(hashtextextended(%s, 0))", (key,)).fetchone()[0]:  # type: ignore[index]
        if time.monotonic() > deadline:
            raise LockedError(f"somebody else is publishing into {place.name}; try again when they are done")
        time.sleep(0.1)
    try:
        yield
    finally:
        if not server.connection.closed and not server.connection.broken:
            server.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", (key,))


def make_schemas(server: Server, place: Place) -> None:
    """Make both schemas, and the tables of the hidden one, where they are not there.

    Raises:
        StoreError: they cannot be made, or the hidden schema is somebody else's.
    """
    for schema in (place.hidden, place.schema):
        found = server.execute(
            "select pg_has_role(nspowner, 'usage') from pg_namespace where nspname = %s", (schema,)
        ).fetchone()
        if found is None:
            try:
                server.execute(SQL("create schema {}").format(Identifier(schema)))
            except errors.InsufficientPrivilege as error:
                raise StoreError(
                    f"schema {schema} is not there, and may not be made: have it made with "
                    f'create schema "{schema}" authorization "{_user(server)}"'
                ) from error
            except (errors.DuplicateSchema, errors.UniqueViolation):
                pass  # another port of the product was quicker
        elif schema == place.hidden and not found[0]:
            raise StoreError(
                f"schema {schema} is there and belongs to somebody else; it is where the tables would be"
            )
    if server.execute("select to_regclass(%s)", (f'"{place.hidden}".ports',)).fetchone()[0] is None:  # type: ignore[index]
        with server.transaction():
            # Two ports of a product may come here at the same time.
            server.execute(
                "select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"dp_dagster:{place.hidden}",)
            )
            server.execute(SQL(_TABLES).format(hidden=Identifier(place.hidden)))


def who_can_enter(server: Server, place: Place) -> list[str]:
    """Roles that somebody let into the hidden schema."""
    rows = server.execute(
        "select distinct coalesce(r.rolname, 'public') from pg_namespace n, aclexplode(n.nspacl) a "
        "left join pg_roles r on r.oid = a.grantee where n.nspname = %s and a.grantee <> n.nspowner order by 1",
        (place.hidden,),
    )
    return [str(row[0]) for row in rows]


def read_shown(server: Server, place: Place) -> Shown | None:
    """What the view shows; ``None`` before the first version."""
    row = server.execute(
        SQL("select {} from {} where schema_name = %s and view_name = %s").format(
            SQL(_FIELDS), Identifier(place.hidden, "ports")
        ),
        (place.schema, place.view),
    ).fetchone()
    return None if row is None else Shown(*row)


def write_shown(server: Server, place: Place, shown: Shown) -> None:
    """Write the view's line."""
    import json

    values = [getattr(shown, name) for name in _FIELDS.split(", ")]
    values[-1] = json.dumps(shown.privileges)
    server.execute(
        SQL(
            "insert into {table} (schema_name, view_name, {fields}) values ({marks}) "
            "on conflict (schema_name, view_name) do update set ({fields}) = ({new})"
        ).format(
            table=Identifier(place.hidden, "ports"),
            fields=SQL(_FIELDS),
            marks=SQL(", ").join([SQL("%s")] * (len(values) + 2)),
            new=SQL(", ").join(SQL("excluded.{}").format(SQL(name)) for name in _FIELDS.split(", ")),
        ),
        (place.schema, place.view, *values),
    )


def definition(server: Server, place: Place) -> tuple[str, str] | None:
    """Kind of what stands where the view is to be, and a hash of what it says; ``None`` where there is nothing."""
    row = server.execute(
        "select c.relkind::text, case when c.relkind = 'v' then md5(pg_get_viewdef(c.oid) || "
        "coalesce(c.reloptions::text, '') || c.relowner::text) else '' end "
        "from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = %s and c.relname = %s",
        (place.schema, place.view),
    ).fetchone()
    return None if row is None else (str(row[0]), str(row[1]))


def columns_of_table(server: Server, schema: str, table: str) -> list[tuple[str, str]] | None:
    """Names and types of a table's columns; ``None`` where there is no such table."""
    rows = server.execute(
        "select a.attname, format_type(a.atttypid, a.atttypmod) from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace left join pg_attribute a "
        "on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
        "where n.nspname = %s and c.relname = %s order by a.attnum",
        (schema, table),
    ).fetchall()
    return [(str(name), str(kind)) for name, kind in rows] if rows else None


def _user(server: Server) -> str:
    return str(server.execute("select current_user").fetchone()[0])  # type: ignore[index]
