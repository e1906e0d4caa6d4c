"""Canonical types taken apart, and as the names that SQL has for them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_SQL = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float32": "REAL",
    "float64": "DOUBLE",
    "string": "VARCHAR",
    "binary": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamp(UTC)": "TIMESTAMP WITH TIME ZONE",
}


@dataclass(frozen=True)
class Shape:
    """A canonical type: its family, and its parts.

    Attributes:
        family: ``bool``, ``integer``, ``float``, ``decimal``, ``string``, ``binary``, ``date``, ``timestamp``,
            ``list``, ``struct`` or ``map``. Where a contract accepts several types also ``number`` (any numeric type),
            ``moment`` (any timestamp), ``object`` (structs and maps) and ``any``; ``integer`` then has no bits.
        name: The canonical name.
        bits: Of integers and floats.
        precision: Of decimals, all digits.
        scale: Of decimals, digits after the point.
        zoned: Of timestamps: whether they are instants in UTC.
        parts: Of a list its item, of a map its key and value, of a struct its fields; by name.
    """

    family: str
    name: str
    bits: int = 0
    precision: int = 0
    scale: int = 0
    zoned: bool = False
    parts: tuple[tuple[str, Shape], ...] = ()


def shape_of(name: str) -> Shape:
    """Take a canonical type apart, or what a contract accepts in its place.

    Raises:
        ValueError: the name is not canonical.
    """
    shape, rest = _shape(name)
    if rest:
        raise ValueError(f"{name!r} is not the name of a type")
    return shape


def sql_type(shape: Shape) -> str:
    """The type's name in DuckDB's SQL, which most engines read."""
    parts = [(name, sql_type(part)) for name, part in shape.parts]
    match shape.family:
        case "decimal":
            return f"DECIMAL({shape.precision},{shape.scale})"
        case "list":
            return f"{parts[0][1]}[]"
        case "map":
            return f"MAP({parts[0][1]}, {parts[1][1]})"
        case "struct":
            fields = ", ".join(f"{quoted(name)} {kind}" for name, kind in parts)
            return f"STRUCT({fields})"
    return _SQL[shape.name]


def quoted(name: str) -> str:
    """A name as SQL takes it whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def _shape(text: str) -> tuple[Shape, str]:
    """The type at the start of a text, and what follows it."""
    for family in ("list", "struct", "map"):
        if text.startswith(f"{family}<"):
            return _nested(family, text)
    found = re.match(
        r"timestamp\(UTC\)|decimal\((\d+),(\d+)\)|(bool|string|binary|date|timestamp|integer|number|moment|object|any)|(int|float)(\d+)",
        text,
    )
    if found is None:
        raise ValueError(f"{text!r} is not the name of a type")
    name, rest = found.group(), text[found.end() :]
    if found[1]:
        return Shape("decimal", name, precision=int(found[1]), scale=int(found[2])), rest
    if found[4]:
        return Shape("integer" if found[4] == "int" else "float", name, bits=int(found[5])), rest
    family = name.partition("(")[0]
    return Shape(family, name, zoned=name.endswith("(UTC)")), rest


def _nested(family: str, text: str) -> tuple[Shape, str]:
    rest = text[len(family) + 1 :]
    parts: list[tuple[str, Shape]] = []
    names = iter({"list": ("item",), "map": ("key", "value")}.get(family, ()))
    while not rest.startswith(">"):
        if parts:
            if not rest.startswith(", "):
                raise ValueError(f"{text!r} is not the name of a type")
            rest = rest[2:]
        if family == "struct":
            name, rest = _field(rest)
        else:
            name = next(names, "")
        part, rest = _shape(rest)
        parts.append((name, part))
    whole = text[: len(text) - len(rest) + 1]
    return Shape(family, whole, parts=tuple(parts)), rest[1:]


def _field(text: str) -> tuple[str, str]:
    if text.startswith('"'):
        name, end = json.JSONDecoder().raw_decode(text)
        return str(name), text[end:].removeprefix(": ")
    name, _, rest = text.partition(": ")
    return name, rest
