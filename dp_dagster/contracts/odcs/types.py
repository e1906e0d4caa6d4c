"""From an ODCS property to the type that a column of a published table must have.

``logicalType`` names a family (``integer``); its ``format`` or, where there is no logical type, ``physicalType``
narrows it. A physical type beside a logical one is that of the source's platform and only says which type of the
family to prefer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.contracts.type_trees import TypeTree, parse_type, write_type

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_dagster.contracts.odcs.models import Property
    from dp_dagster.descriptor.paths import Keys

_DECIMAL = re.compile(r"(?:decimal|numeric|number|dec|bignumeric)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
_PHYSICAL: tuple[tuple[str, str], ...] = (
    (r"(var|n|nvar|bp)?char(acter)?( varying)?2?|text|string|clob|nclob|longtext|uuid|enum", "string"),
    (r"bool(ean)?", "bool"),
    (r"tinyint|int1|byteint|int8_t", "int8"),
    (r"smallint|int2|smallserial", "int16"),
    (r"int|integer|int4|serial|mediumint", "int32"),
    (r"bigint|int8|int64|long|bigserial|hugeint", "int64"),
    (r"real|float4|float32", "float32"),
    (r"double( precision)?|float|float8|float64|binary_double", "float64"),
    (r"date|date32", "date"),
    (
        r"timestamptz|timestamp_?(l?tz|with( local)? time zone)|timestamp with( local)? time zone",
        "timestamp(UTC)",
    ),
    (r"timestamp|timestamp_ntz|timestamp without time zone|datetime2?", "timestamp"),
    (r"(var)?binary|bytea|blob|bytes|binary large object", "binary"),
)
_INTEGER_TYPES = {"i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64"}


@dataclass(frozen=True)
class Wish:
    """What a column's type should be.

    Attributes:
        type: The canonical type to prefer.
        accepts: What else keeps the promise, as a wish of :mod:`..type_trees`; empty where nothing else does.
    """

    type: str
    accepts: str = ""

    @property
    def wanted(self) -> str:
        """Type or family."""
        return self.accepts or self.type


def physical_type(text: str | None) -> str | None:
    """The canonical type of a simple physical type, or ``None`` where there is none."""
    written = " ".join((text or "").lower().split())
    decimal = _DECIMAL.fullmatch(written)
    if decimal:
        precision, scale = int(decimal[1]), int(decimal[2] or 0)
        return f"decimal({precision},{scale})" if 1 <= precision <= 38 and scale <= precision else None
    # Lengths and precisions in brackets do not change the family.
    bare = " ".join(re.sub(r"\s*\([^()]*\)", "", written).split())
    return next((name for pattern, name in _PHYSICAL if re.fullmatch(pattern, bare)), None)


def is_text(prop: Property) -> bool:
    """Whether a date or time is kept as text."""
    kind = prop.logical_type
    return kind == "time" or (
        kind in ("date", "timestamp")
        and prop.physical_type is not None
        and physical_type(prop.physical_type) == "string"
    )


def wish(prop: Property, keys: Keys, add: Callable[[Keys, str, str], None]) -> Wish:
    """The type that a property asks for.

    Args:
        prop: The property.
        keys: Where it stands.
        add: Notes a problem.
    """
    preferred, accepted = _tree(prop, keys, add)
    return Wish(write_type(preferred), write_type(accepted) if accepted != preferred else "")


def _tree(  # noqa: PLR0911, PLR0912 - one return for each logical type
    prop: Property, keys: Keys, add: Callable[[Keys, str, str], None]
) -> tuple[TypeTree, TypeTree]:
    kind, physical = prop.logical_type, physical_type(prop.physical_type)
    options = prop.options or {}
    if kind is None:
        return _physical_only(prop, physical, keys, add)
    if is_text(prop):
        return _same("string")
    match kind:
        case "string":
            return _same("string")
        case "boolean":
            return _same("bool")
        case "date":
            return _same("date")
        case "timestamp":
            if "timezone" in options:
                return _same("timestamp(UTC)" if options["timezone"] else "timestamp")
            return TypeTree(physical if physical == "timestamp(UTC)" else "timestamp"), TypeTree("moment")
        case "integer":
            preferred = _INTEGER_TYPES.get(options.get("format", ""), "int64")
            return TypeTree(preferred), TypeTree("integer")
        case "number":
            if "format" in options:
                return _same("float32" if options["format"] == "f32" else "float64")
            chosen = physical if physical and physical.startswith(("decimal", "float", "int")) else "float64"
            return TypeTree(chosen), TypeTree("number")
        case "object":
            return _object(prop, keys, add)
        case "array":
            if prop.items is None:
                return TypeTree("list", (("items", TypeTree("string")),)), TypeTree(
                    "list", (("items", TypeTree("any")),)
                )
            return _nested("list", [("items", prop.items, (*keys, "items"))], add)
        case "map" if prop.map is not None:
            parts = [
                ("key", prop.map.key, (*keys, "map", "key")),
                ("value", prop.map.value, (*keys, "map", "value")),
            ]
            return _nested("map", parts, add)
        case "vector":
            element = "float64" if options.get("elementType") == "float64" else "float32"
            return TypeTree("list", (("items", TypeTree(element)),)), TypeTree(
                "list", (("items", TypeTree("number")),)
            )
    add((*keys, "logicalType"), f"{kind} cannot be kept in a published table", "choose another logicalType")
    return _same("string")


def _physical_only(
    prop: Property, physical: str | None, keys: Keys, add: Callable[[Keys, str, str], None]
) -> tuple[TypeTree, TypeTree]:
    if physical is not None:
        return _same(physical)
    found = (
        f"physicalType {prop.physical_type} is not known"
        if prop.physical_type
        else "says nothing of its type"
    )
    add(keys, found, "add a logicalType")
    return _same("string")


def _object(prop: Property, keys: Keys, add: Callable[[Keys, str, str], None]) -> tuple[TypeTree, TypeTree]:
    if not prop.properties:
        return TypeTree("struct"), TypeTree("object")
    parts = [
        (field_name(part), part, (*keys, "properties", number)) for number, part in enumerate(prop.properties)
    ]
    return _nested("struct", parts, add)


def _nested(
    name: str, parts: list[tuple[str, Property, Keys]], add: Callable[[Keys, str, str], None]
) -> tuple[TypeTree, TypeTree]:
    trees = [(label, *_tree(part, keys, add)) for label, part, keys in parts]
    return (
        TypeTree(name, tuple((label, preferred) for label, preferred, _ in trees)),
        TypeTree(name, tuple((label, accepted) for label, _, accepted in trees)),
    )


def _same(name: str) -> tuple[TypeTree, TypeTree]:
    tree = parse_type(name)
    return tree, tree


def field_name(prop: Property) -> str:
    """The name of the column or field in the data: the physical name where there is one."""
    return prop.physical_name or prop.name or ""
