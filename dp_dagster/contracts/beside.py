"""Rows that stay beside a candidate: other partitions of the table, which were judged when they were published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.contracts.source import ROW, open_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl


@dataclass(frozen=True)
class Beside:
    """The files of a table that stay when a candidate is published.

    Rules of single rows are judged over the candidate alone. What a rule says of the table (unique keys, numbers of
    rows, shares, queries, checks of the whole) is judged over the table as it will be: these files and the candidate.

    Attributes:
        files: Parquet files with the columns of the candidate.
        apart_by: A column that has no value in these files that the candidate may have, such as the one that partitions
            are cut by: keys that it is part of cannot meet.
    """

    files: tuple[str, ...] = ()
    apart_by: str | None = None

    def frame(self) -> pl.LazyFrame | None:
        """The rows; ``None`` where there are no files."""
        return open_source(self.files).frame() if self.files else None

    def rows(self) -> int:
        """How many rows stay."""
        return open_source(self.files).rows if self.files else 0

    def meets(self, keys: Sequence[str]) -> bool:
        """Whether a row here can have the key of a row of the candidate."""
        return bool(self.files) and self.apart_by not in keys


def taken_rows(
    frame: pl.LazyFrame, beside: pl.LazyFrame, keys: Sequence[str], *, null_ignored: bool
) -> pl.DataFrame:
    """The rows of a candidate whose key a row beside it has already.

    Args:
        frame: The candidate.
        beside: What stays.
        keys: Columns of the key.
        null_ignored: Whether rows with a null in the key are left out; otherwise null equals null.

    Returns:
        One column, :data:`~.source.ROW`, in rising order.
    """
    names = list(keys)
    ours = frame.select(names).with_row_index(ROW)
    if null_ignored:
        ours = ours.drop_nulls(names)
    # First the few rows there that matter: only the candidate's keys are held in memory.
    met = beside.select(names).join(ours.drop(ROW), on=names, how="semi", nulls_equal=True).unique()
    return (
        ours.join(met, on=names, how="semi", nulls_equal=True)
        .select(ROW)
        .sort(ROW)
        .collect(engine="streaming")
    )
