"""Records (JSON objects) as rows: columns and types of a stream that has no schema of its own.

Types are those of the contract, else those of the version before where all values have them, else found by looking at
all values. Nested values are kept as JSON text, unless the contract says what they are.
"""

from __future__ import annotations

from functools import partial
from typing import IO, TYPE_CHECKING, Any

from dp_dagster.errors import InputError, TransformError
from dp_dagster.ports.inputs.json_numbers import dumps, dumps_as_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import duckdb

    from dp_dagster.ports.base import InputContext, Rejected

# What DuckDB may take texts for; read as text they are what they are.
_TEXTS = frozenset({"string", "date", "timestamp", "timestamp(UTC)"})


class Records:
    """Collects records in a file beside the destination, and makes rows of them.

    Args:
        context: Of the input port.
        types: Canonical types by column, over those of the contract.
        file: Where the records are kept meanwhile.
    """

    def __init__(self, context: InputContext, types: Mapping[str, str], file: IO[str]) -> None:
        self.context = context
        self.count = 0
        self._file = file
        contract = context.contract.columns if context.contract else ()
        self._declared = {**{column.name: column.type for column in contract if column.type}, **types}
        self._known = {column.name: column.type for column in context.columns}
        self._nested = {name for name, kind in self._declared.items() if "<" in kind}
        self._names: dict[str, None] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Keep one record."""
        kept = {
            name: dumps(value) if isinstance(value, dict | list) and name not in self._nested else value
            for name, value in record.items()
        }
        self._names.update(dict.fromkeys(kept))
        self._file.write(dumps_as_text(kept))
        self._file.write("\n")
        self.count += 1

    def write(
        self, connection: duckdb.DuckDBPyConnection, destination: Path, place: str, *, sets_aside: bool
    ) -> tuple[Rejected, ...]:
        """Write the rows.

        Args:
            connection: A work database.
            destination: The Parquet file.
            place: Where the records came from, for messages.
            sets_aside: Whether records with values that do not fit their declared types are set aside.

        Returns:
            What was set aside.

        Raises:
            InputError: a value does not fit its declared type; names column and value.
        """
        import duckdb

        from dp_dagster.ports.inputs.exactly import Reading, write_exactly
        from dp_dagster.ports.inputs.files.reading import explain

        self._file.flush()
        context = self.context
        try:
            types, found = self._types(connection)
            reading = Reading(
                select=partial(self._select, types),
                declared=self._declared,
                otherwise={
                    name: found[name]
                    for name in self._known
                    if name not in self._declared and found.get(name)
                },
                sets_aside=sets_aside,
                what=context.what,
                where=f"{context.what}: {place}: ",
                classified=context.contract.classified if context.contract else (),
            )
            return write_exactly(connection, reading, destination)
        except TransformError as error:
            raise InputError(str(error)) from error
        except duckdb.Error as error:
            raise InputError(
                f"{context.what}: {place}: {explain(error, {self._file.name: 'the records'})}"
            ) from error

    def _select(self, known: Mapping[str, str], types: Mapping[str, str]) -> str:
        from dp_dagster.engines.duckdb import literal, quote

        all_types = {**known, **types}
        present = [name for name in all_types if name in self._names]
        absent = [
            f"null::{kind} as {quote(name)}" for name, kind in all_types.items() if name not in self._names
        ]
        if not all_types:
            raise InputError(
                f"{self.context.what}: there are no records, and nothing says which columns they have; add a contract"
            )
        if not present:
            return f"select {', '.join(absent)} where false"
        pairs = ", ".join(f"{literal(name)}: {literal(all_types[name])}" for name in present)
        columns = ", ".join([*(quote(name) for name in present), *absent])
        return (
            f"select {columns} from read_json({literal(self._file.name)}, format = 'newline_delimited', "
            f"columns = {{{pairs}}}, maximum_object_size = 268435456)"
        )

    def _types(self, connection: duckdb.DuckDBPyConnection) -> tuple[dict[str, str], dict[str, str]]:
        """DuckDB types of all columns, those too that are known without having come; and those found by looking."""
        from dp_dagster.contracts.duckdb_types import duckdb_type

        found = self._found(connection)
        types: dict[str, str] = {}
        for name in dict.fromkeys([*self._known, *self._declared, *self._names]):
            if name in self._declared:
                types[name] = duckdb_type(self._declared[name])
            elif name not in found or (
                name in self._known and _may_be_read_as(found[name], self._known[name])
            ):
                types[name] = duckdb_type(self._known[name])
            else:
                types[name] = found[name] or "VARCHAR"
        return types, found

    def _found(self, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
        """Types by looking at all values; empty for a column without any."""
        if not self.count or not self._names:
            return {}
        from dp_dagster.engines.duckdb import literal, quote
        from dp_dagster.engines.stored_types import stored_as

        relation = connection.sql(
            f"select * from read_json({literal(self._file.name)}, format = 'newline_delimited', sample_size = -1, "
            "maximum_object_size = 268435456)"
        )
        found = {}
        for name, kind in zip(relation.columns, relation.dtypes, strict=True):
            text = str(kind)
            if text == "JSON":
                # No value at all, or values of several types, which text holds as they are.
                row = relation.aggregate(f"count({quote(name)})").fetchone()
                found[name] = "VARCHAR" if row and row[0] else ""
            else:
                found[name] = "VARCHAR" if stored_as(kind, name).refused or text == "UUID" else text
        return {name: found.get(name, "") for name in self._names}


def _may_be_read_as(found: str, known: str) -> bool:
    """Whether values that look like one type are to be read as the type that the column has had."""
    from dp_dagster.contracts.duckdb_types import duckdb_type

    if not found or found == duckdb_type(known):
        return True
    if known == "string":
        return found in {duckdb_type(kind) for kind in _TEXTS}
    if known == "float64":
        return found == "BIGINT"
    return (found, known) in {
        ("DATE", "timestamp"),
        ("DATE", "timestamp(UTC)"),
        ("TIMESTAMP", "timestamp(UTC)"),
    }
