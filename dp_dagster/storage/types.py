"""Column types: from Parquet footers to canonical names and to Delta, and which ones are refused.

Canonical names are those of :class:`dp_dagster.contracts.model.Column`. Only types that DuckDB, Polars, pyarrow
and Spark all read back as they were written are let through; each of the others breaks one reader or another
without an error at write time.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.model import Column
from dp_dagster.errors import PublicationRefusedError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

_DELTA_NAMES = {
    "bool": "boolean",
    "int8": "byte",
    "int16": "short",
    "int32": "integer",
    "int64": "long",
    "float32": "float",
    "float64": "double",
    "string": "string",
    "binary": "binary",
    "date": "date",
    "timestamp": "timestamp_ntz",
    "timestamp(UTC)": "timestamp",
}
_CANONICAL_NAMES = {delta: canonical for canonical, delta in _DELTA_NAMES.items()}
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_PLAIN_FIELD = re.compile(r"\w+")


class _UnsupportedError(Exception):
    """A type is not on the list; carries its name and what to cast it to."""

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(found)
        self.found = found
        self.fix = fix


@dataclass(frozen=True)
class _Nested:
    """A nested Delta type as plain data, with children by name."""

    kind: str
    children: tuple[tuple[str, _Nested | str], ...]


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """Columns of a Parquet footer.

    Raises:
        PublicationRefusedError: a type that not every reader of Delta understands, or names that are empty or
            differ only in case; names every such column and what to do.
    """
    problems: list[str] = []
    columns: list[Column] = []
    for column in schema:
        try:
            columns.append(Column(name=column.name, type=_from_arrow(column.type), nullable=column.nullable))
        except _UnsupportedError as error:
            problems.append(
                f"column {column.name!r} has type {error.found}, which not every reader of the table "
                f"understands; {error.fix}"
            )
    problems.extend(_name_problems(schema.names))
    if not schema.names:
        problems.append("there are no columns; select at least one")
    if problems:
        raise PublicationRefusedError("\n".join(problems))
    return tuple(columns)


def delta_schema_json(columns: Iterable[Column]) -> str:
    """The columns as a Delta schema. All are nullable there: Delta does not check, the contract does."""
    fields = [_delta_field(column.name, _delta_type(_parse(column.type))) for column in columns]
    return json.dumps({"type": "struct", "fields": fields})


def columns_of_delta(schema_json: str) -> tuple[Column, ...]:
    """Columns of a Delta schema.

    Raises:
        StoreError: the table has a type that this package never writes.
    """
    return tuple(
        Column(name=entry["name"], type=_canonical_of_delta(entry["type"]), nullable=entry["nullable"])
        for entry in json.loads(schema_json)["fields"]
    )


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """The columns as an Arrow schema."""
    import pyarrow as pa

    return pa.schema(
        [pa.field(column.name, _arrow_type(_parse(column.type)), column.nullable) for column in columns]
    )


def needs_timestamp_without_zone(columns: Iterable[Column]) -> bool:
    """Whether a Delta table must declare a feature before it can hold these columns."""
    return any(re.search(r"\btimestamp\b(?!\(UTC\))", column.type) for column in columns)


def _name_problems(names: Sequence[str], inside: str = "") -> list[str]:
    problems = [f"a column{inside} has no name; give it one" for name in names if not name.strip()]
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name or list(names).count(name) > 1:
            problems.append(
                f"columns {other!r} and {name!r}{inside} differ at most in case; readers mix them up, rename one"
            )
    return list(dict.fromkeys(problems))


def _from_arrow(kind: pa.DataType) -> str:  # noqa: PLR0911, PLR0912 one branch for each type
    import pyarrow.types as of

    if of.is_dictionary(kind):
        return _from_arrow(kind.value_type)
    if of.is_boolean(kind):
        return "bool"
    if of.is_signed_integer(kind) or of.is_float32(kind) or of.is_float64(kind):
        return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
    if of.is_unsigned_integer(kind):
        raise _UnsupportedError(str(kind), "cast it to a signed integer (BIGINT) or DECIMAL(20, 0)")
    if of.is_string(kind) or of.is_large_string(kind) or str(kind) == "string_view":
        return "string"
    if of.is_binary(kind) or of.is_large_binary(kind) or str(kind) == "binary_view":
        return "binary"
    if of.is_date32(kind):
        return "date"
    if of.is_timestamp(kind):
        return _from_timestamp(kind)
    if of.is_decimal(kind):
        if not 0 <= kind.scale <= kind.precision <= 38 or of.is_decimal256(kind):
            raise _UnsupportedError(str(kind), "cast it to DECIMAL with at most 38 digits")
        return f"decimal({kind.precision},{kind.scale})"
    if of.is_list(kind) or of.is_large_list(kind):
        return f"list<{_from_arrow(kind.value_type)}>"
    if of.is_map(kind):
        return f"map<{_from_arrow(kind.key_type)}, {_from_arrow(kind.item_type)}>"
    if of.is_struct(kind) and kind.num_fields:
        fields = [kind.field(index) for index in range(kind.num_fields)]
        if problems := _name_problems([field.name for field in fields], " of a struct"):
            raise _UnsupportedError("struct", "; ".join(problems))
        return f"struct<{', '.join(f'{_field_name(field.name)}: {_from_arrow(field.type)}' for field in fields)}>"
    fixes = (fix for prefix, fix in _FIXES.items() if str(kind).startswith(prefix))
    raise _UnsupportedError(str(kind), next(fixes, "cast it to VARCHAR"))


_FIXES = {
    "null": "all its values are null: cast it to the type that it is meant to have",
    "halffloat": "cast it to FLOAT",
    "time32": "cast it to VARCHAR, or to a number of seconds",
    "time64": "cast it to VARCHAR, or to a number of seconds",
    "duration": "cast it to a number of seconds (BIGINT)",
    "month_day_nano_interval": "cast it to a number of seconds or days (BIGINT)",
    "date64": "cast it to DATE",
    "fixed_size_binary": "cast it to VARCHAR (for a UUID) or BLOB",
    "fixed_size_list": "cast it to a list without a fixed size",
    "extension<arrow.uuid>": "cast it to VARCHAR",
    "extension<arrow.json>": "cast it to VARCHAR",
}


def _from_timestamp(kind: pa.TimestampType) -> str:
    if kind.unit != "us":
        target = "TIMESTAMP" if kind.tz is None else "TIMESTAMPTZ"
        raise _UnsupportedError(str(kind), f"cast it to {target}, which has microseconds")
    if kind.tz is None:
        return "timestamp"
    if kind.tz != "UTC":
        raise _UnsupportedError(str(kind), "convert it to the time zone UTC, spelt exactly so")
    return "timestamp(UTC)"


def _field_name(name: str) -> str:
    return name if _PLAIN_FIELD.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def _parse(canonical: str) -> _Nested | str:
    parsed, rest = _parse_one(canonical)
    if rest.strip():
        raise StoreError(f"type {canonical!r} is not understood at {rest!r}")
    return parsed


def _parse_one(text: str) -> tuple[_Nested | str, str]:
    text = text.lstrip()
    for kind in ("list", "map", "struct"):
        if text.startswith(f"{kind}<"):
            return _parse_children(kind, text[len(kind) + 1 :])
    if match := _DECIMAL.match(text):
        return f"decimal({match[1]},{match[2]})", text[match.end() :]
    # Longest first: timestamp(UTC) before timestamp.
    for name in sorted(_DELTA_NAMES, key=len, reverse=True):
        if text.startswith(name):
            return name, text[len(name) :]
    raise StoreError(f"type {text!r} is not understood; known are {', '.join(_DELTA_NAMES)}, decimal(p,s), …")


def _parse_children(kind: str, rest: str) -> tuple[_Nested, str]:
    children: list[tuple[str, _Nested | str]] = []
    while True:
        name = ""
        if kind == "struct":
            name, rest = _parse_field_name(rest.lstrip())
        child, rest = _parse_one(rest)
        children.append((name, child))
        rest = rest.lstrip()
        if rest.startswith(">"):
            return _Nested(kind, tuple(children)), rest[1:]
        if not rest.startswith(","):
            raise StoreError(f"type {kind} is not understood at {rest!r}; a comma or > is expected")
        rest = rest[1:]


def _parse_field_name(text: str) -> tuple[str, str]:
    if text.startswith('"'):
        name, end = json.JSONDecoder().raw_decode(text)
        return str(name), text[end:].lstrip().removeprefix(":")
    name, _, rest = text.partition(":")
    return name.strip(), rest


def _delta_field(name: str, kind: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "nullable": True, "metadata": {}}


def _delta_type(parsed: _Nested | str) -> Any:
    if isinstance(parsed, str):
        return _DELTA_NAMES.get(parsed, parsed)
    children = [_delta_type(child) for _, child in parsed.children]
    if parsed.kind == "list":
        return {"type": "array", "elementType": children[0], "containsNull": True}
    if parsed.kind == "map":
        return {"type": "map", "keyType": children[0], "valueType": children[1], "valueContainsNull": True}
    names = [name for name, _ in parsed.children]
    return {"type": "struct", "fields": [_delta_field(*pair) for pair in zip(names, children, strict=True)]}


def _canonical_of_delta(kind: Any) -> str:
    if isinstance(kind, str):
        if match := _DECIMAL.fullmatch(kind):
            return f"decimal({match[1]},{match[2]})"
        if kind in _CANONICAL_NAMES:
            return _CANONICAL_NAMES[kind]
    elif kind.get("type") == "array":
        return f"list<{_canonical_of_delta(kind['elementType'])}>"
    elif kind.get("type") == "map":
        return f"map<{_canonical_of_delta(kind['keyType'])}, {_canonical_of_delta(kind['valueType'])}>"
    elif kind.get("type") == "struct":
        fields = (
            f"{_field_name(entry['name'])}: {_canonical_of_delta(entry['type'])}" for entry in kind["fields"]
        )
        return f"struct<{', '.join(fields)}>"
    raise StoreError(f"the table has a column of type {kind!r}, which dp_dagster never writes")


def _arrow_type(parsed: _Nested | str) -> pa.DataType:
    import pyarrow as pa

    if isinstance(parsed, str):
        if match := _DECIMAL.fullmatch(parsed):
            return pa.decimal128(int(match[1]), int(match[2]))
        timestamps = {"timestamp": pa.timestamp("us"), "timestamp(UTC)": pa.timestamp("us", "UTC")}
        return timestamps.get(parsed) or pa.type_for_alias({"date": "date32"}.get(parsed, parsed))
    children = [_arrow_type(child) for _, child in parsed.children]
    if parsed.kind == "list":
        return pa.list_(children[0])
    if parsed.kind == "map":
        return pa.map_(children[0], children[1])
    return pa.struct([(name, kind) for (name, _), kind in zip(parsed.children, children, strict=True)])
