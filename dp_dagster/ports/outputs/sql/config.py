"""Configuration of a SQL port."""

from __future__ import annotations

from pydantic import Field

from dp_dagster.ports.base import KindConfig


class SqlConfig(KindConfig):
    """Configuration of a SQL output port."""

    endpoint: str | None = Field(
        default=None,
        description="By default the product's DuckDB catalog file. `postgresql://host/database/schema/view` and "
        "`snowflake://database/schema/view` name a view on a server; see docs/sql-ports.md.",
    )
    credentials: str | None = Field(
        default=None,
        pattern=r"^[A-Z][A-Z0-9_]*$",
        max_length=60,
        description="Of a server: how the environment variables begin that hold what is needed to sign in: `SHOP` for "
        "`SHOP_USER`, `SHOP_PASSWORD` and so on. By default `PG` without underscore (`PGUSER`) or `SNOWFLAKE`.",
    )
    timeout: float = Field(
        default=60.0,
        gt=0,
        le=86_400,
        description="Of a server: seconds without any progress after which it is given up.",
    )
