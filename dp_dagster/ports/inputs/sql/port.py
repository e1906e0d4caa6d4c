"""The kind SQL of input ports."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, TypeVar
from urllib.parse import urlsplit

from dp_dagster.errors import DataProductError, InputError
from dp_dagster.ports.base import Fault, InputContext, InputPort, KindConfig, Landing, Written
from dp_dagster.ports.credentials import without_login
from dp_dagster.ports.inputs.sql.config import SqlConfig
from dp_dagster.ports.retries import with_retries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import duckdb

    from dp_dagster.ports.inputs.sql.reading import Reader

AnswerT = TypeVar("AnswerT")


class SqlInput(InputPort[SqlConfig]):
    """A table or query of a database: PostgreSQL, and whatever SQLAlchemy has a driver for."""

    kind = "SQL"
    summary = "a table or query of a database"
    Config: ClassVar[type[KindConfig]] = SqlConfig

    def check(self, config: SqlConfig, product_root: Path) -> Iterable[Fault]:
        """One of table and query, a URL without a password, and options that go together."""
        if (config.table is None) == (config.query is None):
            yield Fault(
                "table", "wants a table or a query, one of them", "write table: orders, or query: select …"
            )
        if config.overlap is not None and config.cursor is None:
            yield Fault("overlap", "says nothing without a cursor", "add cursor, or remove it")
        if config.cursor is not None and config.landing_mode == "replace":
            yield Fault("cursor", "says nothing with mode replace", "remove it, or set mode: append or merge")
        if config.columns and config.cursor is not None and config.cursor not in config.columns:
            yield Fault("columns", f"leave out the cursor, {config.cursor}", "add it")
        try:
            login = urlsplit(config.url).netloc.rpartition("@")[0]
        except ValueError:
            yield Fault("url", "is no URL", "write postgresql://host/database")
            return
        if "://" not in config.url and "${" not in config.url:
            yield Fault("url", f"{without_login(config.url)} is no URL", "write postgresql://host/database")
        if ":" in login and "${" not in login.partition(":")[2]:
            yield Fault(
                "url",
                "holds a password",
                "write credentials: {user: ${SHOP_USER}, password: ${SHOP_PASSWORD}}",
            )
        yield from config.faults()

    def location(self, config: SqlConfig) -> str:
        """The database and the table, as declared: what comes from the environment does not show."""
        return f"{without_login(config.url)} {config.table or 'query'}"

    def badges(self, config: SqlConfig) -> frozenset[str]:
        """The database."""
        scheme = without_login(config.url).partition("://")[0].partition("+")[0].lower()
        return frozenset({scheme if scheme.isidentifier() and scheme.isascii() else "sql"})

    def landing(self, config: SqlConfig) -> Landing:
        """By the cursor, where there is one."""
        return config.landing(config.cursor)

    def identity(self, config: SqlConfig) -> str:
        """All but how rows are fetched."""
        return config.identity()

    def fingerprint(self, config: SqlConfig, context: InputContext) -> str:
        """The cursor's highest value and how many rows have it; without a cursor, a hash of all rows."""
        return self._asked(config, context, lambda reader: reader.position()[0])

    def write(
        self,
        config: SqlConfig,
        context: InputContext,
        connection: duckdb.DuckDBPyConnection,
        destination: Path,
    ) -> Written:
        """Write the rows, or those that are new since the state."""
        from dp_dagster.ports.inputs.sql.reading import from_state, to_state

        last = from_state(context.state)

        def read(reader: Reader) -> Written:
            # Before the rows: whatever comes in between, where the database lets it, is then read the next time.
            fingerprint, highest = reader.position()
            written = replace(reader.write(destination, last), fingerprint=fingerprint)
            if config.cursor is None:
                return written
            newest = last if highest is None or (last is not None and highest < last) else highest
            return written if newest is None else replace(written, state={"cursor": to_state(newest)})

        return self._asked(config, context, read)

    def _asked(
        self, config: SqlConfig, context: InputContext, question: Callable[[Reader], AnswerT]
    ) -> AnswerT:
        from sqlalchemy import exc

        from dp_dagster.ports.inputs.sql.database import Database
        from dp_dagster.ports.inputs.sql.reading import Reader

        database = Database(config, context.what)

        def attempt() -> AnswerT:
            with database.connect() as connection:
                return question(Reader(database, connection, context))

        try:
            # Whoever only watches is asked again soon enough.
            retries = 0 if context.run_id == "watch" else config.retries
            return with_retries(attempt, retries=retries, reason=database.transient, say=context.say)
        except DataProductError:
            raise
        except (exc.SQLAlchemyError, OSError, ValueError, OverflowError) as error:
            raise database.explained(error) from None
        except TypeError as error:
            raise InputError(f"{context.what}: {error}") from error
