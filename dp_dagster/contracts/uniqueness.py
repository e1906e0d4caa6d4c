"""Uniqueness of a key in a table that may be larger than memory.

Of the rows that share a key the first in the order of the files keeps the rule, each further one fails it.
Null equals null here, as in pandera (and unlike SQL's ``UNIQUE``), unless the rule says ``null_ignored``: two rows
without a value share a key; NaN equals NaN, and ``-0.0`` equals ``0.0``.

Three ways, each tried only where the one before it proves nothing:

1. The rows are in strictly rising or falling order of the key: each is compared with the row before it
   (0.05 seconds for 10 million rows).
2. All hashes of the keys differ, so all keys differ (0.5 seconds).
3. The keys are grouped, and the rows after the first of each group are listed.

The last two work on a part of the keys at a time, chosen by hash, so memory grows with the size of a part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.contracts.source import ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

PART_ROWS = 16_000_000
"""Rows whose keys are held in memory at a time: about 50 bytes each while their hashes are compared."""

_PEEK_ROWS = 50_000


def repeated_rows(
    frame: pl.LazyFrame,
    keys: Sequence[str],
    rows: int,
    *,
    part_rows: int = PART_ROWS,
    null_ignored: bool = False,
) -> pl.DataFrame:
    """The rows that repeat the key of an earlier row.

    Args:
        frame: The whole table.
        keys: Columns of the key.
        rows: Number of rows in ``frame``.
        part_rows: Rows whose keys may be held at a time.
        null_ignored: Whether rows with a null in the key are left out, as in SQL's ``UNIQUE``.

    Returns:
        One column, :data:`~.source.ROW`, with the rows' numbers in rising order; empty if the key is unique.
    """
    import polars as pl

    none = pl.DataFrame(schema={ROW: pl.get_index_type()})
    narrow = frame.select(list(keys))
    if rows < 2 or _in_strict_order(narrow, keys, rows) or _hashes_differ(narrow, keys, rows, part_rows):
        return none
    numbered = narrow.with_row_index(ROW)
    if null_ignored:
        numbered = numbered.drop_nulls(list(keys))
    parts = _parts(rows, part_rows)
    found = []
    for part in range(parts):
        chosen = numbered if parts == 1 else numbered.filter(_hash(keys) % parts == part)
        groups = (
            chosen.group_by(list(keys))
            .agg(pl.len().alias("__dp_size"), pl.col(ROW).min().alias("__dp_first"))
            .filter(pl.col("__dp_size") > 1)
            .collect(engine="streaming")
        )
        if groups.height:
            found.append(
                chosen.join(groups.lazy(), on=list(keys), how="inner", nulls_equal=True)
                .filter(pl.col(ROW) != pl.col("__dp_first"))
                .select(ROW)
                .collect(engine="streaming")
            )
    return pl.concat(found).sort(ROW) if found else none


def _parts(rows: int, part_rows: int) -> int:
    return max(1, -(-rows // part_rows))


def _hash(keys: Sequence[str]) -> pl.Expr:
    import polars as pl

    return pl.col(keys[0]).hash() if len(keys) == 1 else pl.struct(list(keys)).hash()


def _in_strict_order(frame: pl.LazyFrame, keys: Sequence[str], rows: int) -> bool:
    """Whether each key is above the one before it, or each below. Null compares with nothing: no proof."""
    import polars as pl

    rising = falling = pl.lit(value=False)
    for name in reversed(keys):
        value, before = pl.col(name), pl.col(name).shift(1)
        rising = (value > before) | ((value == before) & rising)
        falling = (value < before) | ((value == before) & falling)
    counts = [rising.sum().alias("rising"), falling.sum().alias("falling")]
    # Most tables that are not in order show it at once.
    for part, size in ((frame.head(_PEEK_ROWS), min(rows, _PEEK_ROWS)), (frame, rows)):
        if size - 1 not in part.select(counts).collect(engine="streaming").row(0):
            return False
    return True


def _hashes_differ(frame: pl.LazyFrame, keys: Sequence[str], rows: int, part_rows: int) -> bool:
    import polars as pl

    hashes = frame.select(_hash(keys).alias("hash"))
    parts = _parts(rows, part_rows)
    different = 0
    for part in range(parts):
        chosen = hashes if parts == 1 else hashes.filter(pl.col("hash") % parts == part)
        different += chosen.select(pl.col("hash").n_unique()).collect(engine="streaming").item()
    return different == rows
