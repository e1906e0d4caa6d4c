"""The database behind the records: tables, one writer at a time, errors in our own words."""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import Column, Engine, Index, Integer, MetaData, String, Table, Text, event, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from dp_dagster.errors import LockedError, NotInstalledError, SettingsError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import URL, Connection

# All who write records must take the same advisory lock; the number spells "dp_dagst".
_ADVISORY_LOCK = int.from_bytes(b"dp_dagst", "big")
_LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's code for a lock that was not free in time

_REFUSE_SQLITE = """
create trigger dp_records_no_{action} before {action} on dp_records
begin select raise(abort, 'records are only ever appended'); end
"""
_REFUSAL_POSTGRESQL = """
create or replace function dp_records_refuse() returns trigger language plpgsql as
$$ begin raise exception 'records are only ever appended'; end $$
"""
_REFUSE_POSTGRESQL = """
create trigger dp_records_no_{action} before {action} on dp_records
for each statement execute function dp_records_refuse()
"""
# A guard against accidents; against intent there is the chain.
_ONLY_APPENDED = {
    "sqlite": (_REFUSE_SQLITE,),
    "postgresql": (_REFUSAL_POSTGRESQL, _REFUSE_POSTGRESQL),
}


class RecordsDatabase:
    """An open database with the tables of the records in it."""

    def __init__(self, engine: Engine, lock_timeout: float) -> None:
        self._engine = engine
        self._writer = engine.execution_options(dp_writing=True)
        self._lock_timeout = lock_timeout
        metadata = MetaData()
        self.records = Table(
            "dp_records",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("at", String(32), nullable=False),
            Column("kind", String(32), nullable=False),
            Column("product", Text, nullable=False),
            Column("subject", Text, nullable=False),
            Column("actor", Text, nullable=False),
            Column("run_id", Text, nullable=False),
            Column("payload", Text, nullable=False),
            Column("previous_hash", String(64), nullable=False, unique=True),
            Column("hash", String(64), nullable=False),
        )
        # The id comes last in each, so that a page of the newest is read without sorting.
        for name in ("product", "actor", "kind", "at"):
            Index(f"dp_records_by_{name}", self.records.c[name], self.records.c.id)
        # Where the chain ends: without it, records missing at the end would not show.
        self.head = Table(
            "dp_records_head",
            metadata,
            Column("count", Integer, nullable=False),
            Column("hash", String(64), nullable=False),
        )
        self._metadata = metadata

    @classmethod
    def open(cls, url: str, lock_timeout: float) -> RecordsDatabase:
        """Connect, and make the tables where they are not there yet.

        Raises:
            SettingsError: the URL is not one of SQLite or PostgreSQL.
            NotInstalledError: the driver is missing.
            StoreError: the database cannot be reached or made.
        """
        parsed = _parse(url)
        sqlite = parsed.get_backend_name() == "sqlite"
        if sqlite and parsed.database:
            try:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"{parsed.database} cannot be made: {error.strerror or error}") from error
        try:
            # A connection for each use: none is left open when a process is forked, killed or forgotten.
            engine = sqlalchemy.create_engine(
                parsed, poolclass=NullPool, connect_args={"timeout": lock_timeout} if sqlite else {}
            )
        except ImportError as error:
            raise NotInstalledError(
                f"records on {parsed.get_backend_name()} need a driver: pip install 'psycopg[binary]'"
            ) from error
        if sqlite:
            event.listen(engine, "connect", _prepare_sqlite(lock_timeout))
            event.listen(engine, "begin", _begin_sqlite)
        database = cls(engine, lock_timeout)
        database._make()
        return database

    def make(self, tables: MetaData) -> None:
        """Make those tables that are not there yet; harmless when several processes do it at once.

        Other stores beside the chain (accesses, readings, alerts) keep their tables in the same database.
        """
        with self.reading() as connection:
            there = set(sqlalchemy.inspect(connection).get_table_names())
        if there.issuperset(tables.tables):
            return
        with self.writing() as connection:
            tables.create_all(connection)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that no other writer shares; committed at the end.

        Raises:
            LockedError: another writer did not finish in time.
            StoreError: the database failed; nothing was written.
        """
        with self._translated(), self._writer.begin() as connection:
            if connection.dialect.name == "postgresql":
                # Locks of the transaction: the server drops them when the connection or its process dies.
                connection.execute(
                    text("select set_config('lock_timeout', :timeout, true)"),
                    {"timeout": f"{max(int(self._lock_timeout * 1000), 1)}ms"},
                )
                connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state throughout.

        Raises:
            StoreError: the database failed.
        """
        with self._translated(), self._engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    def _make(self) -> None:
        with self.reading() as connection:
            is_there = sqlalchemy.inspect(connection).has_table(self.head.name)
            missing = self._missing_indexes(connection) if is_there else []
        if is_there and not missing:
            return
        with self.writing() as connection:
            if sqlalchemy.inspect(connection).has_table(self.head.name):
                # Somebody else was quicker, or an earlier release made the tables.
                for index in self._missing_indexes(connection):
                    index.create(connection)
                return
            self._metadata.create_all(connection)
            for action in ("update", "delete"):
                for template in _ONLY_APPENDED[connection.dialect.name]:
                    connection.execute(text(template.format(action=action)))
            connection.execute(self.head.insert().values(count=0, hash="0" * 64))

    def _missing_indexes(self, connection: Connection) -> list[Index]:
        there = {index["name"] for index in sqlalchemy.inspect(connection).get_indexes(self.records.name)}
        return [index for index in self.records.indexes if index.name not in there]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        where = self._engine.url.render_as_string(hide_password=True)
        try:
            yield
        except DBAPIError as error:
            cause = error.orig
            if getattr(cause, "sqlstate", None) == _LOCK_NOT_AVAILABLE or "database is locked" in str(cause):
                raise LockedError(
                    f"another writer held the records at {where} for more than {self._lock_timeout:g} s; "
                    "try again later"
                ) from error
            raise StoreError(f"records at {where}: {cause}") from error
        except SQLAlchemyError as error:
            raise StoreError(f"records at {where}: {error}") from error


def _parse(url: str) -> URL:
    try:
        parsed = sqlalchemy.make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError) as error:
        raise SettingsError("the records' URL cannot be read; write sqlite:///… or postgresql://…") from error
    if backend == "postgresql" and "+" not in parsed.drivername:
        return parsed.set(drivername="postgresql+psycopg")
    if backend not in _ONLY_APPENDED:
        raise SettingsError(f"records cannot be kept in {backend}; use sqlite:///… or postgresql://…")
    return parsed


def _prepare_sqlite(lock_timeout: float) -> Any:
    def prepare(connection: Any, _: object) -> None:
        # The driver's own transactions begin too late to serialise writers; see _begin_sqlite.
        connection.isolation_level = None
        deadline = time.monotonic() + lock_timeout
        while True:
            try:
                connection.execute("pragma journal_mode = wal")
                break
            except sqlite3.OperationalError as error:
                # Several processes that make the database at once; SQLite does not wait by itself here.
                if "locked" not in str(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
        connection.execute("pragma synchronous = full")

    return prepare


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("dp_writing")
    connection.exec_driver_sql("begin immediate" if writing else "begin")
