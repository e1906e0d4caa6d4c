"""Connections to a PostgreSQL server that is never waited for without end, and errors in our own words."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from dp_dagster.errors import LockedError, StoreError
from dp_dagster.ports.outputs.sql.credentials import from_environment, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from psycopg import Connection, Cursor
    from psycopg.sql import SQL, Composed

    from dp_dagster.ports.outputs.sql.config import SqlConfig
    from dp_dagster.ports.outputs.sql.endpoint import Endpoint

_CONNECT_SECONDS = 10
_OLDEST = 140_000
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_OPTIONS = ("user", "password", "sslmode", "sslrootcert", "sslcert", "sslkey")


@contextmanager
def connected(endpoint: Endpoint, config: SqlConfig) -> Iterator[Server]:
    """A connection in which each statement commits by itself, unless a transaction is begun.

    Names are looked up in the server's own catalog first, so that nobody can slip in a function of theirs; times are
    UTC. A server that takes more than the configuration's ``timeout`` for a statement, or is not heard of for that
    long, is given up.

    Raises:
        SettingsError: a variable of the environment is missing.
        LockedError: somebody holds a lock on something that has to be changed.
        StoreError: the server cannot be reached, refuses, or failed. No message holds a password.
    """
    options: dict[str, Any] = {}
    if config.credentials is not None:
        options.update(from_environment(config.credentials, _OPTIONS, ("user",)))
    if "sslmode" not in options and "PGSSLMODE" not in os.environ and endpoint.host not in _LOOPBACK:
        # What libpq does by itself falls back to plain text.
        options["sslmode"] = "require"
    secrets = (options.get("password"), os.environ.get("PGPASSWORD"))
    place = f"PostgreSQL at {endpoint.server}, database {endpoint.database}"
    milliseconds = max(int(config.timeout * 1000), 1)
    try:
        connection = psycopg.connect(
            host=endpoint.host,
            port=endpoint.port,
            dbname=endpoint.database,
            autocommit=True,
            connect_timeout=max(2, min(_CONNECT_SECONDS, round(config.timeout))),
            application_name="dp_dagster",
            client_encoding="UTF8",
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=milliseconds,
            **options,
        )
    except psycopg.Error as error:
        raise StoreError(f"{place}: {_said(error, secrets)}") from None
    server = Server(connection, config.timeout)
    try:
        with server.watched():
            server.execute(
                "select set_config('search_path', 'pg_catalog, pg_temp', false), set_config('timezone', 'UTC', false), "
                "set_config('datestyle', 'ISO, YMD', false), set_config('statement_timeout', %s, false), "
                "set_config('idle_in_transaction_session_timeout', '0', false), "
                "set_config('standard_conforming_strings', 'on', false)",
                (str(milliseconds),),
            )
            _check(connection, place)
            yield server
    except psycopg.errors.LockNotAvailable as error:
        raise LockedError(
            f"{place}: somebody holds a lock on what has to be changed; try again later"
        ) from error
    except psycopg.Error as error:
        if server.gave_up:
            raise StoreError(f"{place}: gave no sign of life for {config.timeout:g} seconds") from None
        raise StoreError(f"{place}: {_said(error, secrets)}") from None
    finally:
        connection.close()


def _check(connection: Connection[Any], place: str) -> None:
    if connection.info.server_version < _OLDEST:
        raise StoreError(
            f"{place}: is version {connection.info.server_version // 10_000}; 14 is the oldest that will do"
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            f"{place}: has the encoding {encoding}, which cannot hold every text; make one with UTF8"
        )


def _said(error: psycopg.Error, secrets: tuple[str | None, ...]) -> str:
    """What the server said, without details: these may hold values of rows."""
    primary = error.diag.message_primary or str(error)
    text = " ".join(line.strip() for line in primary.splitlines() if line.strip())
    return without_secrets(text or type(error).__name__, secrets)


class Server:
    """A connection, and a watch that cuts it when the server has stopped altogether.

    The server's own ``statement_timeout`` comes first where it still counts. What this process does between two
    statements takes as long as it takes.

    Attributes:
        connection: For what needs the library's own.
        gave_up: Whether the connection was cut.
    """

    def __init__(self, connection: Connection[Any], seconds: float) -> None:
        self.connection = connection
        self.gave_up = False
        self._seconds = seconds * 1.2 + 1
        self._waiting_since: float | None = None
        self._ended = threading.Event()

    def execute(self, query: str | SQL | Composed, parameters: Sequence[Any] | None = None) -> Cursor[Any]:
        """Run a statement."""
        with self._waiting():
            return self.connection.execute(query, parameters)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self.execute("begin")
        try:
            yield
        except BaseException:
            if not self.connection.closed and not self.connection.broken:
                self.execute("rollback")
            raise
        self.execute("commit")

    def copy(self, query: Composed, chunks: Iterable[bytes]) -> None:
        """Run a COPY that reads these chunks; each that the server has taken counts as a sign of life."""
        with self.connection.cursor() as cursor:
            # The library's own way out of a COPY: an error in here tells the server to forget what it was sent.
            with cursor.copy(query) as copy:
                for chunk in chunks:
                    with self._waiting():
                        copy.write(chunk)
                self._waiting_since = time.monotonic()
            self._waiting_since = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep watch."""
        # A descriptor of our own: the connection's may be closed, and its number taken, while it is looked at.
        wire = socket.socket(fileno=os.dup(self.connection.fileno()))
        watch = threading.Thread(target=self._look, args=(wire,), name="dp_dagster server watch", daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._ended.set()
            watch.join()
            wire.close()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = None

    def _look(self, wire: socket.socket) -> None:
        while not self._ended.wait(min(0.5, self._seconds / 4)):
            since = self._waiting_since
            if since is not None and time.monotonic() - since > self._seconds:
                self.gave_up = True
                wire.shutdown(socket.SHUT_RDWR)
                return
