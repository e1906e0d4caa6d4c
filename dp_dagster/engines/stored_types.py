"""Which types of DuckDB the store keeps as they are, which as others that hold the same values, and which never.

Types in lists, structs and maps follow the same rules as those of columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

# Types that a reader of Delta or Parquet would misread, and the type that holds the same values. Values that do
# not fit are errors when the rows are written. Source: what was tried with DuckDB, Polars and pyarrow as readers.
_OTHERS = {
    "HUGEINT": "BIGINT",
    "UHUGEINT": "BIGINT",
    "BIGNUM": "BIGINT",
    "UTINYINT": "SMALLINT",
    "USMALLINT": "INTEGER",
    "UINTEGER": "BIGINT",
    "UBIGINT": "DECIMAL(20,0)",
    "UUID": "VARCHAR",
    "JSON": "VARCHAR",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
}
_REFUSED = {
    "TIME": "cast it to VARCHAR",
    "TIME WITH TIME ZONE": "cast it to VARCHAR",
    "TIME_NS": "cast it to VARCHAR",
    "INTERVAL": "cast it to a number of seconds, or to VARCHAR",
    "BIT": "cast it to VARCHAR or BLOB",
    "TIMESTAMP_NS": "cast it to TIMESTAMP, which has microseconds",
    "GEOMETRY": "store it as BLOB (well-known binary) or VARCHAR (well-known text)",
    "VARIANT": "cast it to VARCHAR",
    "UNION": "cast it to one of its types",
}


@dataclass(frozen=True)
class Stored:
    """How a column is stored.

    Attributes:
        expression: SQL that brings it to a type that can be stored.
        refused: Name of the type that cannot be stored; empty where all can.
        fix: What to do about that.
    """

    expression: str
    refused: str = ""
    fix: str = ""


class _RefusedError(Exception):
    def __init__(self, name: str, fix: str) -> None:
        super().__init__(name)
        self.name = name
        self.fix = fix


def stored_as(dtype: DuckDBPyType, column: str) -> Stored:
    """How a column of a type is stored.

    Args:
        dtype: Its type.
        column: The column, quoted.
    """
    if str(dtype) == "TIMESTAMP_NS":
        # Other libraries write nanoseconds by habit; where there are none, nothing is lost.
        lost = f"'{_REFUSED['TIMESTAMP_NS']}: ' || {column}::varchar || ' has nanoseconds'"
        exact = f"epoch_ns({column}) % 1000 = 0"
        return Stored(
            f"case when not isfinite({column}::timestamp) or {exact} then {column}::timestamp "
            f"when {column} is not null then error({lost}) end"
        )
    try:
        target = _target(dtype)
    except _RefusedError as error:
        inside = "" if error.name == str(dtype) else f" (the {error.name} in it)"
        return Stored(column, error.name, f"{error.fix}{inside}")
    return Stored(column if target == str(dtype) else f"{column}::{target}")


def _target(dtype: DuckDBPyType) -> str:
    text = str(dtype)
    kind = dtype.id
    if kind in {"list", "array"}:
        return f"{_target(_children(dtype)[0][1])}[]"
    if kind == "struct":
        fields = _children(dtype)
        if any(not name for name, _ in fields):
            raise _RefusedError(text, "name its fields: {'name': value}")
        return f"STRUCT({', '.join(f'{_quoted(name)} {_target(child)}' for name, child in fields)})"
    if kind == "map":
        key, value = (child for _, child in _children(dtype))
        return f"MAP({_target(key)}, {_target(value)})"
    if kind == "enum":
        return "VARCHAR"
    base = text.split("(", 1)[0].strip()
    if base in _REFUSED:
        raise _RefusedError(text, _REFUSED[base])
    return _OTHERS.get(text, text)


def _children(dtype: DuckDBPyType) -> list[tuple[str, Any]]:
    return [(name, child) for name, child in dtype.children if not isinstance(child, int)]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
