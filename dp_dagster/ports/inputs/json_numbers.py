"""Numbers of JSON with all their digits. Python and DuckDB read what has a point as a float, which keeps 15 of them."""

from __future__ import annotations

import json
import re
import secrets
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any

from dp_dagster.ports.inputs.floats import is_written_as

if TYPE_CHECKING:
    import duckdb

_SURELY_EXACT = 15
# Runs of digits that a float may not hold, and exponents that it may not reach.
_LONG = r"[0-9.]{16}|[eE][+-]?[0-9]{3}"
_NUMBER = r"[:\[,\s](-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
# Stands for a number's place until the text around it is written; no record can know it.
_MARK = secrets.token_hex(12)
_MARKED = re.compile(f'"{_MARK}([^"]*)"')
_BATCH = 1000


def loads(text: str | bytes) -> Any:
    """JSON in which a number that a float would change is a :class:`~decimal.Decimal`.

    Raises:
        ValueError: it is none.
    """
    return json.loads(text, parse_float=number)


def number(text: str) -> float | Decimal:
    """A number with a point or an exponent, as a float where that keeps it."""
    if len(text) <= _SURELY_EXACT and "e" not in text and "E" not in text:
        return float(text)
    exact, short = Decimal(text), float(text)
    return short if is_written_as(short, exact) else exact


def dumps(value: Any) -> str:
    """JSON with all digits, as :func:`loads` reads it."""
    text = json.dumps(value, ensure_ascii=False, default=lambda exact: f"{_MARK}{_digits(exact)}")
    return _MARKED.sub(r"\1", text) if _MARK in text else text


def dumps_as_text(value: Any) -> str:
    """JSON in which numbers that a float would change are texts, for readers that know floats only."""
    return json.dumps(value, ensure_ascii=False, default=_digits)


def write_as_text(connection: duckdb.DuckDBPyConnection, options: str, out: IO[str]) -> set[str] | None:
    """Write the objects of JSON files anew where a float would change one of their numbers: as texts.

    Args:
        connection: Reads the files.
        options: Of DuckDB's functions that read JSON: the files.
        out: Where objects are written, one a line.

    Returns:
        The fields whose values have such numbers; ``None`` where no file has any, and nothing was written.

    Raises:
        duckdb.Error: the files are no JSON.
    """
    from dp_dagster.engines.duckdb import literal

    source = f"read_json_objects({options})"
    found = connection.execute(
        f"select exists (select 1 from (select unnest(regexp_extract_all(json::varchar, {literal(_NUMBER)}, 1)) as one "
        f"from {source} where regexp_matches(json::varchar, {literal(_LONG)})) "
        f"where regexp_matches(one, '[.eE]') and try_cast(one as double)::varchar is distinct from one)"
    ).fetchone()
    if not found or not found[0]:
        return None
    names: set[str] = set()
    rows = connection.execute(f"select json::varchar from {source}")
    while batch := rows.fetchmany(_BATCH):
        for (text,) in batch:
            record = loads(text)
            if isinstance(record, dict):
                names.update(name for name, value in record.items() if _has_exact(value))
            out.write(dumps_as_text(record))
            out.write("\n")
    return names


def _has_exact(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_exact(one) for one in value.values())
    if isinstance(value, list):
        return any(_has_exact(one) for one in value)
    return isinstance(value, Decimal)


def _digits(value: Any) -> str:
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} is no value of JSON")
    return str(value).lower()
