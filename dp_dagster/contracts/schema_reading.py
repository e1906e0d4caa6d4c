"""JSON Schemas of one row read back as contracts, so that two of them can be compared like contracts.

The other way is :mod:`.row_schema`. What a schema says with keywords that stand here becomes columns and rules; a
schema that says more is refused rather than half understood, since a comparison of halves could call a break
compatible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.model import Column, Contract, Rule
from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dp_dagster.contracts.model import RuleKind

_SPECIALS = {"NaN", "inf", "-inf"}
_TELLING = {
    "$schema",
    "$id",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "$comment",
    "readOnly",
}
_OF_ROW = {"type", "properties", "required", "additionalProperties"}
_TYPES = {"boolean": "bool", "integer": "int64", "number": "float64", "string": "string"}
_FORMATS = {"date": "date", "date-time": "timestamp(UTC)"}


def contract_of_schema(schema: Mapping[str, Any]) -> Contract:
    """The contract that a schema of one row amounts to.

    Raises:
        ContractError: it is no schema of a row, or uses keywords that cannot be compared; names place and keyword.
    """
    if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        raise ContractError("#: is no schema of a row; write type: object with properties")
    _refuse_unknown("#", schema, _OF_ROW)
    required = schema.get("required", [])
    columns: list[Column] = []
    rules: list[Rule] = []
    for name, declared in schema["properties"].items():
        column, of_column = _column(name, declared, required=name in required)
        columns.append(column)
        rules.extend(of_column)
    return Contract(
        name=str(schema.get("title", "")),
        hash="",
        format="jsonschema",
        source="",
        columns=tuple(columns),
        rules=tuple(rules),
        # Without the keyword further properties are allowed.
        strict=schema.get("additionalProperties") is False,
    )


def _refuse_unknown(place: str, schema: Mapping[str, Any], known: set[str]) -> None:
    for keyword in schema:
        if keyword not in known | _TELLING and not keyword.startswith("x-"):
            raise ContractError(f"{place}: {keyword} cannot be compared; see docs/control.md for what can")


def _column(name: str, declared: Any, *, required: bool) -> tuple[Column, list[Rule]]:
    place = f"#/properties/{name}"
    if not isinstance(declared, dict):
        raise ContractError(f"{place}: wants a schema")
    value, nullable = _value(place, declared)
    whole, value = _whole_number(value)
    rules = list(_rules(place, name, value))
    if not nullable:
        rules.append(Rule(f"{name}.not_null", "not_null", (name,)))
    column = Column(
        name,
        whole or _type(place, value),
        nullable=nullable,
        description=str(declared.get("description", "")),
        classification=declared.get("x-classification"),
        unit=declared.get("x-unit"),
        required=required,
    )
    return column, rules


def _value(place: str, declared: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """What a value is, null and the float values that JSON lacks set apart."""
    choices = declared.get("anyOf")
    if choices is None:
        kinds = declared.get("type")
        if isinstance(kinds, list) and "null" in kinds:
            others = [kind for kind in kinds if kind != "null"]
            return {**declared, "type": others[0] if len(others) == 1 else others}, True
        return dict(declared), False
    nullable = False
    values = []
    for choice in choices:
        if not isinstance(choice, dict):
            raise ContractError(f"{place}/anyOf: wants schemas")
        if choice == {"type": "null"}:
            nullable = True
        elif set(choice) == {"enum"} and set(choice["enum"]) <= _SPECIALS:
            continue
        else:
            values.append(choice)
    if len(values) != 1:
        raise ContractError(f"{place}: anyOf of several types cannot be compared")
    around = {key: text for key, text in declared.items() if key != "anyOf"}
    return {**around, **values[0]}, nullable


_LOWER_ENDS = {"minimum", "exclusiveMinimum"}
_UPPER_ENDS = {"maximum", "exclusiveMaximum"}


def _whole_number(value: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The integer type whose range a schema names, and the schema without the ends that only say the type."""
    if value.get("type") != "integer":
        return "", value
    for bits in (8, 16, 32, 64):
        ends = {"minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}
        said = {keyword for keyword, end in ends.items() if value.get(keyword) == end}
        # A bound on one side alone is a rule: a type has two ends.
        if said and value.keys() & _LOWER_ENDS and value.keys() & _UPPER_ENDS:
            return f"int{bits}", {key: one for key, one in value.items() if key not in said}
    return "int64", value


def _type(place: str, value: Mapping[str, Any]) -> str:
    kind = value.get("type")
    if kind == "string" and value.get("format") in _FORMATS:
        return _FORMATS[value["format"]]
    if kind == "array":
        items, _ = _value(f"{place}/items", value.get("items", {}))
        return f"list<{_type(f'{place}/items', items)}>" if items else "list<string>"
    if kind == "object":
        parts = []
        for name, declared in value.get("properties", {}).items():
            part, _ = _value(f"{place}/properties/{name}", declared)
            parts.append(f"{name}: {_type(f'{place}/properties/{name}', part)}")
        return f"struct<{', '.join(parts)}>"
    if isinstance(kind, str) and kind in _TYPES:
        return _TYPES[kind]
    raise ContractError(f"{place}: type {kind!r} cannot be compared")


def _rules(place: str, name: str, value: Mapping[str, Any]) -> Iterator[Rule]:
    nested = {"items", "properties", "additionalProperties", "required"}
    known = {"type", "format", "allOf", "anyOf", *nested, *_KEYWORDS}
    _refuse_unknown(place, value, known)
    found: list[tuple[RuleKind, dict[str, Any]]] = []
    for part in (value, *value.get("allOf", ())):
        if part is not value:
            _refuse_unknown(f"{place}/allOf", part, set(_KEYWORDS))
        found.extend(
            (_KEYWORDS[keyword], _params(place, keyword, content))
            for keyword, content in part.items()
            if keyword in _KEYWORDS
        )
    limits: dict[RuleKind, dict[str, Any]] = {}
    for number, (kind, params) in enumerate(found):
        if kind in ("length", "size"):
            # Least and most are one rule.
            limits.setdefault(kind, {}).update({key: one for key, one in params.items() if one is not None})
        else:
            yield Rule(f"{name}.{kind}.{number}", kind, (name,), params)
    for kind, params in limits.items():
        yield Rule(f"{name}.{kind}", kind, (name,), {"minimum": None, "maximum": None, **params})


_KEYWORDS: dict[str, RuleKind] = {
    "minimum": "minimum",
    "exclusiveMinimum": "minimum",
    "maximum": "maximum",
    "exclusiveMaximum": "maximum",
    "minLength": "length",
    "maxLength": "length",
    "minItems": "size",
    "maxItems": "size",
    "pattern": "pattern",
    "enum": "one_of",
    "const": "equal",
    "not": "none_of",
    "multipleOf": "multiple_of",
    "uniqueItems": "distinct_items",
}


def _params(place: str, keyword: str, content: Any) -> dict[str, Any]:  # noqa: PLR0911 - one for each shape
    match keyword:
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            return {"value": content, "exclusive": keyword.startswith("exclusive")}
        case "minLength" | "minItems":
            return {"minimum": content, "maximum": None}
        case "maxLength" | "maxItems":
            return {"minimum": None, "maximum": content}
        case "pattern":
            return {"regex": content, "mode": "search"}
        case "enum":
            return {"values": list(content)}
        case "not":
            if not isinstance(content, dict) or set(content) != {"enum"}:
                raise ContractError(f"{place}: not cannot be compared unless it lists values")
            return {"values": list(content["enum"])}
        case "const" | "multipleOf":
            return {"value": content}
    return {}
