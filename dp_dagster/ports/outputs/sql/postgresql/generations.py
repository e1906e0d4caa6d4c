"""Generations: the tables behind a view, one for each version, and how they go when nobody needs them any more.

All generations of the same columns are parts of one table, which the view reads. Which of them is shown is a matter
of data and not of names: the newest whose marker the reader can see. So a reader keeps what its transaction began
with, whatever is published meanwhile; nothing that it reads is ever locked, changed or replaced; and a version that
was not loaded whole has no marker that anybody could see.

A generation's own table has two parts, its rows and its marker, since a query finds both through the same plan: one
that was planned before a generation was there sees neither.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from psycopg import errors
from psycopg.sql import SQL, Composable, Identifier, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dp_dagster.ports.outputs.sql.postgresql.catalog import Place
    from dp_dagster.ports.outputs.sql.postgresql.connection import Server

_CLEANUP_MILLISECONDS = 3_000
_LOCK_MILLISECONDS = 500


def parent_name(place: Place, number: int) -> str:
    """The table of generations of the same columns; a name that PostgreSQL need not cut."""
    readable = re.sub(r"[^a-z0-9_]", "_", place.view.lower())[:30]
    digest = hashlib.sha256(f"{place.schema}.{place.view}".encode()).hexdigest()[:6]
    return f"{readable}_{digest}_{number}"


def make_parent(
    server: Server, place: Place, parent: str, columns: Sequence[tuple[str, str]], prefix: str
) -> None:
    """Make the table that the view reads."""
    server.execute(
        SQL("create table {} ({}, {} bigint not null, {} boolean not null) partition by list ({})").format(
            Identifier(place.hidden, parent),
            SQL(", ").join(SQL("{} {}").format(Identifier(name), SQL(kind)) for name, kind in columns),
            Identifier(f"{prefix}generation"),
            Identifier(f"{prefix}marker"),
            Identifier(f"{prefix}generation"),
        )
    )
    server.execute(
        SQL("comment on table {} is {}").format(
            Identifier(place.hidden, parent),
            Literal(f"Generations of {place.name}; written by dp_dagster alone."),
        )
    )


def make_generation(server: Server, place: Place, parent: str, number: int, prefix: str) -> str:
    """Make the tables of a generation, which nobody sees yet; gives the name of the one for its rows."""
    own, rows, marker = (f"{parent}_{number}{end}" for end in ("", "_rows", "_marker"))
    generation_column, marker_column = (Identifier(f"{prefix}{name}") for name in ("generation", "marker"))
    value = Literal(number)
    server.execute(
        SQL("create table {} (like {}, check ({} = {})) partition by list ({})").format(
            Identifier(place.hidden, own),
            Identifier(place.hidden, parent),
            generation_column,
            value,
            marker_column,
        )
    )
    for name, is_marker in ((rows, False), (marker, True)):
        server.execute(
            SQL("create table {} partition of {} for values in ({})").format(
                Identifier(place.hidden, name), Identifier(place.hidden, own), Literal(is_marker)
            )
        )
        server.execute(
            SQL("alter table {} alter {} set default {}, alter {} set default {}").format(
                Identifier(place.hidden, name), generation_column, value, marker_column, Literal(is_marker)
            )
        )
    server.execute(SQL("insert into {} default values").format(Identifier(place.hidden, marker)))
    return rows


def finish_generation(
    server: Server,
    place: Place,
    rows: str,
    key: Sequence[str],
    *,
    columns: Iterable[str],
    with_statistics: bool,
) -> None:
    """Make the key, and what the planner wants to know.

    Where rows are hidden from some readers, it is told of their number alone: what EXPLAIN guesses of a value would
    tell how many of the hidden rows have it.
    """
    table = Identifier(place.hidden, rows)
    if not with_statistics:
        changes = [SQL("alter {} set statistics 0").format(Identifier(name)) for name in columns]
        server.execute(SQL("alter table {} {}").format(table, SQL(", ").join(changes)))
    if key:
        server.execute(
            SQL("alter table {} add primary key ({})").format(table, SQL(", ").join(map(Identifier, key)))
        )
    server.execute(SQL("analyze {}").format(table))


def show_generation(server: Server, place: Place, parent: str, number: int) -> None:
    """Make a generation what the view shows from the end of the transaction on. Takes no lock that a reader minds."""
    server.execute(
        SQL("alter table {} attach partition {} for values in ({})").format(
            Identifier(place.hidden, parent), Identifier(place.hidden, f"{parent}_{number}"), Literal(number)
        )
    )
    generations = Identifier(place.hidden, "generations")
    where = (place.schema, place.view)
    server.execute(
        SQL("update {} set superseded = true where schema_name = %s and view_name = %s").format(generations),
        where,
    )
    server.execute(
        SQL("insert into {} (generation, schema_name, view_name, parent) values (%s, %s, %s, %s)").format(
            generations
        ),
        (number, *where, parent),
    )


def remove_unneeded(server: Server, place: Place, current: str | None) -> None:
    """Remove the generations that no reader can need any more; what cannot be removed now is tried again next time.

    Who began before a generation was superseded may still need it. So the transactions of that time are noted, and it
    goes when all of them have ended.

    Args:
        server: The server.
        place: The view.
        current: The table of generations that the view reads.
    """
    table = Identifier(place.hidden, "generations")
    server.execute(
        SQL(
            "update {} set readers = array(select l.virtualxid from pg_locks l join pg_stat_activity a using (pid) "
            "join pg_database d on d.oid = a.datid where l.locktype = 'virtualxid' and l.granted "
            "and d.datname = current_database() and l.pid <> pg_backend_pid()) "
            "where schema_name = %s and view_name = %s and superseded and readers is null"
        ).format(table),
        (place.schema, place.view),
    )
    unneeded = server.execute(
        SQL(
            "select generation, parent from {} as g where schema_name = %s and view_name = %s and superseded "
            "and not exists (select from pg_locks l where l.locktype = 'virtualxid' and l.virtualxid = any(g.readers)) "
            "order by generation"
        ).format(table),
        (place.schema, place.view),
    ).fetchall()
    if not unneeded:
        return
    settings = server.execute(
        "select current_setting('statement_timeout'), current_setting('lock_timeout')"
    ).fetchone()
    set_both = "select set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)"
    server.execute(set_both, (str(_CLEANUP_MILLISECONDS), str(_LOCK_MILLISECONDS)))
    # A reader in the middle of a long query keeps its table for now.
    with suppress(errors.LockNotAvailable, errors.QueryCanceled, errors.DeadlockDetected):
        for number, parent in unneeded:
            _remove(server, place, parent, number, is_current=parent == current)
    assert settings is not None
    server.execute(set_both, settings)


def _remove(server: Server, place: Place, parent: str, number: int, *, is_current: bool) -> None:
    own = Identifier(place.hidden, f"{parent}_{number}")
    if is_current:
        _detach(server, place, parent, f"{parent}_{number}")
    with server.transaction():
        # A table that the view reads no more has no new readers that could be kept waiting.
        server.execute(SQL("drop table if exists {}").format(own))
        server.execute(
            SQL("delete from {} where generation = %s").format(Identifier(place.hidden, "generations")),
            (number,),
        )
        left = server.execute(
            SQL("select from {} where parent = %s").format(Identifier(place.hidden, "generations")), (parent,)
        ).fetchone()
        if left is None and not is_current:
            server.execute(SQL("drop table if exists {}").format(Identifier(place.hidden, parent)))


def _detach(server: Server, place: Place, parent: str, own: str) -> None:
    """Take a generation out of the view's table. Readers go on; new ones do not see it."""
    row = server.execute(
        "select i.inhdetachpending from pg_inherits i join pg_class c on c.oid = i.inhrelid "
        "join pg_namespace n on n.oid = c.relnamespace join pg_class p on p.oid = i.inhparent "
        "where n.nspname = %s and c.relname = %s and p.relname = %s",
        (place.hidden, own, parent),
    ).fetchone()
    if row is None:
        return
    how: Composable = SQL("finalize") if row[0] else SQL("concurrently")
    server.execute(
        SQL("alter table {} detach partition {} {}").format(
            Identifier(place.hidden, parent), Identifier(place.hidden, own), how
        )
    )
