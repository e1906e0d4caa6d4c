"""The files of a candidate as one table: rows, types and a lazy frame, all from Parquet footers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.contracts.canonical import type_name
from dp_dagster.errors import StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

ROW = "__dp_row"
"""Name of the running number of a row, in the order of the files."""


@dataclass(frozen=True)
class Source:
    """Parquet files that are read as one table.

    Attributes:
        files: In order; the order of the rows follows from it.
        rows: Number of rows in all files.
        schemas: Canonical types by column name, for each file.
        uniform: Whether all files have the same columns in the same order.
    """

    files: tuple[str, ...]
    rows: int
    schemas: tuple[dict[str, str], ...]
    uniform: bool

    def type_of(self, column: str) -> str | None:
        """The column's type; ``None`` if it is missing in a file or differs between files."""
        types = {schema.get(column) for schema in self.schemas}
        return types.pop() if len(types) == 1 else None

    def frame(self, columns: Sequence[str] | None = None) -> pl.LazyFrame:
        """A lazy frame over all files, instants in UTC.

        Args:
            columns: Only these, which all files must have; all columns of the first file by default.
        """
        import polars as pl

        if self.uniform:
            frame = _scan(list(self.files))
            frame = frame.select(list(columns)) if columns is not None else frame
        else:
            names = list(columns) if columns is not None else list(self.schemas[0])
            frame = pl.concat([_scan([file]).select(names) for file in self.files])
        schema = frame.collect_schema()
        foreign = [
            name for name, kind in schema.items() if getattr(kind, "time_zone", None) not in (None, "UTC")
        ]
        return frame.with_columns(pl.col(foreign).dt.convert_time_zone("UTC")) if foreign else frame


def open_source(files: Sequence[str]) -> Source:
    """Read the footers of a candidate's files.

    Raises:
        UsageError: There are no files.
        StoreError: A file is missing or is no Parquet file.
    """
    import polars as pl

    if not files:
        raise UsageError("there are no files to evaluate")
    schemas, rows = [], 0
    for file in files:
        try:
            schemas.append(_scan([file]).collect_schema())
            rows += _scan([file]).select(pl.len()).collect().item()
        except (OSError, pl.exceptions.PolarsError) as error:
            cause = str(error).split("\n", 1)[0]
            raise StoreError(f"{file}: cannot be read as Parquet: {cause}") from error
    named = tuple({name: type_name(kind) for name, kind in schema.items()} for schema in schemas)
    return Source(tuple(files), rows, named, all(schema == schemas[0] for schema in schemas))


def _scan(files: list[str]) -> pl.LazyFrame:
    import polars as pl

    # Names are taken as they are: a path like "day=1/…" adds no column, a "*" finds no other file.
    return pl.scan_parquet(files, glob=False, hive_partitioning=False)
