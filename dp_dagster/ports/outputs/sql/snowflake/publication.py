"""Publishing a version into a view of Snowflake: a table of its own, then one statement that makes the view read it."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import snowflake.connector

from dp_dagster.errors import StoreError
from dp_dagster.ports.outputs.sql.loading import batches
from dp_dagster.ports.outputs.sql.snowflake.connection import said
from dp_dagster.ports.outputs.sql.snowflake.names import full_name, literal, quoted_name, server_name
from dp_dagster.ports.outputs.sql.snowflake.types import HOLDING
from dp_dagster.ports.outputs.sql.snowflake.view import ViewWriter, roles_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dp_dagster.access.masks import Masks
    from dp_dagster.ports.outputs.sql.endpoint import Endpoint
    from dp_dagster.ports.outputs.sql.guard import Guard
    from dp_dagster.ports.outputs.sql.snowflake.connection import Server
    from dp_dagster.storage import Snapshot

_FILE_ROWS = 1_000_000
_LOADING = "_LOADING"
_ROWS_LOADED = 3  # the column of COPY's answer


@dataclass(frozen=True)
class Publication:
    """What is to be shown.

    Attributes:
        endpoint: The view.
        product: The product.
        port: Whose it is: ``shop/v1/customers_sql``.
        snapshot: The version.
        guard: Who sees what of it.
        key: Columns that identify a row.
        description: Of the port.
        descriptions: Of columns, by name.
        masks: Masks values.
    """

    endpoint: Endpoint
    product: str
    port: str
    snapshot: Snapshot
    guard: Guard
    key: tuple[str, ...]
    description: str
    descriptions: Mapping[str, str]
    masks: Masks


@dataclass(frozen=True)
class _Shown:
    """The view's line in the table ``PORTS``."""

    port: str
    table: str
    query_hash: str
    roles: tuple[str, ...]


def publish(server: Server, publication: Publication, ports: Callable[[str], bool]) -> list[str]:
    """Have the view show the version. Gives what is worth telling of the server, a line each.

    Args:
        server: The server.
        publication: What is to be shown.
        ports: Whether a port of the product still is.

    Raises:
        StoreError: what stands at the view's place is not the port's, the server cannot do what the grants ask for,
            or it failed. What was shown still is.
    """
    return _Publisher(server, publication).publish(ports)


class _Publisher:
    def __init__(self, server: Server, publication: Publication) -> None:
        self.server = server
        self.publication = publication
        self.guard = publication.guard
        endpoint = publication.endpoint
        self.database, self.schema, self.view = endpoint.database, endpoint.schema, endpoint.view
        self.hidden = f"dp_{publication.product}"
        digest = hashlib.sha256(f"{self.schema}.{self.view}".encode()).hexdigest()[:6].upper()
        self.prefix = f"{re.sub('[^A-Z0-9_]', '_', self.view.upper())[:60]}_{digest}_"

    def publish(self, ports: Callable[[str], bool]) -> list[str]:
        self._make_schemas()
        shown = self._read_shown()
        told = self._check_place(shown, ports)
        if self.guard.is_decided:
            self._check_roles_are_known()
        table = f"{self.prefix}{self._fingerprint()}"
        tables = self._tables()
        if table not in tables:
            self._load(table)
        query = ViewWriter(
            self.guard,
            {column.name: column.type for column in self.publication.snapshot.columns},
            self._behind(table),
            self._behind("CLAIMS"),
        ).query()
        statement = self._view_statement(query)
        query_hash = hashlib.sha256(statement.encode()).hexdigest()[:32]
        roles = tuple(roles_of(self.guard)) if self.guard.is_decided else ()
        if shown is None:
            # Said before the view is there: who is killed in between finds a view of their own.
            self._write_shown(_Shown(self.publication.port, table, "", ()))
        # Also where the text is what it was: somebody may have changed the view.
        self.server.run(statement)
        granted, absent = self._grant(roles, shown.roles if shown else ())
        now = _Shown(self.publication.port, table, query_hash, granted)
        if now != shown:
            self._write_shown(now)
        # The table before is kept for who is in the middle of reading it; those before that one go.
        kept = {table, *([shown.table] if shown else [])}
        for name in tables:
            if name not in kept:
                self.server.run(f"drop table if exists {self._behind(name)}")
        if absent:
            told.append(f"no role {', '.join(absent)} is on the server, so nobody has these grants")
        return told

    # -- what is there ------------------------------------------------------------------------------------------

    def _make_schemas(self) -> None:
        information = f"{quoted_name(self.database)}.information_schema"
        there = {row[0] for row in self.server.run(f"select schema_name from {information}.schemata")}
        for schema in (self.hidden, self.schema):
            if server_name(schema) not in there:
                self.server.run(f"create schema if not exists {full_name(self.database, schema)}")
        self.server.run(
            f"create table if not exists {self._behind('PORTS')} (SCHEMA_NAME varchar not null, "
            "VIEW_NAME varchar not null, PORT varchar not null, TABLE_NAME varchar not null, "
            "QUERY_HASH varchar not null, ROLES varchar not null, primary key (SCHEMA_NAME, VIEW_NAME))"
        )
        self.server.run(
            f"create table if not exists {self._behind('CLAIMS')} "
            "(LOGIN varchar not null, CLAIM varchar not null, VALUE varchar not null)"
        )

    def _check_place(self, shown: _Shown | None, ports: Callable[[str], bool]) -> list[str]:
        name = f"{self.schema}.{self.view}"
        is_view, is_table = self._is_view(), self._is_table()
        if shown is None:
            if is_view or is_table:
                raise StoreError(
                    f"{name} is there already, and no port of this product made it; drop it, or name another view"
                )
            return []
        if shown.port != self.publication.port and ports(shown.port):
            raise StoreError(f"{name} is the view of the port {shown.port}; name another one")
        if is_table:
            raise StoreError(f"{name} has been replaced by something that is no view; drop it")
        if shown.query_hash and not is_view:
            return [f"{name} had been dropped by somebody; it was made again"]
        return []

    def _check_roles_are_known(self) -> None:
        try:
            self.server.run("select is_role_in_session('PUBLIC')")
        except snowflake.connector.errors.ProgrammingError as error:
            raise StoreError(
                "the server does not know who has which role, so masks and row filters would not hold, and nothing "
                f"was published: {said(error)}"
            ) from None

    def _is_view(self) -> bool:
        return self._is_in("views")

    def _is_table(self) -> bool:
        return not self._is_in("views") and self._is_in("tables")

    def _is_in(self, what: str) -> bool:
        return bool(
            self.server.run(
                f"select 1 from {quoted_name(self.database)}.information_schema.{what} "
                "where table_schema = %s and table_name = %s",
                (server_name(self.schema), server_name(self.view)),
            )
        )

    def _tables(self) -> list[str]:
        """The tables of the view's versions, and of those that were not loaded whole."""
        rows = self.server.run(
            f"select table_name from {quoted_name(self.database)}.information_schema.tables "
            "where table_schema = %s and startswith(table_name, %s)",
            (server_name(self.hidden), self.prefix),
        )
        return [str(row[0]) for row in rows]

    def _behind(self, name: str) -> str:
        return full_name(self.database, self.hidden, name)

    def _read_shown(self) -> _Shown | None:
        rows = self.server.run(
            f"select PORT, TABLE_NAME, QUERY_HASH, ROLES from {self._behind('PORTS')} "
            "where SCHEMA_NAME = %s and VIEW_NAME = %s",
            (self.schema, self.view),
        )
        if not rows:
            return None
        port, table, query_hash, roles = rows[0]
        return _Shown(port, table, query_hash, tuple(json.loads(roles)))

    def _write_shown(self, shown: _Shown) -> None:
        table, view = self._behind("PORTS"), (self.schema, self.view)
        self.server.run("begin")
        self.server.run(f"delete from {table} where SCHEMA_NAME = %s and VIEW_NAME = %s", view)
        self.server.run(
            f"insert into {table} (SCHEMA_NAME, VIEW_NAME, PORT, TABLE_NAME, QUERY_HASH, ROLES) "
            "values (%s, %s, %s, %s, %s, %s)",
            (*view, shown.port, shown.table, shown.query_hash, json.dumps(shown.roles)),
        )
        self.server.run("commit")

    # -- rows -----------------------------------------------------------------------------------------------------

    def _load(self, table: str) -> None:
        """Load the version into a table that gets its name when all rows are in it."""
        loading = self._behind(f"{table}{_LOADING}")
        key = [
            f"C{number}"
            for number, one in enumerate(self.guard.stored)
            if one.method is None and one.column.name in self.publication.key
        ]
        columns = [
            f"C{number} {HOLDING.type_of(one.column.type)}" for number, one in enumerate(self.guard.stored)
        ]
        if len(key) == len(self.publication.key) > 0:
            columns.append(f"primary key ({', '.join(key)})")
        note = literal(f"A version of {self.schema}.{self.view}; written by dp_dagster alone.")
        self.server.run(f"create or replace table {loading} ({', '.join(columns)}) comment = {note}")
        # A stage of this session alone, which ends with it.
        stage = f"{quoted_name(self.database)}.{quoted_name(self.hidden)}.LOADING_{uuid.uuid4().hex.upper()}"
        self.server.run(f"create temporary stage {stage}")
        loaded = 0
        with tempfile.TemporaryDirectory(prefix="dp_dagster_") as folder:
            for file in self._files(Path(folder)):
                place = f"@{stage}/{file.stem}"
                self.server.run(
                    f"put {literal(file.as_uri())} {place} auto_compress = false overwrite = true"
                )
                answer = self.server.run(
                    f"copy into {loading} from {place} "
                    "file_format = (type = parquet use_logical_type = true binary_as_text = false) "
                    "match_by_column_name = case_sensitive on_error = abort_statement"
                )
                loaded += sum(int(row[_ROWS_LOADED]) for row in answer)
                file.unlink()
        if loaded != self.publication.snapshot.rows:
            raise StoreError(
                f"{loaded:,} of {self.publication.snapshot.rows:,} rows came to the server, so "
                f"{self.schema}.{self.view} was left as it was"
            )
        self.server.run(f"alter table {loading} rename to {self._behind(table)}")

    def _files(self, folder: Path) -> Iterator[Path]:
        """The version's rows as files for the stage, one at a time."""
        from pyarrow import Table, parquet

        publication = self.publication
        with batches(publication.snapshot, self.guard.stored, publication.masks) as found:
            writer: Any = None
            path = folder
            rows = number = 0
            try:
                for batch in found:
                    named = Table.from_batches([batch]).rename_columns(
                        [f"C{place}" for place in range(len(self.guard.stored))]
                    )
                    if writer is None:
                        path, rows, number = folder / f"part_{number}.parquet", 0, number + 1
                        writer = parquet.ParquetWriter(path, named.schema)
                    writer.write_table(named)
                    rows += named.num_rows
                    if rows >= _FILE_ROWS:
                        writer.close()
                        writer = None
                        yield path
                if writer is not None:
                    writer.close()
                    writer = None
                    yield path
            finally:
                if writer is not None:
                    writer.close()

    def _fingerprint(self) -> str:
        """The same for the same rows, stored in the same way. Says nothing of the secret."""
        snapshot, masks = self.publication.snapshot, self.publication.masks
        key = masks.secret if masks.secret and any(one.method == "hash" for one in self.guard.stored) else b""
        text = json.dumps(
            [
                snapshot.location.area,
                snapshot.version,
                [Path(file).name for file in snapshot.files],
                self.publication.key,
                [(one.column.name, one.column.type, one.method) for one in self.guard.stored],
            ]
        )
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:16].upper()

    # -- the view -----------------------------------------------------------------------------------------------

    def _view_statement(self, query: str) -> str:
        summary = self.publication.description.strip().partition("\n")[0]
        comment = f"{summary} (version {self.publication.snapshot.version})".strip()
        columns = []
        for column in self.guard.columns:
            description = self.publication.descriptions.get(column.name)
            columns.append(
                f"{quoted_name(column.name)}{f' comment {literal(description)}' if description else ''}"
            )
        return (
            f"create or replace secure view {full_name(self.database, self.schema, self.view)} "
            f"({', '.join(columns) or 'NOTHING'}) copy grants comment = {literal(comment)} as {query}"
        )

    def _grant(self, roles: tuple[str, ...], before: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
        """Grant what is wanted, and take back what was granted here and is not.

        Gives the roles that have it now, and those that are not on the server.
        """
        view = full_name(self.database, self.schema, self.view)
        for role in before:
            if role not in roles:
                self._for_role(f"revoke select on view {view} from role {_role(role)}")
        granted: list[str] = []
        absent: list[str] = []
        for role in roles:
            is_there = all(
                self._for_role(f"grant {what} to role {_role(role)}")
                for what in (
                    f"usage on database {quoted_name(self.database)}",
                    f"usage on schema {full_name(self.database, self.schema)}",
                    f"select on view {view}",
                )
            )
            (granted if is_there else absent).append(role)
        return tuple(granted), absent

    def _for_role(self, statement: str) -> bool:
        """Run a grant; whether its role is there."""
        try:
            self.server.run(statement)
        except snowflake.connector.errors.ProgrammingError as error:
            # 2003: the object does not exist, or not for us.
            if error.errno != 2003:
                raise
            return False
        return True


def _role(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
