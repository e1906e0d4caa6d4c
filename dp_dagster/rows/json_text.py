"""Rows as JSON, written by DuckDB: the project's one form of values, the same as in a page or in quarantine.

Decimals are text with all digits of the scale, timestamps ISO 8601 with microseconds, binary is lower case
hexadecimal, NaN and the infinities are the texts ``"NaN"``, ``"inf"`` and ``"-inf"``, maps are lists of entries.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dp_dagster.engines.duckdb import literal, quote

if TYPE_CHECKING:
    from dp_dagster.contracts.type_trees import TypeTree

_QUOTED = frozenset({"binary", "date", "timestamp", "timestamp(UTC)"})
_ISO = "%Y-%m-%dT%H:%M:%S.%f"


def value_expression(tree: TypeTree, value: str, depth: int = 0) -> str:  # noqa: PLR0911 one for each type
    """A DuckDB expression that ``to_json`` writes as the form says.

    Args:
        tree: Type of the value.
        value: The value, as an expression.
        depth: How many lists it is inside of; names of lambda parameters follow from it.
    """
    name = tree.name
    if name.startswith("float"):
        return _float(value)
    if name.startswith("decimal"):
        return _decimal(name, value)
    if name == "binary":
        return f"lower(hex({value}))"
    if name == "date":
        return f"{value}::varchar"
    if name == "timestamp":
        return f"strftime({value}, '{_ISO}')"
    if name == "timestamp(UTC)":
        return f"(strftime({value}, '{_ISO}') || case when isfinite({value}) then '+00:00' else '' end)"
    if name == "list":
        item = f"x{depth}"
        return (
            f"list_transform({value}, lambda {item}: {value_expression(tree.parts[0][1], item, depth + 1)})"
        )
    if name == "map":
        entry = f"x{depth}"
        parts = ", ".join(
            f"'{part}': {value_expression(child, f'{entry}.{part}', depth + 1)}" for part, child in tree.parts
        )
        return f"list_transform(map_entries({value}), lambda {entry}: {{{parts}}})"
    if name == "struct":
        fields = ", ".join(
            f"{quote(field)} := {value_expression(child, f'{value}.{quote(field)}', depth)}"
            for field, child in tree.parts
        )
        return f"case when {value} is not null then struct_pack({fields}) end"
    return value


def text_expression(tree: TypeTree, value: str) -> str:
    """A DuckDB expression of the same form for CSV: nested values are JSON texts, all else stands bare."""
    if tree.name in {"list", "map", "struct"}:
        return f"to_json({value_expression(tree, value)})::varchar"
    if tree.name.startswith("float"):
        return f"json_extract_string({_float(value)}, '$')"
    return f"{value_expression(tree, value)}::varchar"


def row_expression(columns: list[tuple[str, str]]) -> str:
    """One JSON object from columns, each its name and an expression made by :func:`value_expression`."""
    return (
        f"to_json(struct_pack({', '.join(f'{quote(name)} := {value}' for name, value in columns)}))::varchar"
    )


def row_text(columns: list[tuple[str, TypeTree]]) -> str:
    """The same object as :func:`row_expression` makes, from names and types; in half the time for flat columns."""
    parts = []
    for name, tree in columns:
        written = quote(name)
        value = value_expression(tree, written)
        if tree.name in _QUOTED or tree.name.startswith("decimal"):
            # Digits and signs: there is nothing to escape.
            value = f"'\"' || {value} || '\"'"
        elif tree.name.startswith(("int", "float")) or tree.name == "bool":
            value = f"({value})::varchar"
        else:
            value = f"to_json({value})::varchar"
        parts.append(f"{literal(_member(name))}, coalesce({value}, 'null')")
    members = ", ',', ".join(parts)
    return f"concat('{{', {members}, '}}')"


def _member(name: str) -> str:
    return f"{json.dumps(name, ensure_ascii=False)}:"


def _float(value: str) -> str:
    double = f"{value}::double"
    return (
        f"case when isfinite({double}) then to_json({double}) when isnan({double}) then '\"NaN\"'::json "
        f"when {double} > 0 then '\"inf\"'::json when {double} < 0 then '\"-inf\"'::json end"
    )


def _decimal(name: str, value: str) -> str:
    precision, _, scale = name.removeprefix("decimal(").removesuffix(")").partition(",")
    text = f"{value}::varchar"
    if precision == scale:
        # DuckDB writes no zero before the point then.
        return f"regexp_replace({text}, '^(-?)[.]', '\\10.')"
    return text
