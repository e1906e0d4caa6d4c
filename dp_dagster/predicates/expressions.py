"""Predicates as Polars expressions, with the meaning that they have in SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.errors import UsageError
from dp_dagster.predicates.model import AllOf, AnyOf, Condition, Negation, Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

    from dp_dagster.predicates.model import Predicate


def to_polars(predicate: Predicate, types: Mapping[str, str]) -> pl.Expr:
    """A predicate as an expression; null where SQL would say unknown.

    Args:
        predicate: Bound; see :mod:`.binding`.
        types: Canonical types of the columns.

    Raises:
        UsageError: a reference is not bound.
    """
    import polars as pl

    if isinstance(predicate, Condition):
        return _condition(predicate, types[predicate.column])
    if isinstance(predicate, Negation):
        return ~to_polars(predicate.part, types)
    parts = [to_polars(part, types) for part in predicate.parts]
    if isinstance(predicate, AllOf):
        return pl.all_horizontal(parts) if parts else pl.lit(value=True)
    assert isinstance(predicate, AnyOf)
    return pl.any_horizontal(parts) if parts else pl.lit(value=False)


def _condition(condition: Condition, kind: str) -> pl.Expr:
    import polars as pl

    column, value = pl.col(condition.column), condition.value
    if condition.operator == "is_null":
        return column.is_null() if value else column.is_not_null()
    if condition.operator in {"in", "not_in"}:
        if not value:
            return pl.lit(value=condition.operator == "not_in")
        # Null stays null, which is_in does not promise for every type.
        found = pl.any_horizontal([column == _literal(one, kind) for one in value])
        return found if condition.operator == "in" else ~found
    if condition.operator in {"contains", "starts_with", "ends_with"}:
        wanted = _literal(value, kind)
        if condition.operator == "contains":
            return column.str.contains(wanted, literal=True)
        return (
            column.str.starts_with(wanted)
            if condition.operator == "starts_with"
            else column.str.ends_with(wanted)
        )
    compared: dict[str, Callable[[Any, Any], Any]] = {
        "eq": lambda left, right: left == right,
        "ne": lambda left, right: left != right,
        "lt": lambda left, right: left < right,
        "le": lambda left, right: left <= right,
        "gt": lambda left, right: left > right,
        "ge": lambda left, right: left >= right,
    }
    found = compared[condition.operator](column, _literal(value, kind))
    assert isinstance(found, pl.Expr)
    return found


def _literal(value: Any, kind: str) -> pl.Expr:
    import polars as pl

    if isinstance(value, Reference):
        raise UsageError(f"the filter's {{{value.name}}} is not bound to anybody who asks")
    simple: dict[str, Any] = {
        "bool": pl.Boolean,
        "int8": pl.Int8,
        "int16": pl.Int16,
        "int32": pl.Int32,
        "int64": pl.Int64,
        "float32": pl.Float32,
        "float64": pl.Float64,
        "string": pl.String,
        "binary": pl.Binary,
        "date": pl.Date,
        "timestamp": pl.Datetime("us"),
        "timestamp(UTC)": pl.Datetime("us", "UTC"),
    }
    if kind in simple:
        return pl.lit(value, dtype=simple[kind])
    precision, scale = (int(part) for part in kind[8:-1].split(","))
    return pl.lit(value, dtype=pl.Decimal(precision, scale))
