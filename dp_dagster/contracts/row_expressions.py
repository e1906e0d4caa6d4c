"""Expressions that an author wrote: which may join the single scan, and how they are kept as text."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

_FUNCTIONS = frozenset(
    [
        "Abs",
        "Sign",
        "Negate",
        "Round",
        "RoundSF",
        "Floor",
        "Ceil",
        "Clip",
        "Coalesce",
        "FillNull",
        "Log",
        "Log1p",
        "Exp",
        "AsStruct",
        "Pow",
        "Trigonometry",
        "MaxHorizontal",
        "MinHorizontal",
        "SumHorizontal",
        "MeanHorizontal",
        "Replace",
        "ReplaceStrict",
        "NullIf",
    ]
)
_BOOLEAN = frozenset(
    [
        "IsNull",
        "IsNotNull",
        "IsNan",
        "IsNotNan",
        "IsFinite",
        "IsInfinite",
        "IsBetween",
        "IsIn",
        "IsClose",
        "Not",
        "AllHorizontal",
        "AnyHorizontal",
    ]
)
_STRING = frozenset(
    [
        "Contains",
        "ContainsAny",
        "CountMatches",
        "EndsWith",
        "StartsWith",
        "Extract",
        "ExtractAll",
        "Find",
        "LenBytes",
        "LenChars",
        "Lowercase",
        "Uppercase",
        "Titlecase",
        "Replace",
        "Reverse",
        "Head",
        "Tail",
        "Slice",
        "Split",
        "SplitExact",
        "SplitN",
        "StripChars",
        "StripCharsStart",
        "StripCharsEnd",
        "StripPrefix",
        "StripSuffix",
        "PadStart",
        "PadEnd",
        "ZFill",
        "ConcatHorizontal",
        "Normalize",
        "ToInteger",
        "HexDecode",
        "Base64Decode",
        "EscapeRegex",
    ]
)
_LIST = frozenset(
    name
    for line in ("Length Contains Get Sum Max Min Mean First Last CountMatches NUnique",)
    for name in line.split()
)
_GROUPS: dict[str, frozenset[str] | None] = {
    "Boolean": _BOOLEAN,
    "StringExpr": _STRING,
    "ListExpr": _LIST,
    "StructExpr": frozenset({"FieldByName"}),
    "TemporalExpr": None,  # all of them look at one value at a time
}


def serialise(expression: pl.Expr) -> str:
    """Keep an expression that looks at one row at a time as JSON text.

    Raises:
        ValueError: The expression looks at more than its own row (aggregates, windows, shifts), calls Python,
            or names no column; the text says which part.
    """
    import polars as pl

    try:
        text = expression.meta.serialize(format="json")
    except pl.exceptions.PolarsError as error:
        raise ValueError(
            f"it cannot be kept as text ({_first_line(error)}): it calls a Python function"
        ) from error
    obstacle = _obstacle(json.loads(text))
    if obstacle:
        raise ValueError(obstacle)
    if not column_names(text):
        raise ValueError("it names no column")
    return text


def deserialise(text: str) -> pl.Expr:
    """Read back what :func:`serialise` wrote."""
    import polars as pl

    return pl.Expr.deserialize(io.StringIO(text), format="json")


def column_names(text: str) -> tuple[str, ...]:
    """The columns that a kept expression reads, in order of appearance."""
    names: dict[str, None] = {}

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("Column"), str):
                names[node["Column"]] = None
            for part in node.values():
                walk(part)
        elif isinstance(node, list):
            for part in node:
                walk(part)

    walk(json.loads(text))
    return tuple(names)


def _obstacle(node: Any) -> str:
    """Why a node of a serialised expression is not known to look at its own row only; empty if it does.

    What is not on the lists counts as an obstacle: a wrong "no" costs speed, a wrong "yes" wrong counts.
    """
    if not isinstance(node, dict) or len(node) != 1:
        return f"{_label(node)} is not known to look at one row at a time"
    kind, content = next(iter(node.items()))
    parts: list[Any]
    match kind:
        case "Column":
            return "" if isinstance(content, str) else "it selects columns by more than a name"
        case "Literal":
            known = isinstance(content, dict) and next(iter(content)) in ("Dyn", "Scalar")
            return "" if known else "it compares with a series of values, row by row"
        case "Alias":
            parts = [content[0]]
        case "Cast":
            parts = [content["expr"]]
        case "BinaryExpr":
            parts = [content["left"], content["right"]]
        case "Ternary":
            parts = [content["predicate"], content["truthy"], content["falsy"]]
        case "Function":
            parts = content["input"]
            obstacle = _function_obstacle(content["function"], parts)
            if obstacle:
                return obstacle
        case _:
            return f"{kind} is not known to look at one row at a time"
    return next((found for found in map(_obstacle, parts) if found), "")


def _function_obstacle(function: Any, inputs: list[Any]) -> str:
    group, name = (next(iter(function.items()))) if isinstance(function, dict) else ("", function)
    if group in _GROUPS:
        allowed = _GROUPS[group]
        label = _label(name)
        if allowed is not None and label not in allowed:
            return f"{label} is not known to look at one row at a time"
        if label == "IsIn" and "Literal" not in inputs[1]:
            return "is_in with another column"
        return ""
    label = group or _label(name)
    return "" if label in _FUNCTIONS else f"{label} is not known to look at one row at a time"


def _label(node: Any) -> str:
    return next(iter(node)) if isinstance(node, dict) and node else str(node)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0]
