"""References: rows whose values are not among the values of another dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.contracts.source import ROW, open_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from dp_dagster.contracts.model import Contract, Rule


class MissingReferenceError(Exception):
    """The rows to look up are not there; the text says why."""


def dangling_rows(
    contract: Contract,
    rule: Rule,
    frame: pl.LazyFrame,
    others: Mapping[str, Sequence[str]],
    beside: pl.LazyFrame | None = None,
) -> pl.DataFrame:
    """The rows whose values the other dataset does not have.

    As in SQL, a row with a null in its reference refers to nothing and is fine.

    Args:
        contract: Of the rule.
        rule: Of kind ``reference``.
        frame: The candidate.
        others: Parquet files of other datasets, by the names that contracts call them.
        beside: What stays beside the candidate: rows may refer to it, too, where they refer to their own table.

    Returns:
        One column, :data:`~.source.ROW`, in rising order.

    Raises:
        MissingReferenceError: The other dataset was not handed in, or lacks a column, or has it in another type.
    """
    import polars as pl

    target: str = rule.params["dataset"]
    columns: list[str] = rule.params["columns"]
    names = [f"__dp_key_{number}" for number in range(len(columns))]
    if target == contract.name:
        table = frame if beside is None else pl.concat([frame.select(columns), beside.select(columns)])
        known = table.select(pl.col(column).alias(name) for column, name in zip(columns, names, strict=True))
    else:
        if not others.get(target):
            raise MissingReferenceError(f"dataset {target} has published nothing yet")
        source = open_source(others[target])
        missing = [column for column in columns if source.type_of(column) is None]
        if missing:
            raise MissingReferenceError(f"dataset {target} has no column {missing[0]}")
        known = source.frame(columns).select(
            pl.col(column).alias(name) for column, name in zip(columns, names, strict=True)
        )
    keys = frame.select(pl.col(column).alias(name) for column, name in zip(rule.columns, names, strict=True))
    ours, theirs = keys.collect_schema(), known.collect_schema()
    for column, name in zip(rule.columns, names, strict=True):
        if ours[name] != theirs[name] and not (ours[name].is_numeric() and theirs[name].is_numeric()):
            raise MissingReferenceError(
                f"column {column} is of type {ours[name]}, that of dataset {target} of type {theirs[name]}"
            )
        if ours[name] != theirs[name]:
            both = _common(ours[name], theirs[name])
            keys, known = (one.with_columns(pl.col(name).cast(both)) for one in (keys, known))
    return (
        keys.with_row_index(ROW)
        .drop_nulls(names)
        .join(known.drop_nulls(names).unique(), on=names, how="anti")
        .select(ROW)
        .sort(ROW)
        .collect(engine="streaming")
    )


def _common(one: pl.DataType, other: pl.DataType) -> pl.DataType:
    """The numeric type in which values of two numeric types are compared."""
    import polars as pl

    if one.is_float() or other.is_float():
        return pl.Float64()
    if one.is_integer() and other.is_integer():
        return pl.Int64()
    scale = max(getattr(kind, "scale", 0) for kind in (one, other))
    return pl.Decimal(38, scale)
