"""Conditions on stored forms, asked of many rows at once by Arrow.

Three-valued as in all engines: a comparison with null is neither true nor false, and ``Negation`` keeps that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from dp_dagster.predicates.model import AllOf, Condition, Negation
from dp_dagster.rows.forms import NAN, form_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dp_dagster.predicates.model import Predicate

    Columns = Callable[[str], pa.Array]
    Matches = Callable[[Columns], pa.Array | pa.Scalar]
    """From some rows, by the names of the store's columns, to whether each of them is meant."""

_TRUE, _FALSE, _UNKNOWN = pa.scalar(True), pa.scalar(False), pa.scalar(None, pa.bool_())
_COMPARISONS: dict[str, Callable[..., pa.Array]] = {
    "eq": pc.equal,
    "ne": pc.not_equal,
    "lt": pc.less,
    "le": pc.less_equal,
    "gt": pc.greater,
    "ge": pc.greater_equal,
}
_TEXTS: dict[str, Callable[..., pa.Array]] = {
    "contains": pc.match_substring,
    "starts_with": pc.starts_with,
    "ends_with": pc.ends_with,
}
# NaN is its own equal and above all numbers; to Arrow it is neither.
_ABOVE = frozenset({"gt", "ge"})


def matcher(predicate: Predicate, names: Mapping[str, str], types: Mapping[str, str]) -> Matches:
    """What tells the rows that a predicate means.

    Args:
        predicate: With stored values.
        names: From column to the name that it has in the store.
        types: From column to canonical type.
    """
    if isinstance(predicate, Condition):
        name = names[predicate.column]
        has_nan = form_of(types[predicate.column]).has_nan
        return _condition(name, predicate.operator, predicate.value, has_nan=has_nan)
    if isinstance(predicate, Negation):
        part = matcher(predicate.part, names, types)
        return lambda rows: pc.invert(part(rows))
    parts = [matcher(part, names, types) for part in predicate.parts]
    join, alone = (pc.and_kleene, _TRUE) if isinstance(predicate, AllOf) else (pc.or_kleene, _FALSE)
    if not parts:
        return lambda _rows: alone
    if len(parts) == 1:
        return parts[0]

    def joined(rows: Columns) -> pa.Array | pa.Scalar:
        found = parts[0](rows)
        for part in parts[1:]:
            found = join(found, part(rows))
        return found

    return joined


def _condition(name: str, operator: str, value: Any, *, has_nan: bool) -> Matches:
    if operator == "is_null":
        is_wanted = bool(value)
        return lambda rows: pc.is_null(rows(name)) if is_wanted else pc.is_valid(rows(name))
    if operator in _TEXTS:
        holds = _TEXTS[operator]
        return lambda rows: holds(rows(name), value)
    if operator in {"in", "not_in"}:
        return _one_of(name, value, is_wanted=operator == "in", has_nan=has_nan)
    if has_nan:
        return _number(name, operator, value)
    compare, sought = _COMPARISONS[operator], pa.scalar(value)
    return lambda rows: compare(rows(name), sought)


def _number(name: str, operator: str, value: Any) -> Matches:
    """A comparison of numbers that may be NaN."""
    if value == NAN:
        if operator in {"eq", "ge"}:
            return lambda rows: pc.is_nan(rows(name))
        if operator in {"ne", "lt"}:
            return lambda rows: pc.invert(pc.is_nan(rows(name)))
        # Nothing is above NaN, and everything is below or the same; of null, neither is known.
        answer = _TRUE if operator == "le" else _FALSE
        return lambda rows: pc.if_else(pc.is_valid(rows(name)), answer, _UNKNOWN)
    compare, sought = _COMPARISONS[operator], pa.scalar(value)
    if operator in _ABOVE:
        return lambda rows: pc.or_(compare(rows(name), sought), pc.is_nan(rows(name)))
    return lambda rows: compare(rows(name), sought)


def _one_of(name: str, values: tuple[Any, ...], *, is_wanted: bool, has_nan: bool) -> Matches:
    if not values:
        # Known even of null: there is nothing to compare with.
        answer = _FALSE if is_wanted else _TRUE
        return lambda _rows: answer
    numbers = [value for value in values if value != NAN] if has_nan else list(values)
    seeks_nan = len(numbers) < len(values)
    given = pa.array(numbers) if numbers else pa.array([], pa.float64())

    def one_of(rows: Columns) -> pa.Array:
        column = rows(name)
        found = pc.is_in(column, given.cast(column.type) if _is_text(column.type) else given)
        if has_nan and 0.0 in numbers:
            # -0.0 has other bits than 0.0, and is the same number.
            found = pc.or_kleene(found, pc.equal(column, _ZERO))
        if seeks_nan:
            found = pc.or_kleene(found, pc.is_nan(column))
        if not is_wanted:
            found = pc.invert(found)
        return found if not column.null_count else pc.if_else(pc.is_valid(column), found, _UNKNOWN)

    return one_of


_ZERO = pa.scalar(0.0)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))
