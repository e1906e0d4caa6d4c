"""A few failing rows to look at, with classified values masked."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.source import ROW

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import polars as pl

    from dp_dagster.contracts.model import Contract, Rule

MASK = "•••"
"""Stands for each value of a classified column. Not a hash: a hash of a short value can be guessed."""

_LONGEST_TEXT = 200


def sample_rows(
    contract: Contract, rule: Rule, frame: pl.LazyFrame, failing: pl.Expr | pl.DataFrame, size: int
) -> tuple[dict[str, Any], ...]:
    """The first rows that break a rule: the rule's columns and the contract's key.

    Args:
        contract: Of the rule.
        rule: The broken rule.
        frame: The table.
        failing: True for failing rows, or the failing rows' numbers.
        size: How many rows.

    Returns:
        JSON data; values of classified columns are :data:`MASK`, except null, which says nothing.
    """
    import polars as pl

    known = frame.collect_schema().names()
    names = list(dict.fromkeys([*rule.columns, *(name for name in contract.key if name in known)]))
    if isinstance(failing, pl.Expr):
        chosen = frame.filter(failing).select(names).head(size)
    else:
        chosen = (
            frame.select(names)
            .with_row_index(ROW)
            .join(failing.lazy(), on=ROW, how="semi")
            .sort(ROW)
            .select(names)
            .head(size)
        )
    rows = chosen.collect(engine="streaming").to_dicts()
    return tuple(shown(row, contract.classified) for row in rows)


def shown(row: Mapping[str, Any], classified: Collection[str]) -> dict[str, Any]:
    """A row as JSON data, classified values masked, long texts cut."""
    return {
        name: MASK if name in classified and value is not None else _short(plain(value))
        for name, value in row.items()
    }


def plain(value: Any) -> Any:  # noqa: PLR0911 - one return for each type
    """A value as JSON data: ISO 8601 times, decimals and the float values that JSON lacks as text."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124 - NaN
        return str(value).replace("nan", "NaN")
    if isinstance(value, (datetime, time)):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(plain(key)): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return value[: _LONGEST_TEXT - 1] + "…"
    return value
