"""Reading SQL text: which tables a query names, and whether it is one query that only reads.

sqlglot does the parsing. It is imported only where a text has not been read before: what a text names is kept
in the cache folder by the hash of the text, so that listing and validating products stay quick.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import TransformError

if TYPE_CHECKING:
    from collections.abc import Iterator

# A change of what is read from a text must not meet answers of an older version.
_CACHE_VERSION = 2
# Table functions that make rows out of nothing. All others read something that no port has declared.
_GENERATORS = frozenset({"GenerateSeries", "Unnest", "Explode", "ExplodingGenerateSeries", "Posexplode"})
_GENERATOR_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "repeat_row"})


@dataclass(frozen=True)
class TableReference:
    """A table that a query names, and where."""

    name: str
    line: int


@dataclass(frozen=True)
class Query:
    """One reading query: its text without a closing semicolon, and the tables that it names."""

    text: str
    tables: tuple[TableReference, ...]


def read_query(text: str, *, file: str, cache_directory: Path | None = None) -> Query:
    """Read one query.

    Args:
        text: SQL in DuckDB's dialect.
        file: Name for messages.
        cache_directory: Where answers are kept; none are kept without it.

    Returns:
        The query, with the tables that are not its own common table expressions, in order of appearance.

    Raises:
        TransformError: it does not parse, is not exactly one ``SELECT``, or reads from outside its product.
    """
    entry = None
    if cache_directory is not None:
        digest = hashlib.sha256(f"{_CACHE_VERSION}\0{text}".encode()).hexdigest()
        entry = cache_directory / f"{digest}.json"
        cached = _read_cache(entry)
        if cached is not None:
            return cached
    query = _parse(text, file)
    if entry is not None:
        write_whole(entry, json.dumps(asdict(query)))
    return query


def _parse(text: str, file: str) -> Query:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        # What a comment after the last semicolon makes is no statement.
        statements = [
            statement
            for statement in sqlglot.parse(text, read="duckdb")
            if statement is not None and not isinstance(statement, exp.Semicolon)
        ]
    except SqlglotError as error:
        details: list[dict[str, Any]] = getattr(error, "errors", [])
        line = (details[0].get("line") if details else None) or 1
        what = (details[0].get("description") if details else None) or str(error).splitlines()[0]
        near = details[0].get("highlight") if details else None
        at = f" at {near!r}" if near else ""
        raise TransformError(f"{file}:{line}: SQL does not parse{at}: {what}") from error
    if len(statements) != 1:
        raise TransformError(f"{file}:1: holds {len(statements)} statements; a transform is one SELECT query")
    statement = statements[0]
    if not isinstance(statement, exp.Query):
        raise TransformError(
            f"{file}:1: is a {statement.key.upper()} statement; a transform is one SELECT query, "
            "and dp_dagster stores what it returns"
        )
    tables: dict[str, TableReference] = {}
    for reference in _references(statement, file):
        tables.setdefault(reference.name.lower(), reference)
    return Query(text=text.strip().rstrip(";").rstrip(), tables=tuple(tables.values()))


def _references(statement: Any, file: str) -> Iterator[TableReference]:
    from sqlglot import exp

    for source in statement.find_all(exp.Table, bfs=False):
        if _is_common_table(source):
            continue
        line = int(source.meta.get("line") or source.this.meta.get("line") or 1)
        if not isinstance(source.this, exp.Identifier):
            function = type(source.this).__name__
            name = str(getattr(source.this, "name", "") or function)
            if function in _GENERATORS or name.lower() in _GENERATOR_FUNCTIONS:
                continue
            raise TransformError(
                f"{file}:{line}: reads from {source.this.sql(dialect='duckdb')}, which is no port of "
                "this product; declare it under input_ports and name the port here"
            )
        if source.db or source.catalog:
            raise TransformError(
                f"{file}:{line}: names {source.sql(dialect='duckdb')}; a transform names input ports and "
                "transforms of its own product, without schema"
            )
        yield TableReference(source.name, line)


def _is_common_table(table: Any) -> bool:
    """Whether a name stands for a common table expression that can be seen from its place.

    By hand: sqlglot's own scopes tell names apart by case, which DuckDB does not, and skip PIVOT.
    """
    from sqlglot import exp

    if table.db or not isinstance(table.this, exp.Identifier):
        return False
    child, parent, passed = table, table.parent, None
    while parent is not None:
        if isinstance(parent, exp.With):
            # On the way up out of the definition `child`: those before it can be seen, and itself if it recurs.
            names = [common.alias.lower() for common in parent.expressions]
            own = next(index for index, common in enumerate(parent.expressions) if common is child)
            if table.name.lower() in names[: own + bool(parent.recursive)]:
                return True
            passed = parent
        else:
            clause = parent.args.get("with_") or parent.args.get("with")
            if (
                clause is not None
                and clause is not passed
                and table.name.lower() in {common.alias.lower() for common in clause.expressions}
            ):
                return True
        child, parent = parent, parent.parent
    return False


def _read_cache(entry: Path) -> Query | None:
    try:
        data = json.loads(entry.read_text(encoding="utf-8"))
        return Query(data["text"], tuple(TableReference(**table) for table in data["tables"]))
    except (OSError, ValueError, KeyError, TypeError):
        # Missing or damaged: it is made again from the text.
        return None


def write_whole(path: Path, text: str) -> None:
    """Write a file that others see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    Path(temporary).replace(path)
