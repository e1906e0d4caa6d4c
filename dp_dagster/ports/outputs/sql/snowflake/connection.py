"""Connections to Snowflake that are not waited for without end, and errors in our own words."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import snowflake.connector

from dp_dagster.errors import SettingsError, StoreError
from dp_dagster.ports.outputs.sql.credentials import from_environment, without_secrets
from dp_dagster.ports.outputs.sql.snowflake.names import server_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from snowflake.connector import SnowflakeConnection

    from dp_dagster.ports.outputs.sql.config import SqlConfig
    from dp_dagster.ports.outputs.sql.endpoint import Endpoint

_PREFIX = "SNOWFLAKE"
_OPTIONS = (
    "account", "user", "password", "authenticator", "token", "private_key_file", "private_key_file_pwd", "role",
    "warehouse", "host", "port", "protocol",
)  # fmt: skip
_SECRETS = ("password", "token", "private_key_file_pwd")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_LOGIN_SECONDS = 20
_REQUEST = re.compile(r"\s*\(request_id=[^)]*\)")


@dataclass
class Server:
    """An open session.

    Attributes:
        connection: The library's own.
        account: The account that it is in.
    """

    connection: SnowflakeConnection
    account: str

    def run(self, query: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement, and give its rows."""
        with self.connection.cursor() as cursor:
            cursor.execute(query, parameters) if parameters is not None else cursor.execute(query)
            return [tuple(row) for row in cursor.fetchall()]


@contextmanager
def connected(endpoint: Endpoint, config: SqlConfig) -> Iterator[Server]:
    """A session in the endpoint's database, in UTC. Each statement commits by itself.

    Raises:
        SettingsError: a variable of the environment is missing, or would send a password in the clear.
        StoreError: the server cannot be reached, refuses, or failed. No message holds a secret.
    """
    prefix = config.credentials or _PREFIX
    options: dict[str, Any] = dict(from_environment(prefix, _OPTIONS, ("account", "user")))
    if "port" in options:
        options["port"] = _port(prefix, options["port"])
    if options.get("protocol", "https") != "https" and options.get("host") not in _LOOPBACK:
        raise SettingsError(f"environment variable {prefix}_PROTOCOL: only https leaves this machine")
    secrets = [options.get(name) for name in _SECRETS]
    place = f"Snowflake account {options['account']}, database {server_name(endpoint.database)}"
    seconds = max(1, round(config.timeout))
    try:
        connection = snowflake.connector.connect(
            database=server_name(endpoint.database),
            application="dp_dagster",
            login_timeout=min(seconds, _LOGIN_SECONDS),
            request_timeout=seconds,
            enable_server_session_keep_alive_auto_detection=False,
            session_parameters={
                "CLIENT_TELEMETRY_ENABLED": False,
                "TIMEZONE": "UTC",
                # A COPY may take its time; that it is still at work is told with each request.
                "STATEMENT_TIMEOUT_IN_SECONDS": max(seconds, 3600),
                "LOCK_TIMEOUT": seconds,
                "QUERY_TAG": "dp_dagster",
            },
            **options,
        )
        try:
            yield Server(connection, options["account"])
        finally:
            connection.close()
    except snowflake.connector.errors.Error as error:
        raise StoreError(f"{place}: {said(error, secrets)}") from None


def said(error: snowflake.connector.errors.Error, secrets: Sequence[str | None] = ()) -> str:
    """What the server said first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # A line that ends with a colon only says what kind of error the next line is about.
    told = lines[:2] if lines and lines[0].endswith(":") else lines[:1]
    text = _REQUEST.sub("", " ".join(told)) or type(error).__name__
    return without_secrets(text, [*secrets, os.environ.get(f"{_PREFIX}_PASSWORD")])


def _port(prefix: str, text: str) -> int:
    if not text.isdecimal():
        raise SettingsError(f"environment variable {prefix}_PORT: is no number")
    return int(text)
