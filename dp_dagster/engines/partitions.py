"""Partitions in SQL of DuckDB: which rows belong to one, and to which one a row belongs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.engines.duckdb import literal, quote

if TYPE_CHECKING:
    import duckdb

    from dp_dagster.descriptor.partitions import Calendar

_CLOCKS = frozenset({"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"})
_INSTANT = "TIMESTAMP WITH TIME ZONE"


class UnfitColumnError(ValueError):
    """A column that is not there, or whose type says nothing of a partition; the message says which."""


def type_of(relation: duckdb.DuckDBPyRelation, column: str) -> str:
    """The type of a column.

    Raises:
        UnfitColumnError: there is no such column.
    """
    types = dict(zip(relation.columns, map(str, relation.dtypes), strict=True))
    if column not in types:
        raise UnfitColumnError(f"there is no column {column}, by which it is cut into partitions")
    return types[column]


def rows_of(calendar: Calendar, key: str, column: str, dtype: str) -> str:
    """The condition that holds for the rows of one partition.

    Dates and timestamps without zone are read on the clocks of the partitions' zone.

    Raises:
        UnfitColumnError: the column is neither.
    """
    first, last = calendar.local_window(key)
    kind = "timestamp"
    if dtype == _INSTANT:
        first, last = calendar.window(key)
        kind = "timestamptz"
    elif dtype == "DATE" and calendar.by != "hour":
        kind = "date"
    elif dtype not in _CLOCKS:
        raise UnfitColumnError(_unfit(calendar, column, dtype))
    bounds = [first.date(), last.date()] if kind == "date" else [first, last]
    low, high = (f"{kind} {literal(bound.isoformat(*([] if kind == 'date' else [' '])))}" for bound in bounds)
    return f"({quote(column)} >= {low} and {quote(column)} < {high})"


def key_of_row(calendar: Calendar, column: str, dtype: str) -> str:
    """The expression that gives the key of a row's partition; null where the column is.

    Raises:
        UnfitColumnError: as :func:`rows_of`.
    """
    clock = quote(column)
    if dtype == _INSTANT:
        clock = f"timezone({literal(calendar.timezone)}, {clock})"
    elif (dtype != "DATE" or calendar.by == "hour") and dtype not in _CLOCKS:
        raise UnfitColumnError(_unfit(calendar, column, dtype))
    return f"strftime(date_trunc({literal(calendar.by)}, {clock}), {literal(calendar.format)})"


def _unfit(calendar: Calendar, column: str, dtype: str) -> str:
    wanted = "a timestamp" if calendar.by == "hour" else "a date or timestamp"
    return f"{column} is of type {dtype}; partitions by {calendar.by} need {wanted}"
