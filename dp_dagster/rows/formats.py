"""Writing an export's rows in each format, a batch at a time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from dp_dagster.contracts.type_trees import parse_type
from dp_dagster.engines.arrow import Batches
from dp_dagster.engines.duckdb import literal, quote
from dp_dagster.rows.conditions import Sql, before, behind
from dp_dagster.rows.json_text import row_expression, text_expression, value_expression
from dp_dagster.rows.source import both, restriction, where_clause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import duckdb

    from dp_dagster.rows.pages import PagePlan
    from dp_dagster.rows.query import Format

    class Put(Protocol):
        """Takes a piece of an answer, with which so many more rows are whole."""

        def __call__(self, data: Any, rows: int = 0) -> None:
            """Take it."""

    Writer = Callable[[duckdb.DuckDBPyConnection, Sql, Put], None]

END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""What ends an Arrow IPC stream."""
_TEXT_BATCH_ROWS = 4096
_ARROW_BATCH_ROWS = 16_384
_ROW_GROUP_ROWS = 122_880
_PUT_BYTES = 256 * 1024


def export_sql(plan: PagePlan, form: Format) -> Sql:
    """The rows of a plan as DuckDB's SQL, in what the format's writer takes."""
    source, query = plan.source, plan.query
    values: list[Any] = []
    columns: list[tuple[str, str]] = []
    for name in query.columns:
        method = plan.view.masks.get(name)
        if method is None:
            columns.append((name, quote(name)))
        else:
            text, bound = source.masks.sql(source.columns[name], method, "duckdb")
            columns.append((name, text))
            values += bound
    condition = restriction(source, plan.view, query.where)
    ordering = plan.ordering
    if query.after is not None:
        condition = both(condition, behind(ordering, *plan.bound(query.after)))
    if query.before is not None:
        condition = both(condition, before(ordering, *plan.bound(query.before)))
    inner = ", ".join(f"{text} as {quote(name)}" for name, text in columns)
    rows = f"select {inner} from {source.layout.files_table()}{where_clause(condition)}"
    if not plan.is_as_published:
        rows += f" order by {', '.join(one.clause() for one in ordering)}"
    if query.limit is not None:
        rows += f" limit {query.limit}"
    return Sql(_shaped(plan, form, rows), (*values, *condition.values))


def _shaped(plan: PagePlan, form: Format, rows: str) -> str:
    types = plan.source.layout.types
    trees = [(name, parse_type(types[name])) for name in plan.query.columns]
    if form in {"json", "ndjson"}:
        row = row_expression([(name, value_expression(tree, quote(name))) for name, tree in trees])
        text = f"',\n' || {row}" if form == "json" else f"{row} || '\n'"
    elif form == "csv":
        fields = [_field(text_expression(tree, quote(name)), tree.name) for name, tree in trees]
        text = " || ',' || ".join(fields) + " || '\r\n'"
    else:
        return rows
    return f"select {text} as line from ({rows})"


def _field(text: str, kind: str) -> str:
    """A field of a CSV line: null is empty, an empty text is quoted."""
    if kind not in {"string", "binary", "list", "map", "struct"}:
        return f"coalesce({text}, '')"
    quoted = f"'\"' || replace({text}, '\"', '\"\"') || '\"'"
    return (
        f"case when {text} is null then '' when {text} = '' or regexp_matches({text}, '[\",\r\n]') "
        f"then {quoted} else {text} end"
    )


def _lines(cursor: duckdb.DuckDBPyConnection, sql: Sql, put: Put, first: bytes = b"") -> bool:
    """Put the texts of a query's only column one behind the other; whether there were any.

    ``first`` takes the place of as many bytes at the beginning.
    """
    import numpy as np

    is_empty = True
    for batch in Batches(cursor.execute(sql.text, sql.values), _TEXT_BATCH_ROWS):
        if not batch.num_rows:
            continue
        lines = batch.column(0)
        _, offsets, data = lines.buffers()
        kind = np.int64 if "large" in str(lines.type) else np.int32
        ends = np.frombuffer(offsets, dtype=kind, count=len(lines) + lines.offset + 1)
        text = memoryview(data)[int(ends[lines.offset]) : int(ends[-1])]
        if is_empty and first:
            put(first)
            text = text[len(first) :]
        is_empty = False
        put(text, batch.num_rows)
    return not is_empty


def write_json(cursor: duckdb.DuckDBPyConnection, sql: Sql, put: Put) -> None:
    """One array of objects, a row a line."""
    put(b"]" if _lines(cursor, sql, put, b"[\n") else b"[]")


def write_ndjson(cursor: duckdb.DuckDBPyConnection, sql: Sql, put: Put) -> None:
    """One object a line."""
    _lines(cursor, sql, put)


def write_csv(cursor: duckdb.DuckDBPyConnection, sql: Sql, put: Put, columns: tuple[str, ...]) -> None:
    """Comma-separated values with a header, as RFC 4180 has them."""
    header = " || ',' || ".join(_field(literal(name), "string") for name in columns)
    put(cursor.execute(f"select {header} || '\r\n'").fetchall()[0][0].encode())
    _lines(cursor, sql, put)


class _Sink:
    """A file that pyarrow writes to."""

    closed = False

    def __init__(self, put: Put) -> None:
        self._put = put
        self._position = 0
        self._waiting = bytearray()

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        # A batch comes in dozens of pieces; each that is put wakes all readers.
        if len(view) < _PUT_BYTES:
            self._waiting += view
            if len(self._waiting) >= _PUT_BYTES:
                self.put_waiting()
        else:
            self.put_waiting()
            # Arrow takes its memory back.
            self._put(bytes(view))
        self._position += len(view)
        return len(view)

    def put_waiting(self, rows: int = 0) -> None:
        waiting, self._waiting = self._waiting, bytearray()
        if waiting or rows:
            self._put(waiting, rows)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Everything is written at once."""

    def close(self) -> None:
        """The file is closed by who opened it."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def write_arrow(cursor: duckdb.DuckDBPyConnection, sql: Sql, put: Put) -> None:
    """An Arrow IPC stream."""
    reader = Batches(cursor.execute(sql.text, sql.values), _ARROW_BATCH_ROWS)
    # The same as pyarrow's own writer makes, which writes each batch in dozens of pieces.
    put(memoryview(reader.schema.serialize()))
    for batch in reader:
        put(memoryview(batch.serialize()), batch.num_rows)
    put(END_OF_STREAM)


def write_parquet(cursor: duckdb.DuckDBPyConnection, sql: Sql, put: Put) -> None:
    """A Parquet file."""
    import pyarrow as pa
    from pyarrow import parquet

    reader = Batches(cursor.execute(sql.text, sql.values), _ROW_GROUP_ROWS)
    sink = _Sink(put)
    file = pa.PythonFile(sink, mode="w")
    with parquet.ParquetWriter(file, reader.schema, compression="snappy") as writer:
        for batch in reader:
            writer.write_batch(batch)
            sink.put_waiting(batch.num_rows)
    sink.put_waiting()


def writer_of(form: Format, columns: tuple[str, ...]) -> Writer:
    """What writes a format."""
    if form == "csv":
        return partial(write_csv, columns=columns)
    return _WRITERS[form]


_WRITERS: Mapping[Format, Writer] = {
    "json": write_json,
    "ndjson": write_ndjson,
    "arrow": write_arrow,
    "parquet": write_parquet,
}
