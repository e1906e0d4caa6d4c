"""Reading rows: by a server's cursor, batch by batch, in types that the store keeps."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.duckdb_types import SCALAR_TYPES
from dp_dagster.errors import InputError
from dp_dagster.ports.base import Written
from dp_dagster.ports.inputs.sql.types import of_postgresql, of_sqlalchemy, of_values, to_arrow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa
    import sqlalchemy

    from dp_dagster.ports.base import InputContext
    from dp_dagster.ports.inputs.sql.config import SqlConfig
    from dp_dagster.ports.inputs.sql.database import Database

_SAY_EVERY_SECONDS = 5.0
_WORDS = {"int64": int, "string": str}


class Reader:
    """Reads what one port names, over one connection.

    Args:
        database: Where it is read.
        connection: An open connection.
        context: Of the input port.
    """

    def __init__(self, database: Database, connection: sqlalchemy.Connection, context: InputContext) -> None:
        import sqlalchemy as sa

        self.sa = sa
        self.database = database
        self.config: SqlConfig = database.config
        self.connection = connection
        self.context = context
        self.what = context.what
        self.source = self._source()
        self.types = self._types()
        if self.config.cursor is not None and self.config.cursor not in self.types:
            raise InputError(
                f"{self.what}: cursor {self.config.cursor} is no column of {self._named()}; it has "
                f"{', '.join(self.types)}"
            )

    # -- what is asked -------------------------------------------------------------------------------------

    def _named(self) -> str:
        return self.config.table or "the query"

    def _source(self) -> sqlalchemy.FromClause:
        if self.config.query is not None:
            # Colons are not marks for values here.
            text = self.config.query.strip().rstrip(";").replace("\\", "\\\\").replace(":", "\\:")
            return self.sa.text(text).columns().subquery("dp_source")
        schema, _, name = (self.config.table or "").rpartition(".")
        return self.sa.table(name, schema=schema or None)

    def _types(self) -> dict[str, str]:
        """The columns of the result with their types, as far as the database tells; empty where it does not."""
        with closing(
            self._execute(self.sa.select(self.sa.text("*")).select_from(self.source).limit(0))
        ) as empty:
            names = list(empty.keys())
            described = list(empty.cursor.description or ()) if empty.cursor is not None else []
        wanted = list(self.config.columns) or names
        if absent := [name for name in wanted if name not in names]:
            raise InputError(
                f"{self.what}: {self._named()} has no column {', '.join(absent)}; it has {', '.join(names)}"
            )
        found: dict[str, str] = {}
        if self.database.dialect == "postgresql":
            for column in described:
                known = of_postgresql(column.type_code, column.precision, column.scale)
                found[column.name] = known or ""
        elif self.config.table is not None:
            found = self._looked_up()
        return {name: found.get(name, "?") for name in wanted}

    def _looked_up(self) -> dict[str, str]:
        schema, _, name = (self.config.table or "").rpartition(".")
        inspector = self.sa.inspect(self.connection)
        return {
            str(column["name"]): of_sqlalchemy(column["type"], self.database.dialect)
            for column in inspector.get_columns(name, schema=schema or None)
        }

    def _expression(self, name: str) -> Any:
        column: Any = self.sa.column(name)
        # What has no type of its own in the store is read as the text that PostgreSQL writes.
        return column if self.types[name] else self.sa.cast(column, self.sa.Text).label(name)

    def counts_up(self) -> bool:
        """Whether no two rows have one value of the cursor, as the database itself holds."""
        if self.config.cursor is None or self.config.table is None:
            return False
        schema, _, name = self.config.table.rpartition(".")
        inspector = self.sa.inspect(self.connection)
        alone = [self.config.cursor]
        if inspector.get_pk_constraint(name, schema=schema or None).get("constrained_columns") == alone:
            return True
        constraints = inspector.get_unique_constraints(name, schema=schema or None)
        return any(list(constraint["column_names"]) == alone for constraint in constraints)

    def _select(self, low: Any, *, beyond: bool = False) -> Any:
        query = self.sa.select(*(self._expression(name) for name in self.types)).select_from(self.source)
        if low is None or self.config.cursor is None:
            return query
        cursor: Any = self.sa.column(self.config.cursor)
        # Rows without a value would never be read: they are, to be told of.
        new = cursor > self._bound(low) if beyond else cursor >= self._bound(low)
        return query.where(self.sa.or_(new, cursor.is_(None))).order_by(cursor)

    def _bound(self, value: Any) -> Any:
        if isinstance(value, dt.datetime) and self.database.dialect == "sqlite":
            return value.isoformat(" ")
        return value

    # -- how far -----------------------------------------------------------------------------------------------

    def position(self) -> tuple[str, Any]:
        """A fingerprint of the source as it is now, and the highest value of the cursor.

        Raises:
            InputError: a value of the cursor is missing.
        """
        if self.config.watch is not None:
            row = self._execute(self.sa.text(self.config.watch.replace(":", "\\:"))).fetchone()
            return _digest(None if row is None else tuple(row)), None
        if self.config.cursor is None:
            return self._content(), None
        cursor: Any = self.sa.column(self.config.cursor)
        highest = self._one(self.sa.select(self.sa.func.max(cursor)).select_from(self.source))
        if highest is None:
            return _digest(("no rows",)), None
        low = self._bound(self._low(highest))
        rows = self._one(self.sa.select(self.sa.func.count()).select_from(self.source).where(cursor >= low))
        return _digest((str(highest), rows)), highest

    def _content(self) -> str:
        """A fingerprint of all rows, whatever their order; PostgreSQL computes it without sending them."""
        if self.database.dialect == "postgresql":
            from sqlalchemy.dialects import postgresql

            texts = [self.sa.cast(self.sa.column(name), self.sa.Text) for name in self.types]
            # As the text of an array, in which null and the text NULL differ.
            row = self.sa.cast(postgresql.array(texts), self.sa.Text)
            hashed = self.sa.func.sum(self.sa.cast(self.sa.func.hashtextextended(row, 0), self.sa.Numeric))
            found = self._execute(
                self.sa.select(self.sa.func.count(), hashed).select_from(self.source)
            ).fetchone()
            return _digest((*(found or ()), *self.types.items()))
        total, rows = 0, 0
        for batch in self._batches(self._select(None)):
            for values in batch:
                total += int.from_bytes(
                    hashlib.blake2b(repr(tuple(values)).encode(), digest_size=16).digest()
                )
                rows += 1
        return _digest((rows, total, *self.types.items()))

    def _low(self, value: Any) -> Any:
        """Where reading goes on from a value of the cursor."""
        overlap = self.config.overlap_value
        if overlap is None:
            return value
        if isinstance(value, str):
            value = dt.datetime.fromisoformat(value)
        try:
            return value - overlap
        except TypeError as error:
            raise InputError(
                f"{self.what}: overlap {self.config.overlap} cannot be subtracted from the cursor "
                f"{self.config.cursor}, whose values are like {value}"
            ) from error

    # -- reading -----------------------------------------------------------------------------------------------

    def write(self, destination: Path, last: Any) -> Written:
        """Write the rows, or those from the cursor's value ``last`` on.

        Returns:
            Which of them may have been written before, and by what they are known.
        """
        from pyarrow import parquet

        low = None if last is None else self._low(last)
        unique = low is not None and self.counts_up()
        beyond = unique and low == last
        rows, said = 0, time.monotonic()
        writer: Any = None
        schema: Any = None
        try:
            for batch in self._batches(self._select(low, beyond=beyond)):
                if writer is None:
                    schema = self._schema(batch)
                    writer = parquet.ParquetWriter(destination, schema, compression="zstd")
                writer.write_table(self._table(batch, schema))
                rows += len(batch)
                if time.monotonic() - said > _SAY_EVERY_SECONDS:
                    said = time.monotonic()
                    self.context.say(f"{self.what}: {rows:,} rows so far")
            if writer is None:
                schema = self._schema([])
                writer = parquet.ParquetWriter(destination, schema, compression="zstd")
        finally:
            if writer is not None:
                writer.close()
        if low is None or beyond or self.config.cursor is None:
            return Written()
        return Written(
            again=(self.config.cursor, low), known_by=(self.config.cursor,) if unique else self.config.key
        )

    def _table(self, batch: Sequence[Any], schema: pa.Schema) -> pa.Table:
        import pyarrow as pa

        columns = list(zip(*batch, strict=True)) if batch else [()] * len(schema)
        if self.config.cursor is not None:
            position = list(self.types).index(self.config.cursor)
            if any(value is None for value in columns[position]):
                raise InputError(
                    f"{self.what}: the cursor {self.config.cursor} has no value in some rows, so nobody can tell "
                    "when they are new; choose a column that always has one"
                )
        arrays = [
            to_arrow(values, field.type, field.name, self.what)
            for values, field in zip(columns, schema, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=schema)

    def _schema(self, batch: Sequence[Any]) -> pa.Schema:
        from dp_dagster.contracts.model import Column
        from dp_dagster.storage.types import arrow_schema

        columns = list(zip(*batch, strict=True)) if batch else [()] * len(self.types)
        declared = self._declared()
        known = {column.name: column.type for column in self.context.columns}
        found = []
        for (name, of_database), values in zip(self.types.items(), columns, strict=True):
            kind = "string" if of_database == "" else of_database
            if kind == "?":
                nothing = all(value is None for value in values)
                kind = known[name] if nothing and name in known else of_values(values)
            found.append(Column(name, declared[name] if _may_become(kind, declared.get(name)) else kind))
        return arrow_schema(found)

    def _declared(self) -> dict[str, str]:
        contract = self.context.contract
        columns = contract.columns if contract is not None else ()
        return {**{column.name: column.type for column in columns if column.type}, **self.config.types}

    def _batches(self, query: Any) -> Iterator[Sequence[Any]]:
        with closing(self._execute(query, yield_per=self.config.batch_rows)) as result:
            partitions = result.partitions()
            while True:
                with self.database.in_time(self.connection):
                    batch = next(partitions, None)
                if batch is None:
                    return
                yield batch

    def _execute(self, query: Any, **options: Any) -> Any:
        with self.database.in_time(self.connection):
            return self._executed(query, **options)

    def _executed(self, query: Any, **options: Any) -> Any:
        return (
            self.connection.execution_options(**options).execute(query)
            if options
            else self.connection.execute(query)
        )

    def _one(self, query: Any) -> Any:
        row = self._execute(query).fetchone()
        return None if row is None else row[0]


def _may_become(found: str, declared: str | None) -> bool:
    """Whether values of a type are to be had as the declared one; each value then fits or is an error."""
    if declared is None or (declared not in SCALAR_TYPES and not declared.startswith("decimal(")):
        return False
    families = (_family(found), _family(declared))
    return families[0] == families[1] or families in {
        ("text", "time"),
        ("text", "number"),
        ("number", "truth"),
        ("time", "text"),
        ("number", "text"),
    }


def _family(kind: str) -> str:
    if kind.startswith(("int", "float", "decimal")):
        return "number"
    return {"string": "text", "bool": "truth", "binary": "binary"}.get(
        kind, "time" if "<" not in kind else kind
    )


def _digest(values: Any) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:32]


# -- the cursor's value as JSON ---------------------------------------------------------------------------------


def to_state(value: Any) -> dict[str, str]:
    """A cursor's value as it is kept in the state."""
    if isinstance(value, bool) or not isinstance(value, int | str | decimal.Decimal | dt.datetime | dt.date):
        raise TypeError(f"a cursor of {type(value).__name__} cannot be kept")
    return {
        "type": type(value).__name__,
        "value": value.isoformat() if hasattr(value, "isoformat") else str(value),
    }


def from_state(state: Mapping[str, Any] | None) -> Any:
    """The value that :func:`to_state` kept; ``None`` where nothing was read yet."""
    kept = (state or {}).get("cursor")
    if kept is None:
        return None
    made: Any = {
        "int": int,
        "str": str,
        "Decimal": decimal.Decimal,
        "datetime": dt.datetime.fromisoformat,
        "date": dt.date.fromisoformat,
    }[kept["type"]]
    return made(kept["value"])
