"""Canonical names of column types, as :class:`~dp_dagster.contracts.model.Column` carries them.

Only what a Delta table keeps for every reader has a canonical name: unsigned integers, times of day,
durations and fixed-size arrays have none.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

_SIMPLE = {
    "bool": "Boolean",
    "int8": "Int8",
    "int16": "Int16",
    "int32": "Int32",
    "int64": "Int64",
    "float32": "Float32",
    "float64": "Float64",
    "string": "String",
    "binary": "Binary",
    "date": "Date",
}
_BY_POLARS = {polars_name: name for name, polars_name in _SIMPLE.items()}


def type_name(data_type: pl.DataType) -> str:  # noqa: PLR0911 - one return for each family of types
    """Name a Polars type as found in a file.

    A type without a canonical name gets Polars' own, in lower case, so that a message can show it. A
    timestamp that is not in microseconds is named with its unit, ``timestamp[ms]``: it is another type.
    Instants of any zone are ``timestamp(UTC)``: the zone is a matter of display, the instant is the same.
    """
    import polars as pl

    if isinstance(data_type, pl.Decimal):
        return f"decimal({data_type.precision},{data_type.scale})"
    if isinstance(data_type, pl.Datetime):
        zone = "(UTC)" if data_type.time_zone else ""
        unit = "" if data_type.time_unit == "us" else f"[{data_type.time_unit}]"
        return f"timestamp{unit}{zone}"
    if isinstance(data_type, pl.List):
        return f"list<{type_name(_instance(data_type.inner))}>"
    if isinstance(data_type, pl.Map):
        return f"map<{type_name(_instance(data_type.key))}, {type_name(_instance(data_type.value))}>"
    if isinstance(data_type, pl.Struct):
        parts = (
            f"{_part_name(field.name)}: {type_name(_instance(field.dtype))}" for field in data_type.fields
        )
        return f"struct<{', '.join(parts)}>"
    if isinstance(data_type, (pl.Categorical, pl.Enum)):
        return "string"
    polars_name = str(data_type)
    return _BY_POLARS.get(polars_name, polars_name.lower())


def _part_name(name: str) -> str:
    return name if re.fullmatch(r"\w+", name) else json.dumps(name, ensure_ascii=False)


def _instance(data_type: object) -> pl.DataType:

    return data_type() if isinstance(data_type, type) else data_type  # type: ignore[return-value]  # Polars allows the class for the instance


_UNSTORABLE = re.compile(r"uint\d+|int128|float16|time|duration.*|object|null|unknown|array.*|timestamp\[.*")


def unstorable_part(name: str) -> str | None:
    """The first part of a type's name that a published table cannot keep, or ``None``."""
    for part in re.split(r"[<>,]|\w+:", name):
        if _UNSTORABLE.fullmatch(part.strip()):
            return part.strip()
    return None


def polars_type(name: str) -> pl.DataType:
    """The Polars type of a canonical name.

    Raises:
        ValueError: The name is not a canonical name of a simple, decimal or timestamp type.
    """
    import polars as pl

    if name in _SIMPLE:
        return getattr(pl, _SIMPLE[name])()  # type: ignore[no-any-return]  # the table holds Polars types only
    if name in ("timestamp", "timestamp(UTC)"):
        return pl.Datetime("us", "UTC" if name.endswith("(UTC)") else None)
    decimal = re.fullmatch(r"decimal\((\d+),(\d+)\)", name)
    if decimal:
        return pl.Decimal(int(decimal[1]), int(decimal[2]))
    raise ValueError(f"{name!r} is not the name of a simple type")
