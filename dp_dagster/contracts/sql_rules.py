"""Rules that are a query: read when the contract is compiled, asked of a candidate's files by DuckDB.

A query may read the candidate, under a name of the contract, and nothing else. It runs in a database of its own
without access to any other file, to the network, or to the database's settings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.comparisons import holds, in_words
from dp_dagster.contracts.duckdb_types import duckdb_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

TABLE = "candidate"
"""The name under which a compiled query reads the candidate."""

_PLACEHOLDER = re.compile(r"\$?\{\s*([A-Za-z_]\w*)\s*\}")
_OF_TABLE = frozenset({"object", "table", "model", "schema"})
_OF_COLUMN = frozenset({"property", "column", "field"})
_GENERATORS = frozenset({"generate_series", "range", "unnest"})
_MEMORY_LIMIT = "2GB"


class SqlRuleError(ValueError):
    """A query cannot be a rule; ``fix`` says what would be right."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


def read_rule_query(
    text: str, *, tables: Sequence[str], column: str | None, columns: Mapping[str, str]
) -> str:
    """Read the query of a rule.

    Args:
        text: SQL as DuckDB reads it. ``${object}`` stands for the table, ``${property}`` for the column.
        tables: Names by which the query may call the table.
        column: The column that the rule stands on.
        columns: Canonical types by name.

    Returns:
        The query, with the table called :data:`TABLE`.

    Raises:
        SqlRuleError: It does not parse, is not one query, reads anything else, or names a column that there is not.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    filled = _filled(text, column)
    try:
        statements = [one for one in sqlglot.parse(filled, read="duckdb") if one is not None]
    except SqlglotError as error:
        details: list[dict[str, Any]] = getattr(error, "errors", [])
        what = (details[0].get("description") if details else None) or str(error).splitlines()[0]
        raise SqlRuleError(
            f"does not parse as SQL: {what}", "write one SELECT, as DuckDB reads it"
        ) from error
    if len(statements) != 1:
        raise SqlRuleError(f"holds {len(statements)} statements", "write one SELECT")
    statement = statements[0]
    if not isinstance(statement, exp.Query):
        raise SqlRuleError(f"is a {statement.key.upper()} statement", "write one SELECT; a rule only reads")
    for node in statement.find_all(exp.DML, exp.DDL, exp.Command, exp.Into):
        if not isinstance(node, exp.Query):
            raise SqlRuleError(f"holds {node.key.upper()}", "write one SELECT; a rule only reads")
    _rename_tables(statement, tables)
    query = statement.sql(dialect="duckdb")
    _check_columns(query, columns)
    return query


def _filled(text: str, column: str | None) -> str:
    def fill(match: re.Match[str]) -> str:
        name = match[1].lower()
        if name in _OF_TABLE:
            return TABLE
        if name in _OF_COLUMN and column is not None:
            return quoted(column)
        known = "${object}" + (
            ", ${property}" if column is not None else "; ${property} on a column's own rule"
        )
        raise SqlRuleError(f"names {match[0]}, which stands for nothing here", f"known: {known}")

    return _PLACEHOLDER.sub(fill, text)


def _rename_tables(statement: Any, tables: Sequence[str]) -> None:
    from sqlglot import exp
    from sqlglot.optimizer.scope import traverse_scope

    known = {TABLE, *(name.lower() for name in tables)}
    real: dict[int, Any] = {}
    for scope in traverse_scope(statement):
        for source in scope.sources.values():
            if isinstance(source, exp.Table):
                real[id(source)] = source
    for table in [*statement.find_all(exp.Table)]:
        if not isinstance(table.this, exp.Identifier):
            called = str(getattr(table.this, "name", "") or table.this.key)
            if called.lower() in _GENERATORS or table.this.key in ("generateseries", "unnest", "explode"):
                continue
            raise SqlRuleError(
                f"reads from {table.this.sql(dialect='duckdb')}", "a rule reads its own table only"
            )
        if id(table) not in real:
            continue  # a common table expression
        if table.name.lower() not in known:
            raise SqlRuleError(
                f"reads {table.sql(dialect='duckdb')}",
                f"a rule reads its own table only: {', '.join(tables)}",
            )
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
        table.set("this", exp.to_identifier(TABLE, quoted=True))
        table.set("db", None)
        table.set("catalog", None)


def _check_columns(query: str, columns: Mapping[str, str]) -> None:
    """Let DuckDB plan the query over an empty table of the declared columns."""
    import duckdb

    with closed_database() as connection:
        described = ", ".join(f"{quoted(name)} {duckdb_type(kind)}" for name, kind in columns.items())
        connection.execute(f"create table {TABLE} ({described})")
        try:
            found = connection.execute(f"describe {query}").fetchall()
        except duckdb.Error as error:
            cause = str(error).split("\n", 1)[0]
            raise SqlRuleError(f"is not understood: {cause}", "correct it, for DuckDB") from error
    if len(found) != 1:
        raise SqlRuleError(f"gives {len(found)} columns", "select the one value that is compared")


class QueryOutcome:
    """What a query gave: whether it could be asked, whether the rule holds, and in words."""

    def __init__(self, *, evaluated: bool, failed: bool, reason: str) -> None:
        self.evaluated, self.failed, self.reason = evaluated, failed, reason


def ask(params: Mapping[str, Any], files: Sequence[str]) -> QueryOutcome:
    """Ask a compiled query of a candidate's files and compare what it gives.

    Args:
        params: Of a rule of kind ``sql``.
        files: Parquet files.
    """
    import duckdb

    compare = params["compare"]
    try:
        with closed_database(files) as connection:
            rows = connection.execute(params["query"]).fetchmany(2)
    except duckdb.Error as error:
        cause = str(error).split("\n", 1)[0]
        return QueryOutcome(evaluated=False, failed=False, reason=f"the query failed: {cause}")
    if len(rows) != 1:
        return QueryOutcome(
            evaluated=False,
            failed=False,
            reason=f"the query gave {'no' if not rows else 'several'} rows, not one value",
        )
    found = rows[0][0]
    try:
        kept = holds(compare, found)
    except TypeError:
        return QueryOutcome(
            evaluated=False, failed=False, reason=f"the query gave {type(found).__name__}, which is no number"
        )
    reason = "" if kept else f"the query gave {found}, promised is {in_words(compare)}"
    return QueryOutcome(evaluated=True, failed=not kept, reason=reason)


class closed_database:  # noqa: N801 - used like a function: with closed_database(files) as connection
    """A database in memory that sees the given files, as one view, and nothing else."""

    def __init__(self, files: Sequence[str] = ()) -> None:
        self.files = list(files)

    def __enter__(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        self.connection = duckdb.connect(
            ":memory:",
            config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"},
        )
        run = self.connection.execute
        run("set TimeZone = 'UTC'")
        run(f"set memory_limit = '{_MEMORY_LIMIT}'")
        if self.files:
            listed = ", ".join(text_literal(file) for file in self.files)
            run(f"set allowed_paths = [{listed}]")
            run("set enable_external_access = false")
            run(
                f"create view {TABLE} as select * from read_parquet([{listed}], hive_partitioning = false, "
                "union_by_name = true)"
            )
        else:
            run("set enable_external_access = false")
        run("set lock_configuration = true")
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def quoted(name: str) -> str:
    """An identifier."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(value: str) -> str:
    """A text in SQL."""
    return "'" + value.replace("'", "''") + "'"
