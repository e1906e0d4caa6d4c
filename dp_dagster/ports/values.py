"""Rows as the JSON that every served kind answers with.

It is the project's own form of a row (:mod:`dp_dagster.contracts.row_json`): decimals are text with all their digits,
timestamps and dates ISO 8601, binary hexadecimal digits, and the float values that JSON lacks are ``"NaN"``, ``"inf"``
and ``"-inf"``. So nothing loses a digit on the way, and what ``dp export`` describes is what is served.
"""

from __future__ import annotations

import math
from datetime import UTC
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.literals import is_decimal, is_float

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from dp_dagster.contracts.model import Column

Row = tuple[Any, ...]


def row_encoder(columns: Sequence[Column], masked: Collection[str] = ()) -> Callable[[Row], dict[str, Any]]:
    """A function from rows, as tuples in the order of ``columns``, to what a JSON library can write.

    Made once for each selection and view; what is done for each row is little. Nested values come as JSON from the
    version that is asked, and stay as they are.

    Args:
        columns: What the rows hold.
        masked: Columns whose values are masked, so texts or null.
    """
    names = tuple(column.name for column in columns)
    changing = tuple(
        (column.name, change)
        for column in columns
        if column.name not in masked and (change := _encoder(column.type)) is not None
    )
    if not changing:
        return lambda row: dict(zip(names, row, strict=True))

    def encoded(row: Row) -> dict[str, Any]:
        made = dict(zip(names, row, strict=True))
        for name, change in changing:
            value = made[name]
            if value is not None:
                made[name] = change(value)
        return made

    return encoded


def _encoder(type_name: str) -> Callable[[Any], Any] | None:
    """How values of a type are written; ``None`` where they are JSON already."""
    if is_float(type_name):
        return _float
    if is_decimal(type_name):
        return lambda value: format(value, "f")
    further: dict[str, Callable[[Any], Any]] = {
        "binary": lambda value: value.hex(),
        "date": lambda value: value.isoformat(),
        "timestamp": lambda value: value.isoformat(timespec="microseconds"),
        "timestamp(UTC)": lambda value: value.astimezone(UTC).isoformat(timespec="microseconds"),
    }
    return further.get(type_name)


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("inf" if value > 0 else "-inf")
