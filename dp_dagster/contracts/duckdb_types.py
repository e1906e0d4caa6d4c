"""DuckDB's names of the canonical types (see :class:`dp_dagster.contracts.model.Column`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.contracts.type_trees import parse_type

if TYPE_CHECKING:
    from dp_dagster.contracts.type_trees import TypeTree

SCALAR_TYPES = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "string": "VARCHAR",
    "binary": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamp(UTC)": "TIMESTAMPTZ",
}
"""Those that have no parameters and no children."""


def duckdb_type(canonical: str) -> str:
    """DuckDB's name of a canonical type, nested ones included.

    Raises:
        ValueError: it is none.
    """
    return _name(parse_type(canonical), canonical)


def _name(tree: TypeTree, whole: str) -> str:
    parts = [_name(part, whole) for _, part in tree.parts]
    if tree.name == "list":
        return f"{parts[0]}[]"
    if tree.name == "map":
        return f"MAP({', '.join(parts)})"
    if tree.name == "struct":
        fields = [f"{_quoted(name)} {part}" for (name, _), part in zip(tree.parts, parts, strict=True)]
        # DuckDB has no struct without fields, and a contract may ask for any object.
        return f"STRUCT({', '.join(fields) or 'nothing INTEGER'})"
    if tree.name.startswith("decimal("):
        return tree.name.upper()
    try:
        return SCALAR_TYPES[tree.name]
    except KeyError:
        raise ValueError(f"type {whole!r} is not understood at {tree.name!r}") from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
