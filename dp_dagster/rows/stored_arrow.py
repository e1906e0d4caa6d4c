"""Arrow exports from the row store, which holds its columns as Arrow does: most of them are given as they lie there.

What comes is what DuckDB gives for the same query. It takes what these questions are: columns in clear that are not
nested, in the order of the key. Everything else is asked of DuckDB.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dp_dagster.errors import VersionGoneError
from dp_dagster.rows.files import GONE
from dp_dagster.rows.formats import END_OF_STREAM
from dp_dagster.rows.wanted import wanted_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_dagster.rows.formats import Put
    from dp_dagster.rows.pages import PagePlan
    from dp_dagster.rows.store import StoreFile

_AS_THEY_ARE = {
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
}
_SHORTER = {"bool": pa.bool_(), "float32": pa.float32()}
_MOMENTS = {"timestamp": pa.timestamp("us"), "timestamp(UTC)": pa.timestamp("us", tz="UTC")}
_LONGEST_DECIMAL = 18
_LIMBS = 2


def can_be_given(plan: PagePlan) -> bool:
    """Whether the row store has what a plan asks for, in its order."""
    query, view = plan.query, plan.view
    types = plan.source.layout.types
    return (
        plan.cheap
        and not plan.shape.order[0][1]
        and not plan.backward
        and query.limit is None
        and len(set(query.columns)) == len(query.columns) > 0
        and not any(name in view.masks or _reader(types[name]) is None for name in query.columns)
    )


def write_stored(store: StoreFile, plan: PagePlan, put: Put) -> None:
    """Put the rows of a plan, which :func:`can_be_given`, as an Arrow IPC stream.

    Raises:
        VersionGoneError: the published files are no longer there: what was removed must not live on here.
        StoreError: the row store is damaged.
    """
    layout, query = plan.source.layout, plan.query
    if not all(Path(file).exists() for file in layout.files):
        raise VersionGoneError(GONE)
    after = query.after.values if query.after is not None else None
    wanted = wanted_rows(store, layout, plan.view.rows, query.where, after=after)
    kinds = [layout.types[name] for name in query.columns]
    readers = [reader for reader in map(_reader, kinds) if reader is not None]
    schema = pa.schema(
        [pa.field(name, _arrow_type(kind)) for name, kind in zip(query.columns, kinds, strict=True)]
    )
    put(memoryview(schema.serialize()))
    for columns in store.batches(wanted.span, wanted.matches, [layout.names[name] for name in query.columns]):
        given = [read(column) for read, column in zip(readers, columns, strict=True)]
        batch = pa.RecordBatch.from_arrays(given, schema=schema)
        # Also where none of these rows is meant: that is when to hear that nobody listens any more.
        put(memoryview(batch.serialize()) if batch.num_rows else b"", batch.num_rows)
    put(END_OF_STREAM)


def _arrow_type(kind: str) -> pa.DataType:
    if kind.startswith("decimal"):
        precision, _, scale = kind.removeprefix("decimal(").removesuffix(")").partition(",")
        return pa.decimal128(int(precision), int(scale))
    found = {**_AS_THEY_ARE, **_SHORTER, **_MOMENTS, "date": pa.date32()}[kind]
    assert isinstance(found, pa.DataType)
    return found


def _reader(kind: str) -> Callable[[pa.Array], pa.Array] | None:
    """From a stored column to what the files have; ``None`` where that takes more than a few bytes' work."""
    if kind in _AS_THEY_ARE:
        return _as_it_is
    if kind in _MOMENTS:
        return lambda column: column.view(_MOMENTS[kind])
    if kind in _SHORTER:
        return lambda column: pc.cast(column, _SHORTER[kind], safe=False)
    if kind == "date":
        return lambda column: pc.cast(column, pa.int32()).view(pa.date32())
    if kind.startswith("decimal"):
        target = _arrow_type(kind)
        return (lambda column: _decimals(column, target)) if target.precision <= _LONGEST_DECIMAL else None
    return None


def _as_it_is(column: pa.Array) -> pa.Array:
    return column


def _decimals(column: pa.Array, target: pa.DataType) -> pa.Array:
    """Scaled integers of 64 bits as ones of 128."""
    count = len(column)
    numbers = np.frombuffer(column.buffers()[1], np.int64, count, 8 * column.offset)
    limbs = np.empty((count, _LIMBS), np.int64)
    limbs[:, 0] = numbers
    # The sign goes on.
    limbs[:, 1] = numbers >> 63
    valid = pc.is_valid(column).buffers()[1] if column.null_count else None
    return pa.Array.from_buffers(target, count, [valid, pa.py_buffer(limbs)])
