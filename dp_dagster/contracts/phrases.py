"""Rules in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dp_dagster.contracts.model import Rule

_SHOWN_VALUES = 10


def phrase(rule: Rule) -> str:
    """What a rule asks for, in a few words: ``distance: at least 0``."""
    subject = ", ".join(rule.columns)
    text = rule.description or wanted(rule)
    return f"{subject}: {text}" if subject else text


def wanted(rule: Rule) -> str:  # noqa: PLR0911, PLR0912 - one branch for each kind
    """What a rule asks of its column: ``at least 0``."""
    params = rule.params
    match rule.kind:
        case "columns":
            return "the declared columns and no others" if params.get("strict") else "the declared columns"
        case "type":
            return f"of type {params.get('type', 'as declared')}"
        case "not_null":
            return "not null, not NaN" if params.get("nan_fails") else "not null"
        case "minimum":
            return f"{'more than' if params['exclusive'] else 'at least'} {params['value']}"
        case "maximum":
            return f"{'less than' if params['exclusive'] else 'at most'} {params['value']}"
        case "one_of":
            return f"one of {_values(params['values'])}"
        case "none_of":
            return f"none of {_values(params['values'])}"
        case "pattern":
            where = {"match": "starts with", "search": "contains", "full": "is"}[params["mode"]]
            return f"{where} a match of {params['regex']}"
        case "length" | "row_count":
            return _between(rule)
        case "equal":
            return f"equal to {params['value']}"
        case "not_equal":
            return f"not equal to {params['value']}"
        case "starts_with":
            return f"starts with {params['value']}"
        case "ends_with":
            return f"ends with {params['value']}"
        case "unique":
            return "unique"
    return f"check {rule.id}"


def _between(rule: Rule) -> str:
    minimum, maximum = rule.params.get("minimum"), rule.params.get("maximum")
    unit = "characters" if rule.kind == "length" else "rows"
    if minimum == maximum:
        return f"exactly {minimum} {unit}"
    limits = [
        *([f"at least {minimum}"] if minimum is not None else []),
        *([f"at most {maximum}"] if maximum is not None else []),
    ]
    return f"{' and '.join(limits)} {unit}"


def _values(values: list[object]) -> str:
    shown = ", ".join(str(value) for value in values[:_SHOWN_VALUES])
    return f"{shown} and {len(values) - _SHOWN_VALUES} more" if len(values) > _SHOWN_VALUES else shown
