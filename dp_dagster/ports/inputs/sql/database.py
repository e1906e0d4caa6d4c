"""A connection to a database that is only read: one state of it, with time limits, and errors without secrets."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import InputError, NotInstalledError, SettingsError, StoreError
from dp_dagster.ports.credentials import Secrets, without_login

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from dp_dagster.ports.inputs.sql.config import SqlConfig

# What nobody but a person mends: who logs in, what is asked, and where.
_LASTING = ("22", "28", "3D", "42")
_LASTING_TEXTS = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "is not permitted to log in",
)
_DRIVERS = {
    "psycopg": "pip install 'dp_dagster[postgres]'",
    "snowflake.sqlalchemy": "pip install snowflake-sqlalchemy",
}


class Database:
    """The database that an input port names.

    Args:
        config: The port's configuration.
        what: The port, for messages.
    """

    def __init__(self, config: SqlConfig, what: str) -> None:
        self.config = config
        self.what = what
        self.secrets = Secrets(what)
        self.engine = self._engine()
        self._is_silent = False

    @property
    def dialect(self) -> str:
        """What SQLAlchemy calls the kind of database: ``postgresql``, ``sqlite``."""
        return self.engine.dialect.name

    @contextmanager
    def connect(self) -> Iterator[sqlalchemy.Connection]:
        """A connection that sees one state of the database until it is closed, and changes nothing."""
        options: dict[str, Any] = {}
        if self.dialect == "postgresql":
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        try:
            with self.engine.connect() as connection:
                connection.execution_options(**options)
                if self.dialect == "postgresql":
                    # Rows of a table come in the same order each time.
                    connection.exec_driver_sql("set synchronize_seqscans = off; set time zone 'UTC'")
                yield connection
        finally:
            self.engine.dispose()

    @contextmanager
    def in_time(self, connection: sqlalchemy.Connection) -> Iterator[None]:
        """Hang up when nothing comes for too long. PostgreSQL ends a slow statement by itself; a line may be dead."""
        driver: Any = connection.connection.driver_connection
        if self.dialect != "postgresql" or driver is None:
            yield
            return

        def hang_up() -> None:
            self._is_silent = True
            with socket.socket(fileno=os.dup(driver.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self.config.timeout * 1.25 + 0.25, hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def transient(self, error: Exception) -> str | None:
        """Why a failure may pass by itself; ``None`` where it will not."""
        from sqlalchemy import exc

        if not isinstance(error, exc.DBAPIError):
            return None
        state = str(getattr(error.orig, "sqlstate", "") or "")
        text = str(error.orig)
        if state.startswith(_LASTING) or any(lasting in text for lasting in _LASTING_TEXTS):
            return None
        if (
            not isinstance(error, exc.OperationalError | exc.InterfaceError)
            and not error.connection_invalidated
        ):
            return None
        return f"{self.what}: {self.place}: {self._said(error)}"

    def explained(self, error: Exception) -> Exception:
        """Our error for one of SQLAlchemy's or of a driver, without statements and secrets."""
        from sqlalchemy import exc

        where = f"{self.what}: {self.place}: "
        if isinstance(error, exc.DBAPIError) and isinstance(error, exc.OperationalError | exc.InterfaceError):
            return StoreError(f"{where}{self._said(error)}")
        if isinstance(error, exc.NoSuchTableError):
            return InputError(f"{where}there is no table {error}")
        return InputError(f"{where}{self._said(error)}")

    @property
    def place(self) -> str:
        """The database, as it may be shown."""
        return without_login(self.config.url)

    def _said(self, error: Exception) -> str:
        if self._is_silent:
            self._is_silent = False
            return f"no answer in {self.config.timeout:g} s"
        cause = getattr(error, "orig", None) or error
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        # libpq tells of several addresses of one host, and of each at length.
        kept = [line for line in lines if not line.startswith(("LINE ", "^", "Multiple connection attempts"))]
        return self.secrets.hide("; ".join(kept[:2]) or type(cause).__name__)

    def _engine(self) -> sqlalchemy.Engine:
        import sqlalchemy
        from sqlalchemy import exc

        try:
            url = sqlalchemy.make_url(self.secrets.value(self.config.url))
        except (exc.ArgumentError, ValueError):
            # Its message holds the text, with whatever came from the environment.
            raise SettingsError(
                f"{self.what}: url {self.place} is no URL of a database; write postgresql://host/database"
            ) from None
        given = self.config.credentials
        if given is not None and given.user is not None:
            url = url.set(username=self.secrets.value(given.user))
        if given is not None and given.password is not None:
            url = url.set(password=self.secrets.value(given.password))
        if url.drivername in {"postgres", "postgresql"}:
            url = url.set(drivername="postgresql+psycopg")
        try:
            return sqlalchemy.create_engine(
                url,
                poolclass=sqlalchemy.NullPool,
                connect_args=self._arguments(url.get_backend_name()),
                hide_parameters=True,
            )
        except ModuleNotFoundError as error:
            install = _DRIVERS.get(error.name or "", f"pip install {error.name}")
            raise NotInstalledError(f"{self.what}: {self.place} needs a driver: {install}") from error
        except exc.NoSuchModuleError as error:
            raise SettingsError(
                f"{self.what}: no driver for {url.drivername} databases is installed; install the one that SQLAlchemy "
                "names for it"
            ) from error

    def _arguments(self, backend: str) -> dict[str, Any]:
        seconds = self.config.timeout
        if backend == "postgresql":
            milliseconds = int(seconds * 1000)
            return {
                "application_name": f"dp_dagster {self.what}",
                "connect_timeout": max(int(seconds), 1),
                "options": f"-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout=0",
                # A server that is gone without a word is noticed, too.
                "keepalives_idle": max(int(seconds / 2), 1),
                "keepalives_interval": max(int(seconds / 6), 1),
                "keepalives_count": 3,
                "tcp_user_timeout": milliseconds,
            }
        if backend in {"mysql", "mariadb"}:
            return {"connect_timeout": max(int(seconds), 1), "read_timeout": max(int(seconds), 1)}
        return {"timeout": seconds} if backend == "sqlite" else {}
