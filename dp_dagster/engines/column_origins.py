"""Where the columns of a query come from, and which columns decide over its rows.

sqlglot qualifies the query and finds its scopes; the walk over them is ours, since one pass has to give what no
lineage of a single column does: how a value is derived, and the columns that join, filter, group and order.
Answers are kept by the hash of the query and of the columns that it reads.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dp_dagster.engines.sql import write_whole
from dp_dagster.errors import TransformError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

How = Literal["identity", "transformation", "aggregation"]
Why = Literal["join", "filter", "group by", "order", "window"]

# A change of what is told of a query must not meet answers of an older version.
_CACHE_VERSION = 1
_RANK: dict[str, int] = {"identity": 0, "transformation": 1, "aggregation": 2}


@dataclass(frozen=True, order=True)
class Origin:
    """A column that a value is made from, and how: as it is, computed, or summed up over rows."""

    relation: str
    column: str
    how: How = "identity"


@dataclass(frozen=True, order=True)
class Influence:
    """A column that decides which rows there are, or in which order a window sees them."""

    relation: str
    column: str
    why: Why


@dataclass(frozen=True)
class Origins:
    """Where the columns of a relation come from.

    Attributes:
        columns: For each column, in order, what its values are made from; nothing for a constant.
        influences: What decides over the rows.
        unknown: Columns of which it is not known, and why. ``*`` stands for columns that cannot be listed.
    """

    columns: dict[str, tuple[Origin, ...]] = field(default_factory=dict)
    influences: tuple[Influence, ...] = ()
    unknown: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; :meth:`from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Origins:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            {name: tuple(Origin(**one) for one in found) for name, found in data["columns"].items()},
            tuple(Influence(**one) for one in data["influences"]),
            dict(data["unknown"]),
        )


def opaque(reason: str) -> Origins:
    """Origins of which nothing is known."""
    return Origins(unknown={"*": reason})


def origins_of_query(
    text: str,
    tables: Mapping[str, Sequence[str] | None],
    *,
    file: str,
    cache_directory: Path | None = None,
) -> Origins:
    """Where the columns of one ``SELECT`` come from.

    Args:
        text: SQL in DuckDB's dialect.
        tables: The tables that it may name, each with its columns; ``None`` where they are not known.
        file: Name for messages.
        cache_directory: Where answers are kept; none are kept without it.

    Raises:
        TransformError: it does not parse.
    """
    if cache_directory is None:
        return _analyse(text, tables, file)
    known = {name: None if columns is None else list(columns) for name, columns in sorted(tables.items())}
    digest = hashlib.sha256(f"{_CACHE_VERSION}\0{text}\0{json.dumps(known)}".encode()).hexdigest()
    entry = cache_directory / f"{digest}.json"
    try:
        return Origins.from_dict(json.loads(entry.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # missing or damaged: it is made again from the text
    origins = _analyse(text, tables, file)
    write_whole(entry, json.dumps(origins.to_dict()))
    return origins


def _analyse(text: str, tables: Mapping[str, Sequence[str] | None], file: str) -> Origins:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import traverse_scope

    known: dict[str, object] = {
        name.lower(): {column.lower(): "UNKNOWN" for column in columns}
        for name, columns in tables.items()
        if columns is not None
    }
    try:
        parsed = sqlglot.parse_one(text, read="duckdb")
        # DuckDB compares names without case and keeps them as written; sqlglot compares them in lower case.
        written = {one.name.lower(): one.name for one in parsed.find_all(exp.Identifier)}
        for table in parsed.find_all(exp.Table):
            # What dbt compiles names catalog and schema, too; the relation's own name says which is meant.
            table.set("db", None)
            table.set("catalog", None)
        qualified = qualify(
            parsed,
            dialect="duckdb",
            schema=known,
            validate_qualify_columns=False,
            quote_identifiers=False,
            identify=False,
        )
        scopes = traverse_scope(qualified)
    except SqlglotError as error:
        raise TransformError(f"{file}: where its columns come from cannot be read: {error}") from error
    if not scopes:
        return opaque("the query has no SELECT that can be followed")
    spelled = {
        (name.lower(), column.lower()): (name, column)
        for name, columns in tables.items()
        for column in columns or ()
    }
    written = {**{column: place[1] for (_, column), place in spelled.items()}, **written}
    names = {name.lower(): name for name in tables}

    def original(relation: str, column: str) -> tuple[str, str] | None:
        relation, column = relation.lower(), column.lower()
        if relation not in names:
            return None
        return spelled.get((relation, column), (names[relation], column))

    return _Walk(scopes, original, written).origins()


class _Walk:
    """One pass over the scopes of a query, innermost first."""

    def __init__(
        self,
        scopes: Sequence[Any],
        original: Callable[[str, str], tuple[str, str] | None],
        written: Mapping[str, str],
    ) -> None:
        self._scopes = scopes
        self._original = original
        self._written = written
        self._by_query = {id(scope.expression): scope for scope in scopes}
        # What each scope's columns are made from. Kept by identity: scopes outlive the walk.
        self._made: dict[int, dict[str, dict[tuple[str, str], How]]] = {}
        self._lost: dict[int, dict[str, str]] = {}
        self._influences: dict[tuple[str, str], Why] = {}

    def origins(self) -> Origins:
        for scope in self._scopes:
            self._visit(scope)
        root = id(self._scopes[-1])
        columns = {
            self._written.get(name, name): tuple(sorted(Origin(*place, how) for place, how in found.items()))
            for name, found in self._made[root].items()
        }
        influences = tuple(sorted(Influence(*place, why) for place, why in self._influences.items()))
        lost = {self._written.get(name, name): why for name, why in self._lost[root].items()}
        return Origins(columns, influences, lost)

    def _visit(self, scope: Any) -> None:
        from sqlglot import exp

        made: dict[str, dict[tuple[str, str], How]] = {}
        lost: dict[str, str] = {}
        self._made[id(scope)], self._lost[id(scope)] = made, lost
        expression = scope.expression
        if isinstance(expression, exp.SetOperation):
            self._unite(scope, made, lost)
            return
        if not isinstance(expression, exp.Select):
            return
        if any(source.args.get("pivots") for source in expression.find_all(exp.Table, exp.Subquery)):
            lost["*"] = "PIVOT makes columns of values"
            return
        for projection in expression.expressions:
            name = projection.alias_or_name
            if projection.is_star:
                lost["*"] = "columns of a table that is not known are taken with *"
                continue
            if projection.find(exp.Columns):
                lost["*"] = "COLUMNS makes columns of a pattern"
                continue
            found, unattributed = self._places(projection.unalias())
            if unattributed:
                lost[name] = f"column {unattributed} belongs to a table whose columns are not known"
            made[name] = found
        for place, why in self._deciding(expression):
            self._influences.setdefault(place, why)

    def _unite(self, scope: Any, made: dict[str, dict[tuple[str, str], How]], lost: dict[str, str]) -> None:
        left, right = (self._made.get(id(side), {}) for side in scope.set_operation_scopes[:2])
        for side in scope.set_operation_scopes[:2]:
            lost.update(self._lost.get(id(side), {}))
        # By position, as SQL does; BY NAME is by name.
        by_name = bool(scope.expression.args.get("by_name"))
        others = list(right.items())
        for number, (name, found) in enumerate(left.items()):
            by_place = others[number][1] if number < len(others) else {}
            other = right.get(name, {}) if by_name else by_place
            made[name] = _merged(found, other)
        if by_name:
            made.update({name: found for name, found in right.items() if name not in made})

    def _places(self, expression: Any) -> tuple[dict[tuple[str, str], How], str]:
        """The base columns of an expression with how they are used, and one column that nobody knows."""
        from sqlglot import exp

        found: dict[tuple[str, str], How] = {}
        unattributed = ""
        for column in expression.find_all(exp.Column):
            base, known = self._base(column)
            if not known:
                unattributed = unattributed or column.name
            found = _merged(
                found, {place: _worse(how, _use(column, expression)) for place, how in base.items()}
            )
        return found, unattributed

    def _base(self, column: Any) -> tuple[dict[tuple[str, str], How], bool]:
        """What one column stands for in the tables that the query names."""
        from sqlglot import exp

        scope = self._scope_of(column)
        while scope is not None:
            source = scope.sources.get(column.table)
            if isinstance(source, exp.Table):
                place = self._original(source.name, column.name)
                return ({place: "identity"} if place else {}), True
            if source is not None:
                made = self._made.get(id(source), {})
                if column.name in made:
                    return made[column.name], column.name not in self._lost[id(source)]
                # A table function's columns are made from nothing; a star hides what it stands for.
                return {}, not self._lost.get(id(source))
            scope = scope.parent
        return {}, not column.table and self._is_local_name(column)

    def _is_local_name(self, column: Any) -> bool:
        # GROUP BY, ORDER BY and lambdas may name what the SELECT or the lambda itself defines.
        from sqlglot import exp

        if column.find_ancestor(exp.Lambda) is not None:
            return True
        scope = self._scope_of(column)
        node = column
        while node.parent is not None and node.parent is not scope.expression:
            node = node.parent
        defined = {one.alias_or_name for one in scope.expression.expressions}
        return node.arg_key != "expressions" and column.name in defined

    def _scope_of(self, node: Any) -> Any:
        while node is not None:
            scope = self._by_query.get(id(node))
            if scope is not None:
                return scope
            node = node.parent
        return None

    def _deciding(self, select: Any) -> Iterator[tuple[tuple[str, str], Why]]:
        from sqlglot import exp

        clauses: list[tuple[Any, Why]] = [
            *((join.args.get("on"), "join") for join in select.args.get("joins") or ()),
            *((select.args.get(name), "filter") for name in ("where", "having", "qualify")),
            (select.args.get("group"), "group by"),
            *((part, "group by") for part in _told_apart_by(select)),
            *((select.args.get("order"), "order") for _ in [0] if select.args.get("limit")),
            *((window, "window") for one in select.expressions for window in one.find_all(exp.Window)),
            *((window, "window") for window in select.args.get("windows") or ()),
        ]
        for clause, why in clauses:
            if clause is None:
                continue
            # The argument of a window function is a value; only how rows are put together decides.
            parts = (
                [*(clause.args.get("partition_by") or ()), clause.args.get("order")]
                if isinstance(clause, exp.Window)
                else [clause]
            )
            for part in parts:
                if part is not None:
                    yield from ((place, why) for place in self._places(part)[0])


def _told_apart_by(select: Any) -> Sequence[Any]:
    """What DISTINCT tells rows apart by: what stands behind ON, else everything that is selected."""
    distinct = select.args.get("distinct")
    if distinct is None:
        return ()
    on = distinct.args.get("on")
    return [on] if on is not None else list(select.expressions)


def _use(column: Any, top: Any) -> How:
    """How a column is used on its way up to the whole expression."""
    from sqlglot import exp

    how: How = "identity"
    node = column
    while node is not top:
        node = node.parent
        if isinstance(node, exp.AggFunc | exp.Window | exp.Filter):
            return "aggregation"
        if not isinstance(node, exp.Paren | exp.Alias):
            how = "transformation"
    return how


def _worse(one: How, other: How) -> How:
    return one if _RANK[one] >= _RANK[other] else other


def _merged(
    one: Mapping[tuple[str, str], How], other: Mapping[tuple[str, str], How]
) -> dict[tuple[str, str], How]:
    merged = dict(one)
    for place, how in other.items():
        merged[place] = _worse(merged[place], how) if place in merged else how
    return merged
