"""What the shape of a property or quality rule depends on: its logical type, its type of rule, the version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.odcs.models import OPERATORS, V31, V32
from dp_dagster.descriptor.problems import described, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dp_dagster.contracts.odcs.models import Version
    from dp_dagster.descriptor.paths import Keys

Found = tuple["Keys", str, str]

LOGICAL_TYPES: dict[str, Version] = {
    "string": (3, 0),
    "date": (3, 0),
    "number": (3, 0),
    "integer": (3, 0),
    "object": (3, 0),
    "array": (3, 0),
    "boolean": (3, 0),
    "timestamp": V31,
    "time": V31,
    "map": V32,
    "vector": V32,
}
"""Logical types, and the version that each came with."""

METRICS = ("nullValues", "missingValues", "invalidValues", "duplicateValues", "rowCount")
"""Metrics of library rules, from 3.1 on."""

INTEGER_FORMATS = ("i8", "i16", "i32", "i64", "i128", "u8", "u16", "u32", "u64", "u128")
NUMBER_FORMATS = ("f32", "f64")
ELEMENT_TYPES = ("bfloat16", "binary", "float16", "float32", "float64", "int8", "uint8")
_DISTANCES = ("cosine", "dotProduct", "euclidean", "hamming", "manhattan")


def _is_text(value: Any) -> str:
    return "" if isinstance(value, str) else "wants text"


def _is_flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "wants true or false"


def _is_number(value: Any) -> str:
    return "" if isinstance(value, int | float) and not isinstance(value, bool) else "wants a number"


def _is_count(value: Any) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return "" if whole else "wants a whole number from 0 on"


def _is_positive(value: Any) -> str:
    return "wants a number above 0" if _is_number(value) or value <= 0 else ""


def _is_dimension(value: Any) -> str:
    return "wants a whole number from 1 on" if _is_count(value) or value < 1 else ""


def _is_names(value: Any) -> str:
    fine = isinstance(value, list) and value and all(isinstance(one, str) for one in value)
    return "" if fine and len(set(value)) == len(value) else "wants a list of different names"


def _choice(choices: tuple[str, ...]) -> Callable[[Any], str]:
    return lambda value: "" if value in choices else f"wants one of {', '.join(choices)}"


def _ordered(of: Callable[[Any], str]) -> dict[str, Callable[[Any], str]]:
    return dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), of)


_NUMERIC = {**_ordered(_is_number), "multipleOf": _is_positive}
_TIME = {
    **_ordered(_is_text),
    "format": _is_text,
    "timezone": _is_flag,
    "defaultTimezone": _is_text,
}
_OPTIONS: dict[str, dict[str, Callable[[Any], str]]] = {
    "string": {"minLength": _is_count, "maxLength": _is_count, "pattern": _is_text, "format": _is_text},
    "date": {**_ordered(_is_text), "format": _is_text},
    "timestamp": _TIME,
    "time": _TIME,
    "integer": {**_NUMERIC, "format": _choice(INTEGER_FORMATS)},
    "number": {**_NUMERIC, "format": _choice(NUMBER_FORMATS)},
    "object": {"minProperties": _is_count, "maxProperties": _is_count, "required": _is_names},
    "array": {"minItems": _is_count, "maxItems": _is_count, "uniqueItems": _is_flag},
    "boolean": {},
    "map": {},
    "vector": {
        "dimensions": _is_dimension,
        "elementType": _choice(ELEMENT_TYPES),
        "distanceMetric": _choice(_DISTANCES),
        "embeddingModel": _is_text,
        "embeddingModelVersion": _is_text,
        "normalized": _is_flag,
    },
}


def property_problems(data: Mapping[str, Any], version: Version, *, named: bool) -> Iterator[Found]:
    """What is wrong with a property beyond the types of its fields."""
    if named and "name" not in data:
        yield ("name",), "is missing", "add `name: …`"
    kind = data.get("logicalType")
    if kind is not None:
        known = [name for name, since in LOGICAL_TYPES.items() if since <= version]
        if kind not in known:
            if isinstance(kind, str):
                yield ("logicalType",), f"{kind} is no logical type here", suggestion(kind, known)
            return
        yield from _option_problems(data.get("logicalTypeOptions"), kind, version)
    elif data.get("logicalTypeOptions"):
        yield (
            ("logicalTypeOptions",),
            "says more about a logicalType that is not named",
            "add `logicalType: …`",
        )
    for key, owner in (("properties", "object"), ("items", "array"), ("map", "map")):
        if key in data and kind != owner:
            yield (key,), f"belongs to a property of logicalType {owner}", f"write `logicalType: {owner}`"
    if kind == "map" and not isinstance(data.get("map"), dict):
        yield ("map",), "is missing", "say the types of its keys and values: `map: {key: …, value: …}`"
    options = data.get("logicalTypeOptions", {})
    if kind == "vector" and isinstance(options, dict) and "dimensions" not in options:
        yield ("logicalTypeOptions", "dimensions"), "is missing", "say how many numbers the vector has"


def _option_problems(options: Any, kind: str, version: Version) -> Iterator[Found]:
    if not isinstance(options, dict):
        return
    allowed = dict(_OPTIONS[kind])
    if version < V31 and "minimum" in allowed:
        # In 3.0 these two said whether the bound itself is allowed.
        allowed |= {"exclusiveMinimum": _is_flag, "exclusiveMaximum": _is_flag}
    for name, value in options.items():
        keys: Keys = ("logicalTypeOptions", name)
        if name not in allowed:
            choices = ", ".join(sorted(allowed)) or "none"
            yield keys, f"is no option of logicalType {kind}", f"options: {choices}"
        elif fault := allowed[name](value):
            yield keys, f"{fault}, not {described(value)}", ""


def quality_problems(data: Mapping[str, Any], version: Version) -> Iterator[Found]:
    """What is wrong with a quality rule beyond the types of its fields."""
    kind = data.get("type", "library" if version < V31 or "metric" in data else None)
    operators = [name for name in OPERATORS if name in data]
    if kind in ("library", "sql") and version >= V31 and len(operators) != 1:
        found = f"has {len(operators)} comparisons" if operators else "has no comparison"
        yield (), found, f"write one of {', '.join(OPERATORS)}"
    if kind == "library" or "metric" in data:
        name = "metric" if version >= V31 else "rule"
        if name not in data:
            yield (name,), "is missing", f"say what to count: `{name}: {METRICS[0]}`"
        elif version >= V31 and data["metric"] not in METRICS and isinstance(data["metric"], str):
            yield ("metric",), f"{data['metric']} is no metric", suggestion(data["metric"], METRICS)
    if kind == "sql" and "query" not in data:
        yield ("query",), "is missing", "write the query whose single value is compared"
    if kind == "custom":
        for name in ("engine", "implementation"):
            if name not in data:
                yield (name,), "is missing", f"add `{name}: …`"
    if version >= V31:
        yield from _misplaced(data, kind)


def _misplaced(data: Mapping[str, Any], kind: Any) -> Iterator[Found]:
    owners: dict[str, tuple[str, ...]] = {
        "query": ("sql",),
        "engine": ("custom",),
        "implementation": ("custom",),
    }
    owners |= dict.fromkeys(("metric", "rule", "arguments"), ("library",))
    owners |= dict.fromkeys(OPERATORS, ("library", "sql"))
    for name, kinds in owners.items():
        if name in data and kind not in kinds and not ("metric" in data and "library" in kinds):
            yield (name,), f"belongs to a rule of type {' or '.join(kinds)}", f"write `type: {kinds[0]}`"
