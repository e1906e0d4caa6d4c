"""Refuse rules that no row can keep, when the contract is compiled rather than at night."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.expressions import EXPRESSED, failing
from dp_dagster.contracts.literals import from_json, is_nested

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dp_dagster.contracts.model import Column, Rule
    from dp_dagster.errors import ContractError


def check_satisfiable(
    rules: Sequence[Rule], columns: Sequence[Column], refuse: Callable[[str, str | None], ContractError]
) -> None:
    """Check that ranges are not empty and that each expression fits the types of its columns.

    Args:
        rules: Of one contract.
        columns: Of the same contract.
        refuse: Makes the error for a text and a column's or check's name.

    Raises:
        ContractError: As made by ``refuse``.
    """
    for column in columns:
        own = [rule for rule in rules if rule.columns == (column.name,)]
        _check_range(own, column, refuse)
        _check_values(own, column, refuse)
        if is_nested(column.type) and any(rule.kind == "unique" for rule in own):
            raise refuse(f"unique does not apply to a column of type {column.type}", column.name)
    _check_types(rules, columns, refuse)


def _check_range(
    rules: Sequence[Rule], column: Column, refuse: Callable[[str, str | None], ContractError]
) -> None:
    def bounds(kind: str) -> list[tuple[Any, bool]]:
        return [
            (from_json(rule.params["value"], column.type), bool(rule.params["exclusive"]))
            for rule in rules
            if rule.kind == kind
        ]

    minima, maxima = bounds("minimum"), bounds("maximum")
    for low, low_exclusive in minima:
        for high, high_exclusive in maxima:
            if low > high or (low == high and (low_exclusive or high_exclusive)):
                raise refuse(
                    f"no value can lie above {low} and below {high}; correct one of them", column.name
                )


def _check_values(
    rules: Sequence[Rule], column: Column, refuse: Callable[[str, str | None], ContractError]
) -> None:
    allowed = [set(rule.params["values"]) for rule in rules if rule.kind == "one_of"]
    allowed += [{rule.params["value"]} for rule in rules if rule.kind == "equal"]
    forbidden: set[Any] = set()
    for rule in rules:
        if rule.kind == "none_of":
            forbidden |= set(rule.params["values"])
        elif rule.kind == "not_equal":
            forbidden.add(rule.params["value"])
    if allowed and not set.intersection(*allowed) - forbidden:
        raise refuse("the lists of allowed and forbidden values leave none; correct one of them", column.name)


def _check_types(
    rules: Sequence[Rule], columns: Sequence[Column], refuse: Callable[[str, str | None], ContractError]
) -> None:
    """Plan each expression over an empty table of the declared types."""
    import polars as pl

    from dp_dagster.contracts.canonical import polars_type

    types = {column.name: column.type for column in columns}
    simple = {name: polars_type(kind) for name, kind in types.items() if not is_nested(kind)}
    empty = pl.DataFrame(schema=simple)
    for rule in rules:
        if rule.kind not in EXPRESSED or rule.level != "row" or not set(rule.columns) <= set(simple):
            continue
        try:
            result = empty.select(failing(rule, types)).to_series().dtype
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
            cause = str(error).split("\n", 1)[0]
            raise refuse(
                f"rule {rule.id} does not fit the types of its columns: {cause}", rule.columns[0]
            ) from error
        if result != pl.Boolean:
            raise refuse(f"rule {rule.id} gives {result}, not true or false", rule.columns[0])
