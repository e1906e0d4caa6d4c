"""Configuration of a SQL input port."""

from __future__ import annotations

from pydantic import Field

from dp_dagster.ports.base import KindConfig
from dp_dagster.ports.credentials import Secret  # noqa: TC001 - pydantic reads annotations at run time
from dp_dagster.ports.inputs.incremental import CursorConfig


class SqlCredentials(KindConfig):
    """Who logs in, by reference."""

    user: Secret | None = Field(default=None, description="Name to log in with: `${SHOP_USER}`.")
    password: Secret | None = Field(default=None, description="Its password: `${SHOP_PASSWORD}`.")


class SqlConfig(CursorConfig):
    """Configuration of a SQL input port."""

    url: str = Field(
        min_length=1,
        description="Where the database is, as SQLAlchemy writes it: `postgresql://host/shop`. References "
        "(`${SHOP_URL}`) are read when the database is, and never shown. It holds no password.",
    )
    credentials: SqlCredentials | None = Field(
        default=None, description="`{user: ${SHOP_USER}, password: ${SHOP_PASSWORD}}`."
    )
    table: str | None = Field(
        default=None, min_length=1, description="A table or view: `orders`, `sales.orders`."
    )
    query: str | None = Field(default=None, min_length=1, description="A SELECT, instead of a table.")
    columns: tuple[str, ...] = Field(default=(), description="Columns to read. By default all.")
    cursor: str | None = Field(
        default=None,
        min_length=1,
        description="A column that only grows: a number that counts up, or when a row was last changed. What has been "
        "read before is not read again.",
    )
    overlap: int | str | None = Field(
        default=None,
        description="How far behind the cursor to read again (`PT5M`, or a number), for rows whose transaction "
        "committed late. Rows that are there already are not doubled.",
    )
    watch: str | None = Field(
        default=None,
        min_length=1,
        description="A SELECT of one row that changes whenever the data does, where looking at the data itself takes "
        "too long: `select max(changed_at) from prices`.",
    )
    types: dict[str, str] = Field(
        default_factory=dict,
        description="Types by column, as contracts write them (`decimal(12,2)`), over those of contract and database.",
    )
    timeout: float = Field(
        default=60.0, gt=0, le=3600, description="Seconds to wait for a connection, and for each answer."
    )
    batch_rows: int = Field(default=20_000, ge=1, le=1_000_000, description="Rows to fetch at a time.")
