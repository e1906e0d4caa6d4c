"""Which type holds every value of which other, decided for each pair of types and not by name."""

from __future__ import annotations

import re

_INTEGER_DIGITS = {"int8": 3, "int16": 5, "int32": 10, "int64": 19}
_INTEGER_ORDER = ("int8", "int16", "int32", "int64")
# What is exact in a float: 24 and 53 bits of mantissa.
_EXACT_IN = {"float32": ("int8", "int16"), "float64": ("int8", "int16", "int32", "float32")}
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


def widens(old: str, new: str) -> bool:
    """Whether every value of canonical type ``old`` is, without loss, a value of ``new``.

    Args:
        old: Canonical type, as :class:`~dp_dagster.contracts.model.Column` has it.
        new: Another one.
    """
    if old == new:
        return True
    if old in _INTEGER_ORDER and new in _INTEGER_ORDER:
        return _INTEGER_ORDER.index(new) > _INTEGER_ORDER.index(old)
    if decimal := _DECIMAL.fullmatch(new):
        return _fits_decimal(old, int(decimal[1]), int(decimal[2]))
    if old.startswith("list<") and new.startswith("list<"):
        return widens(old[5:-1], new[5:-1])
    return old in _EXACT_IN.get(new, ())


def _fits_decimal(old: str, precision: int, scale: int) -> bool:
    if old in _INTEGER_DIGITS:
        return precision - scale >= _INTEGER_DIGITS[old]
    before = _DECIMAL.fullmatch(old)
    if before is None:
        return False
    old_precision, old_scale = int(before[1]), int(before[2])
    return scale >= old_scale and precision - scale >= old_precision - old_scale
