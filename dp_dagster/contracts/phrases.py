"""Rules in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.comparisons import in_words

if TYPE_CHECKING:
    from dp_dagster.contracts.model import Rule

_SHOWN_VALUES = 10


def phrase(rule: Rule) -> str:
    """What a rule asks for, in a few words: ``distance: at least 0``."""
    subject = ", ".join(rule.columns) + _path(rule)
    text = rule.description or wanted(rule)
    if rule.kind == "unevaluated" and rule.description:
        text = f"{text} ({wanted(rule)})"
    return f"{subject}: {text}" if subject else text


def wanted(rule: Rule) -> str:  # noqa: PLR0911, PLR0912 - one branch for each kind
    """What a rule asks of its column: ``at least 0``."""
    params = rule.params
    match rule.kind:
        case "columns":
            return "the declared columns and no others" if params.get("strict") else "the declared columns"
        case "type":
            return f"of type {_type(params)}"
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
        case "length" | "row_count" | "size":
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
        case "multiple_of":
            return f"a multiple of {params['value']}"
        case "text_format":
            return f"written as {params['format']}"
        case "distinct_items":
            return "no item twice"
        case "reference":
            return f"one of {params['dataset']} ({', '.join(params['columns'])})"
        case "measure":
            return _measure(params)
        case "sql":
            return f"query gives {in_words(params['compare'])}"
        case "unevaluated":
            return f"not evaluated: {params['reason']}"
    return f"check {rule.id}"


def _between(rule: Rule) -> str:
    minimum, maximum = rule.params.get("minimum"), rule.params.get("maximum")
    unit = {"length": "characters", "row_count": "rows", "size": "items"}[rule.kind]
    if minimum == maximum:
        return f"exactly {minimum} {unit}"
    limits = [
        *([f"at least {minimum}"] if minimum is not None else []),
        *([f"at most {maximum}"] if maximum is not None else []),
    ]
    return f"{' and '.join(limits)} {unit}"


_FAMILIES = {"integer": "integer of any size", "number": "number of any kind", "moment": "timestamp"}


def _type(params: dict[str, Any]) -> str:
    accepts = params.get("accepts")
    return _FAMILIES.get(accepts, accepts) if accepts else str(params.get("type", "as declared"))


def _path(rule: Rule) -> str:
    """The part of a column that a rule is about: ``.zip``, ``[]``."""
    steps = rule.params.get("path") or []
    return "".join(
        f".{step[1]}" if step[0] == "field" else f"[{step[0].replace('items', '')}]" for step in steps
    )


_COUNTED = {
    "not_null": "without a value",
    "one_of": "with another value",
    "none_of": "with a value that stands for none",
    "pattern": "that do not match",
    "unique": "that repeat a key",
    "rows": "",
}


def _measure(params: dict[str, Any]) -> str:
    counted = " or ".join(_COUNTED[part["kind"]] for part in params["of"])
    unit = "% of rows" if params["unit"] == "percent" else "rows"
    return f"{in_words(params['compare'])} {unit} {counted}".rstrip()


def _values(values: list[object]) -> str:
    shown = ", ".join(str(value) for value in values[:_SHOWN_VALUES])
    return f"{shown} and {len(values) - _SHOWN_VALUES} more" if len(values) > _SHOWN_VALUES else shown
