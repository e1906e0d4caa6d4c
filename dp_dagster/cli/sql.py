"""``dp sql``: query the SQL ports of any product at the storage root."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_dagster.cli.output import AsJson
from dp_dagster.errors import StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from dp_dagster.settings import Settings


def sql(
    query: Annotated[str, typer.Argument(help='For example "select * from flights.v1.vw_flights limit 5".')],
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows are printed.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Query published data. A port is product.v<major>.port; every product's catalog is attached read-only.

    Nothing can be written, and no file is read but those that ports show.
    """
    import duckdb

    from dp_dagster.cli.output import print_json, print_table
    from dp_dagster.settings import Settings

    with _published(Settings.load()) as (connection, attached):
        try:
            _refuse_other_than_reading(connection, query)
            connection.execute(query)
            columns = _distinct([description[0] for description in connection.description or []])
            rows = connection.fetchmany(limit + 1)
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise StoreError(f"{_first_lines(error)}; run the product again: dp run PRODUCT") from error
        except duckdb.PermissionException as error:
            raise UsageError(f"{_first_lines(error)}; dp sql reads ports, and no other files") from error
        except (duckdb.CatalogException, duckdb.BinderException) as error:
            known = ", ".join(attached) or "none yet, run dp run --all"
            raise UsageError(f"{_first_lines(error)}; products published here: {known}") from error
        except duckdb.Error as error:
            raise UsageError(_first_lines(error)) from error
    if as_json:
        print_json(
            [{name: _plain(value) for name, value in zip(columns, row, strict=True)} for row in rows[:limit]]
        )
    else:
        print_table(columns, [["" if value is None else value for value in row] for row in rows[:limit]])
    if len(rows) > limit:
        typer.echo(f"more than {limit} rows; the rest is not shown (--limit)", err=True)


@contextmanager
def _published(settings: Settings) -> Iterator[tuple[duckdb.DuckDBPyConnection, list[str]]]:
    """A connection on which all published products can be read, and nothing else can be reached."""
    import duckdb

    from dp_dagster.engines.duckdb import exact, in_memory, literal, literal_list, quote
    from dp_dagster.ports.outputs.sql import catalog_path, ensure_catalog
    from dp_dagster.storage.manifest import products, read_manifest
    from dp_dagster.storage.mirror import local_root

    with in_memory() as connection:
        # Secrets that the user keeps for DuckDB are none of a query's business.
        connection.execute("set allow_persistent_secrets = false; set autoload_known_extensions = false")
        attached, folders = [], []
        for product_id in products(settings.storage):
            path = catalog_path(settings.storage, product_id)
            manifest = read_manifest(settings.storage, product_id)
            if manifest is not None:
                ensure_catalog(settings.storage, product_id, manifest)
            if manifest is None or not path.is_file():
                continue
            try:
                connection.execute(f"attach {literal(str(path))} as {quote(product_id)} (read_only)")
            except duckdb.Error as error:
                raise StoreError(
                    f"the catalog {path} cannot be opened: {_first_lines(error)}; run the product again: "
                    f"dp run {product_id}"
                ) from error
            attached.append(product_id)
            for entry in (entry for entries in manifest.ports.values() for entry in entries.values()):
                table = manifest.location(settings.storage, entry).directory
                # A port with a copy of its own shows nothing of the table.
                shown = {(local_root(settings.storage) / file).parent for file in entry.files} or {table}
                # Views spell a path so that no part of it is a pattern.
                folders += [one for folder in shown for one in (f"{folder}/", exact(f"{folder}/"))]
        connection.execute(
            f"set allowed_directories = {literal_list(sorted(set(folders)))}; "
            "set enable_external_access = false; set lock_configuration = true"
        )
        yield connection, attached


def _refuse_other_than_reading(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    import duckdb

    statements = connection.extract_statements(query)
    # DuckDB makes two statements of one PIVOT; an EXPLAIN may hold, and with ANALYZE run, any other.
    allowed = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
    last = statements[-1] if statements else None
    if last is None or (len(statements) > 1 and "pivot" not in query.lower()):
        raise UsageError(f"the text holds {len(statements)} statements; dp sql runs one query")
    writes = last.type not in allowed or (
        last.type == duckdb.StatementType.EXPLAIN and "analyze" in query.lower()
    )
    if writes:
        raise UsageError(f"dp sql only reads; {last.type.name} statements are refused, write one SELECT")


def _distinct(names: Sequence[str]) -> list[str]:
    """Column names, those that come again numbered as DuckDB does in a view."""
    found: list[str] = []
    for name in names:
        number, free = 0, name
        while free in found:
            number += 1
            free = f"{name}_{number}"
        found.append(free)
    return found


def _first_lines(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return "\n".join(lines[:6])


def _plain(value: Any) -> Any:
    """A value as JSON has it. Exact numbers stay exact as text; bytes as hexadecimal."""
    import math
    from datetime import date, timedelta

    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool | date | timedelta):
        return value
    return str(value)
