"""``dp sql``: query the SQL ports of any product at the storage root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_dagster.cli.output import AsJson
from dp_dagster.errors import UsageError

if TYPE_CHECKING:
    import duckdb

    from dp_dagster.settings import Settings


def sql(
    query: Annotated[str, typer.Argument(help='For example "select * from flights.v1.vw_flights limit 5".')],
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows are printed.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Query published data. A port is product.v<major>.port; every product's catalog is attached read-only."""
    import duckdb

    from dp_dagster.cli.output import print_json, print_table
    from dp_dagster.settings import Settings

    settings = Settings.load()
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        attached = _attach(connection, settings)
        try:
            connection.execute(query)
            columns = [description[0] for description in connection.description or []]
            rows = connection.fetchmany(limit + 1)
        except duckdb.Error as error:
            known = f"; products published here: {', '.join(attached) or 'none yet, run dp run --all'}"
            raise UsageError(f"{_first_lines(error)}{known}") from error
    if as_json:
        print_json([_plain(dict(zip(columns, row, strict=True))) for row in rows[:limit]])
    else:
        print_table(columns, [["" if value is None else value for value in row] for row in rows[:limit]])
    if len(rows) > limit:
        typer.echo(f"more than {limit} rows; the rest is not shown (--limit)", err=True)


def _attach(connection: duckdb.DuckDBPyConnection, settings: Settings) -> list[str]:
    from dp_dagster.engines.duckdb import literal, prepare, quote
    from dp_dagster.ports.outputs.sql import catalog_path
    from dp_dagster.storage.manifest import products

    prepare(connection)
    attached = []
    for product_id in products(settings.storage):
        path = catalog_path(settings.storage, product_id)
        if path.is_file():
            connection.execute(f"attach {literal(str(path))} as {quote(product_id)} (read_only)")
            attached.append(product_id)
    return attached


def _first_lines(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return "\n".join(lines[:6])


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    from decimal import Decimal

    # Numbers stay exact as text; bytes as hexadecimal.
    return {
        name: str(value) if isinstance(value, Decimal) else value.hex() if isinstance(value, bytes) else value
        for name, value in row.items()
    }
