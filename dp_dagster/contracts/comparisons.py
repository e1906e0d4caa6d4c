"""One comparison of something counted with what a contract allows."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

OPERATORS = (
    "equal",
    "not_equal",
    "above",
    "at_least",
    "below",
    "at_most",
    "between",
    "not_between",
)
"""``between`` and ``not_between`` take ``[lowest, highest]``, both ends included in the range."""

_WORDS = {
    "equal": "exactly",
    "not_equal": "not",
    "above": "more than",
    "at_least": "at least",
    "below": "less than",
    "at_most": "at most",
}


def holds(compare: dict[str, Any], found: Any) -> bool:
    """Whether what was found keeps the comparison.

    Numbers are compared exactly: 0.1 means one tenth. Null keeps nothing. A text or flag can only be equal or
    not.

    Args:
        compare: ``{"operator": …, "value": …}``.
        found: What was counted, or what a query gave.

    Raises:
        TypeError: The two cannot be compared.
    """
    operator, value = compare["operator"], compare["value"]
    if found is None:
        return operator == "equal" and value is None
    if operator in ("equal", "not_equal"):
        same = _exact(found) == _exact(value) if _is_number(found) and _is_number(value) else found == value
        return same is (operator == "equal")
    number = _exact(found)
    if operator in ("between", "not_between"):
        within = _exact(value[0]) <= number <= _exact(value[1])
        return bool(within) is (operator == "between")
    limit = _exact(value)
    kept: dict[str, bool] = {
        "above": number > limit,
        "at_least": number >= limit,
        "below": number < limit,
        "at_most": number <= limit,
    }
    return kept[operator]


def in_words(compare: dict[str, Any]) -> str:
    """``at most 5``."""
    operator, value = compare["operator"], compare["value"]
    if operator in ("between", "not_between"):
        return f"{'between' if operator == 'between' else 'not between'} {value[0]} and {value[1]}"
    return f"{_WORDS[operator]} {value}"


def allows_none(compare: dict[str, Any]) -> bool:
    """Whether the comparison is kept by 0 alone, as far as counts go: ``exactly 0``, ``at most 0.5``, ``below 1``."""
    return holds(compare, 0) and not any(holds(compare, count) for count in (1, 2, 10**9))


def can_hold(compare: dict[str, Any], *, highest: float | None = None) -> bool:
    """Whether some count from 0 on (up to ``highest``) keeps the comparison.

    Raises:
        TypeError: The comparison is not with numbers.
    """
    operator, value = compare["operator"], compare["value"]
    limit = highest if highest is not None else float("inf")
    if operator in ("between", "not_between"):
        low, high = (_exact(one) for one in value)
        return bool(high >= 0 and low <= limit if operator == "between" else low > 0 or high < limit)
    number = _exact(value)
    possible: dict[str, bool] = {
        "equal": 0 <= number <= limit,
        "not_equal": True,
        "above": number < limit,
        "at_least": number <= limit,
        "below": number > 0,
        "at_most": number >= 0,
    }
    return possible[operator]


def _is_number(value: Any) -> bool:
    return (not isinstance(value, bool) and hasattr(value, "as_integer_ratio")) or isinstance(value, Fraction)


def _exact(value: Any) -> Any:
    if not _is_number(value):
        raise TypeError(f"{value!r} is no number")
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124 - NaN
        return value
    # A float is taken as it is written.
    return Fraction(str(value)) if isinstance(value, float) else Fraction(value)
