"""What changed between two forms of one rule: tightened, loosened, or neither that can be told."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal

from dp_dagster.contracts.literals import from_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_dagster.contracts.model import Rule

Direction = Literal["same", "tightened", "loosened", "changed", "values added", "values removed"]


def direction(old: Rule, new: Rule, type_name: str | None) -> Direction:
    """How the new form of a rule relates to the old one.

    Args:
        old: The rule as it was.
        new: A rule of the same kind on the same columns.
        type_name: Canonical type of the rule's column, where it has one.
    """
    moved = "same" if old.params == new.params else _moved(old, new, type_name)
    if old.severity == new.severity:
        return moved
    severity: Direction = "tightened" if new.severity == "error" else "loosened"
    if moved in {"same", severity}:
        return severity
    return "changed"


def _moved(old: Rule, new: Rule, type_name: str | None) -> Direction:
    compare = _BY_KIND.get(old.kind)
    return "changed" if compare is None else compare(old.params, new.params, type_name)


def _lower_bound(old: dict[str, Any], new: dict[str, Any], type_name: str | None) -> Direction:
    return _bound(old, new, type_name, tighter_is_greater=True)


def _upper_bound(old: dict[str, Any], new: dict[str, Any], type_name: str | None) -> Direction:
    return _bound(old, new, type_name, tighter_is_greater=False)


def _bound(
    old: dict[str, Any], new: dict[str, Any], type_name: str | None, *, tighter_is_greater: bool
) -> Direction:
    before, after = _value(old["value"], type_name), _value(new["value"], type_name)
    if type_name is None and not all(isinstance(value, int | float) for value in (before, after)):
        # Of a part of a column the type is not known here, and texts of dates or decimals do not compare.
        return "changed"
    if before == after:
        if old["exclusive"] == new["exclusive"]:
            # Something beside the bound has changed, and what that does is not known here.
            return "changed"
        return "tightened" if new["exclusive"] else "loosened"
    return "tightened" if (after > before) is tighter_is_greater else "loosened"


def _one_of(old: dict[str, Any], new: dict[str, Any], _type_name: str | None) -> Direction:
    before, after = {repr(value) for value in old["values"]}, {repr(value) for value in new["values"]}
    if before < after:
        return "values added"
    if after < before:
        return "values removed"
    return "same" if before == after else "changed"


def _none_of(old: dict[str, Any], new: dict[str, Any], type_name: str | None) -> Direction:
    found = _one_of(old, new, type_name)
    return {"values added": "tightened", "values removed": "loosened"}.get(found, found)  # type: ignore[return-value]  # of these literals


def _range(old: dict[str, Any], new: dict[str, Any], _type_name: str | None) -> Direction:
    lower = _limit(old.get("minimum"), new.get("minimum"), tighter_is_greater=True)
    upper = _limit(old.get("maximum"), new.get("maximum"), tighter_is_greater=False)
    if {lower, upper} == {"same"}:
        return "changed"
    if "loosened" not in {lower, upper}:
        return "tightened"
    return "loosened" if "tightened" not in {lower, upper} else "changed"


def _multiple(old: dict[str, Any], new: dict[str, Any], _type_name: str | None) -> Direction:
    before, after = Fraction(str(old["value"])), Fraction(str(new["value"]))
    if before == after:
        return "changed"
    if (after / before).denominator == 1:
        return "tightened"
    return "loosened" if (before / after).denominator == 1 else "changed"


def _limit(old: float | None, new: float | None, *, tighter_is_greater: bool) -> Direction:
    if old == new:
        return "same"
    if old is None:
        return "tightened"
    if new is None:
        return "loosened"
    return "tightened" if (new > old) is tighter_is_greater else "loosened"


def _value(value: Any, type_name: str | None) -> Any:
    return from_json(value, type_name) if type_name is not None else value


_BY_KIND: dict[str, Callable[[dict[str, Any], dict[str, Any], str | None], Direction]] = {
    "minimum": _lower_bound,
    "maximum": _upper_bound,
    "one_of": _one_of,
    "none_of": _none_of,
    "length": _range,
    "size": _range,
    "multiple_of": _multiple,
    "row_count": _range,
}
