"""Whole rows of a range of keys, read by Arrow itself: it takes the columns of a file apart side by side.

What comes is what DuckDB gives for the same query, for what these questions are: all that is selected in clear, in the
order of the file, of keys that are integers. Everything else is asked of DuckDB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.errors import StoreError, VersionGoneError
from dp_dagster.predicates.model import EVERYTHING, AllOf, Condition
from dp_dagster.rows.files import GONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    from dp_dagster.predicates.model import Predicate
    from dp_dagster.rows.formats import Put
    from dp_dagster.rows.pages import PagePlan

_INTEGERS = frozenset({"int8", "int16", "int32", "int64"})
_PLAIN = frozenset(
    {*_INTEGERS, "bool", "float32", "float64", "string", "date", "timestamp", "timestamp(UTC)"}
)
_PUT_ROWS = 16_384
# A row group is read at once where it is no larger than this, else in smaller batches.
_GROUP_BYTES = 64 * 1024 * 1024
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""What ends an Arrow IPC stream."""
_LEAST, _MOST = -(1 << 63), 1 << 63


@dataclass(frozen=True)
class KeyRange:
    """Rows whose key is at least ``first`` and below ``end``.

    Attributes:
        file: The published file.
        key: Name of the key's first column.
        columns: What is asked for, with canonical types.
    """

    file: str
    key: str
    first: int
    end: int
    columns: tuple[tuple[str, str], ...]


def key_range(plan: PagePlan) -> KeyRange | None:
    """The range that a plan asks for; ``None`` where it asks for something else."""
    layout, query, view = plan.source.layout, plan.query, plan.view
    columns = tuple((name, layout.types[name]) for name in query.columns)
    if (
        not plan.is_as_published
        or not layout.key
        or len(layout.files) != 1
        or layout.types[layout.key[0]] not in _INTEGERS
        or query.limit is not None
        or query.after is not None
        or query.before is not None
        or view.rows != EVERYTHING
        or len({name for name, _ in columns}) < len(columns)
        or any(
            name in view.masks or not (kind in _PLAIN or kind.startswith("decimal")) for name, kind in columns
        )
    ):
        return None
    bounds = _bounds(query.where, layout.key[0])
    return None if bounds is None else KeyRange(layout.files[0], layout.key[0], *bounds, columns)


def _bounds(where: Predicate, key: str) -> tuple[int, int] | None:
    if isinstance(where, AllOf):
        first, end = _LEAST, _MOST
        for part in where.parts:
            bounds = _bounds(part, key)
            if bounds is None:
                return None
            first, end = max(first, bounds[0]), min(end, bounds[1])
        return first, end
    if not isinstance(where, Condition) or where.column != key or not isinstance(where.value, int):
        return None
    value = where.value
    return {
        "eq": (value, value + 1),
        "ge": (value, _MOST),
        "gt": (value + 1, _MOST),
        "lt": (_LEAST, value),
        "le": (_LEAST, value + 1),
    }.get(where.operator)


def write_range(asked: KeyRange, put: Put) -> None:
    """Put the rows as an Arrow IPC stream.

    Raises:
        VersionGoneError: the file is no longer there.
        StoreError: it is damaged.
    """
    import pyarrow as pa

    schema = pa.schema([pa.field(name, _arrow_type(kind)) for name, kind in asked.columns])
    put(memoryview(schema.serialize()))
    for rows in _rows(asked, schema):
        for batch in rows.to_batches(_PUT_ROWS):
            put(memoryview(batch.serialize()), batch.num_rows)
    put(END_OF_STREAM)


def _rows(asked: KeyRange, schema: pa.Schema) -> Iterator[pa.Table]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(asked.file, memory_map=True) as file:
            for batch in _batches(file, asked):
                # Some writers leave it to the file how texts are held.
                yield pa.Table.from_batches([batch]).select(schema.names).cast(schema)
    except FileNotFoundError as error:
        raise VersionGoneError(GONE) from error
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"published files cannot be read: {error}") from error


def _batches(file: parquet.ParquetFile, asked: KeyRange) -> Iterator[pa.RecordBatch]:
    import numpy as np

    names = list(dict.fromkeys([asked.key, *(name for name, _ in asked.columns)]))
    for group in range(file.num_row_groups):
        about = file.metadata.row_group(group)
        if not _may_hold(about, asked):
            continue
        rows = about.num_rows if about.total_byte_size <= _GROUP_BYTES else _PUT_ROWS
        for batch in file.iter_batches(rows, row_groups=[group], columns=names):
            keys = batch.column(asked.key).to_numpy()
            within = _range_within(keys, asked)
            if within is None:
                chosen = keys >= max(asked.first, _LEAST)
                if asked.end < _MOST:
                    chosen &= keys < asked.end
                yield batch.take(np.flatnonzero(chosen))
            elif within[1] > within[0]:
                yield batch.slice(within[0], within[1] - within[0])


def _may_hold(about: parquet.RowGroupMetaData, asked: KeyRange) -> bool:
    statistics = next(
        about.column(number).statistics
        for number in range(about.num_columns)
        if about.column(number).path_in_schema == asked.key
    )
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.max >= asked.first and statistics.min < asked.end)


def _range_within(keys: np.ndarray, asked: KeyRange) -> tuple[int, int] | None:
    """Where the range begins and ends among these keys; ``None`` where they are in no order."""
    import numpy as np

    if len(keys) > 1 and not bool(np.all(keys[1:] >= keys[:-1])):
        return None
    # Bounds beyond 64 bits are no numbers that numpy could compare with.
    first = 0 if asked.first <= _LEAST else len(keys)
    if _LEAST < asked.first < _MOST:
        first = int(np.searchsorted(keys, asked.first))
    end = len(keys) if asked.end >= _MOST else int(np.searchsorted(keys, asked.end))
    return first, end


def _arrow_type(kind: str) -> pa.DataType:
    import pyarrow as pa

    if kind.startswith("decimal"):
        precision, _, scale = kind.removeprefix("decimal(").removesuffix(")").partition(",")
        return pa.decimal128(int(precision), int(scale))
    return {
        "bool": pa.bool_(),
        "int8": pa.int8(),
        "int16": pa.int16(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float32": pa.float32(),
        "float64": pa.float64(),
        "string": pa.string(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
        "timestamp(UTC)": pa.timestamp("us", tz="UTC"),
    }[kind]
