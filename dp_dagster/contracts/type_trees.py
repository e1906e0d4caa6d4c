"""Canonical type names as trees, and families of types that a contract may ask for instead of one type.

A contract in a logical format says ``integer``, not ``int32``. Such a wish is written like a canonical name, with
the name of a family in place of a type: ``integer``, ``list<number>``, ``struct<zip: string, at: moment>``.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache

FAMILIES = {
    "integer": re.compile(r"int(8|16|32|64)"),
    "number": re.compile(r"int(8|16|32|64)|float(32|64)|decimal\(\d+,\d+\)"),
    "moment": re.compile(r"timestamp|timestamp\(UTC\)"),
    "object": re.compile(r"struct|map"),
    "any": re.compile(r".*", re.DOTALL),
}
"""Names that stand for several canonical types: ``object`` for structs and maps, ``moment`` for timestamps."""

_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|\w+(?:\([^)]*\))?|[<>,:]|\S)')


@dataclass(frozen=True)
class TypeTree:
    """A type: its name without parts, and its parts by name.

    The parts of a ``list`` are ``items``, of a ``map`` ``key`` and ``value``, of a ``struct`` its fields.
    """

    name: str
    parts: tuple[tuple[str, TypeTree], ...] = ()

    def part(self, name: str) -> TypeTree | None:
        """The part of that name."""
        return next((tree for part, tree in self.parts if part == name), None)


@lru_cache(maxsize=4096)
def parse_type(text: str) -> TypeTree:
    """Read a canonical name or a wish.

    Raises:
        ValueError: The text is neither.
    """
    tokens = _TOKEN.findall(text)
    tree, rest = _parse(tokens)
    if rest:
        raise ValueError(f"{text!r} is no type: {rest[0]!r} is left over")
    return tree


def _parse(tokens: list[str]) -> tuple[TypeTree, list[str]]:
    if not tokens or not re.match(r"\w", tokens[0]):
        raise ValueError("a type is missing")
    name, rest = tokens[0], tokens[1:]
    if name not in ("list", "struct", "map") or not rest or rest[0] != "<":
        return TypeTree(name.replace(" ", "")), rest
    rest = rest[1:]
    parts: list[tuple[str, TypeTree]] = []
    names = {"list": ["items"], "map": ["key", "value"]}.get(name)
    while rest and rest[0] != ">":
        if name == "struct":
            label, colon, *rest = [*rest, "", ""]
            if colon != ":":
                raise ValueError("a field of a struct has no type")
            rest = [token for token in rest if token]
            label = json.loads(label) if label.startswith('"') else label
        else:
            label = (names or [])[len(parts)]
        tree, rest = _parse(rest)
        parts.append((label, tree))
        if rest and rest[0] == ",":
            rest = rest[1:]
    if not rest:
        raise ValueError("a bracket is not closed")
    return TypeTree(name, tuple(parts)), rest[1:]


def write_type(tree: TypeTree) -> str:
    """The text that :func:`parse_type` reads."""
    if tree.name not in ("list", "struct", "map"):
        return tree.name
    if tree.name == "struct":
        inner = ", ".join(f"{_label(name)}: {write_type(part)}" for name, part in tree.parts)
    else:
        inner = ", ".join(write_type(part) for _, part in tree.parts)
    return f"{tree.name}<{inner}>"


def _label(name: str) -> str:
    return name if re.fullmatch(r"\w+", name) else json.dumps(name, ensure_ascii=False)


def keeps(found: str, wanted: str) -> bool:
    """Whether a canonical type is what a wish asks for; a struct may have further fields."""
    try:
        return _keeps(parse_type(found), parse_type(wanted))
    except ValueError:
        # Names of types that no published table can have are no canonical names.
        return False


def _keeps(found: TypeTree, wanted: TypeTree) -> bool:
    family = FAMILIES.get(wanted.name)
    if family is not None:
        return family.fullmatch(found.name) is not None
    if found.name != wanted.name:
        return False
    if wanted.name == "struct":
        parts = dict(found.parts)
        return all(name in parts and _keeps(parts[name], part) for name, part in wanted.parts)
    return len(found.parts) == len(wanted.parts) and all(
        _keeps(ours, theirs) for (_, ours), (_, theirs) in zip(found.parts, wanted.parts, strict=True)
    )


def leaf_type(type_name: str, path: list[list[str]]) -> str:
    """The type of a part: ``zip`` of ``struct<zip: string>``, at the path ``[["field", "zip"]]``.

    Args:
        type_name: Canonical name of the column's type.
        path: Steps: ``["field", name]``, ``["items"]``, ``["key"]`` or ``["value"]``.

    Raises:
        ValueError: There is no such part.
    """
    tree = parse_type(type_name)
    for step in path:
        below = tree.part(step[-1])
        if below is None:
            raise ValueError(f"{write_type(tree)} has no {step[-1]}")
        tree = below
    return write_type(tree)
