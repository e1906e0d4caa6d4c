"""Contracts as JSON Schema (2020-12) of one row.

A row is what the project writes as JSON: dates and timestamps in ISO 8601 with microseconds, decimals as text (a
number could lose digits), binary in hexadecimal digits, and the float values that JSON lacks as ``"NaN"``, ``"inf"``
and ``"-inf"``. A schema can only refuse, so rules that warn are not in it; what speaks of several columns or rows
cannot be.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.notes import Note
from dp_dagster.contracts.portable_patterns import anchored, escaped, portable
from dp_dagster.contracts.type_shapes import Shape, shape_of

if TYPE_CHECKING:
    from dp_dagster.contracts.model import Column, Contract, Rule

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_ABOUT_ROWS = "a schema of one row cannot compare rows"
_ABOUT_COLUMNS = "JSON Schema does not compute with several values"
_ABOUT_PARTS = "rules on parts of nested values are not written yet"
_WARNS = "only warns, and a schema can only refuse"
_CLOCK = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
_UNORDERED = "JSON Schema orders numbers only"


def row_schema(contract: Contract) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """A contract as a schema of one row, and what it could not say."""
    notes: list[Note] = []
    by_column: dict[str, list[Rule]] = {column.name: [] for column in contract.columns}
    for rule in contract.rules:
        if rule.kind in ("columns", "type"):
            continue
        if rule.severity == "warn":
            notes.append(Note(rule.id, _WARNS))
        elif rule.kind == "unevaluated":
            notes.append(Note(rule.id, str(rule.params["reason"])))
        elif rule.level != "row" or rule.kind == "unique":
            notes.append(Note(rule.id, _ABOUT_ROWS))
        elif rule.params.get("path"):
            notes.append(Note(rule.id, _ABOUT_PARTS))
        elif rule.kind in ("expression", "custom", "reference") or len(rule.columns) != 1:
            notes.append(Note(rule.id, _ABOUT_COLUMNS))
        else:
            by_column[rule.columns[0]].append(rule)
    properties = {
        column.name: _property(column, by_column[column.name], notes) for column in contract.columns
    }
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": [column.name for column in contract.columns if column.required],
    }
    if contract.strict:
        schema["additionalProperties"] = False
    if notes:
        schema["x-notExpressed"] = [{"rule": note.subject, "reason": note.reason} for note in notes]
    return schema, tuple(notes)


def _property(column: Column, rules: list[Rule], notes: list[Note]) -> dict[str, Any]:
    shape = shape_of(column.accepts or column.type)
    nullable = not any(rule.kind == "not_null" or rule.params.get("null_fails") for rule in rules)
    value = _value(shape)
    further: list[dict[str, Any]] = []
    specials = {"NaN", "inf", "-inf"} if shape.family in ("float", "number") else set()
    for rule in rules:
        if rule.kind == "not_null":
            specials -= {"NaN"} if rule.params.get("nan_fails") else set()
            continue
        said = _said(rule, shape)
        if isinstance(said, str):
            notes.append(Note(rule.id, said))
            continue
        specials = {one for one in specials if _special_passes(one, rule)}
        if value.keys() & said.keys() - {"minimum", "maximum"}:
            further.append(said)
        else:
            value |= said  # bounds of the type give way to those of a rule
    if further:
        value["allOf"] = further
    choices = [value]
    if specials:
        choices.append({"enum": sorted(specials)})
    if nullable:
        choices.append({"type": "null"})
    made: dict[str, Any] = choices[0] if len(choices) == 1 else {"anyOf": choices}
    about = {"description": column.description} if column.description else {}
    extra = {
        key: text
        for key, text in (("x-unit", column.unit), ("x-classification", column.classification))
        if text
    }
    return {**about, **made, **extra}


def _value(shape: Shape) -> dict[str, Any]:  # noqa: PLR0911, PLR0912 - one for each family of types
    match shape.family:
        case "bool":
            return {"type": "boolean"}
        case "integer" if not shape.bits:
            return {"type": "integer"}
        case "number":
            return {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}]}
        case "moment":
            return {"type": "string", "pattern": f"{_CLOCK}(Z|\\+00:00)?$"}
        case "object":
            return {"type": ["object", "array"]}
        case "any":
            return {}
        case "integer":
            return {
                "type": "integer",
                "minimum": -(2 ** (shape.bits - 1)),
                "maximum": 2 ** (shape.bits - 1) - 1,
            }
        case "float":
            return {"type": "number"}
        case "decimal":
            fraction = rf"\.[0-9]{{{shape.scale}}}" if shape.scale else ""
            whole = max(shape.precision - shape.scale, 1)
            return {"type": "string", "pattern": f"^-?[0-9]{{1,{whole}}}{fraction}$"}
        case "binary":
            return {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
        case "date":
            return {"type": "string", "format": "date"}
        case "timestamp":
            if shape.zoned:
                return {"type": "string", "format": "date-time", "pattern": f"{_CLOCK}(Z|\\+00:00)$"}
            return {"type": "string", "pattern": f"{_CLOCK}$"}
        case "list":
            return {"type": "array", "items": _or_null(shape.parts[0][1])}
        case "struct":
            fields = {name: _or_null(part) for name, part in shape.parts}
            return {"type": "object", "properties": fields, "additionalProperties": False}
        case "map":
            # JSON has text keys only, so a map is a list of its entries.
            entry = {name: _value(part) if name == "key" else _or_null(part) for name, part in shape.parts}
            return {
                "type": "array",
                "items": {"type": "object", "properties": entry, "required": ["key", "value"]},
            }
    return {"type": "string"}


def _or_null(shape: Shape) -> dict[str, Any]:
    special = [{"enum": ["-inf", "NaN", "inf"]}] if shape.family == "float" else []
    return {"anyOf": [_value(shape), *special, {"type": "null"}]}


def _said(rule: Rule, shape: Shape) -> dict[str, Any] | str:  # noqa: PLR0911 - one return for each kind
    """The keywords that say the rule, or why none do."""
    params = rule.params
    match rule.kind:
        case "minimum" | "maximum":
            return _bound(rule, shape)
        case "length":
            limits = {"minLength": params.get("minimum"), "maxLength": params.get("maximum")}
            return {key: max(limit, 0) for key, limit in limits.items() if limit is not None}
        case "pattern":
            regex = anchored(params)
            return {"pattern": regex} if portable(regex) else "its regular expression is not one of ECMA 262"
        case "starts_with":
            return {"pattern": "^" + escaped(params["value"])}
        case "ends_with":
            return {"pattern": escaped(params["value"]) + "$"}
        case "one_of" | "equal":
            values = params["values"] if rule.kind == "one_of" else [params["value"]]
            return {"enum": [_as_row(value, shape) for value in values]}
        case "none_of" | "not_equal":
            values = params["values"] if rule.kind == "none_of" else [params["value"]]
            return {"not": {"enum": [_as_row(value, shape) for value in values]}}
        case "multiple_of" if shape.family in ("integer", "float"):
            return {"multipleOf": params["value"]}
        case "size" if shape.family == "list":
            limits = {"minItems": params.get("minimum"), "maxItems": params.get("maximum")}
            return {key: max(limit, 0) for key, limit in limits.items() if limit is not None}
        case "distinct_items":
            return {"uniqueItems": True}
    return f"JSON Schema has no keyword for {rule.kind.replace('_', ' ')} here"


def _bound(rule: Rule, shape: Shape) -> dict[str, Any] | str:
    value = rule.params["value"]
    if shape.family not in ("integer", "float"):
        return _UNORDERED
    if isinstance(value, str):
        # Nothing lies beyond the infinities: only they themselves can be excluded, which _special_passes does.
        beyond = value == ("-inf" if rule.kind == "minimum" else "inf")
        return {} if beyond else "no number is as large or small as that"
    name = f"exclusive{rule.kind.title()}" if rule.params["exclusive"] else rule.kind
    return {name: value}


def _special_passes(value: str, rule: Rule) -> bool:
    """Whether a float value that JSON lacks keeps the rule."""
    if rule.kind in ("one_of", "equal", "none_of", "not_equal"):
        listed = value in rule.params.get("values", [rule.params.get("value")])
        return listed if rule.kind in ("one_of", "equal") else not listed
    if rule.kind not in ("minimum", "maximum"):
        return True
    if value == "NaN":
        return False
    number, bound = float(value), float(rule.params["value"])
    if rule.params["exclusive"] and number == bound:
        return False
    return number >= bound if rule.kind == "minimum" else number <= bound


def _as_row(value: Any, shape: Shape) -> Any:
    """A rule's value in the form in which rows hold it."""
    if shape.family == "decimal":
        return f"{Decimal(value):.{shape.scale}f}"
    if shape.family == "timestamp":
        return datetime.fromisoformat(value).isoformat(timespec="microseconds")
    return value
