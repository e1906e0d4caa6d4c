"""A contract as SQL: one statement that counts, one that gives the failing rows, and what their answers mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.evaluate import ignores_null, measure_problem, row_count_problem
from dp_dagster.contracts.literals import is_float
from dp_dagster.contracts.phrases import phrase
from dp_dagster.contracts.plan import measured
from dp_dagster.contracts.sql.conditions import failing_condition, literal
from dp_dagster.contracts.sql.dialects import CannotSayError, dialect_of
from dp_dagster.contracts.verdict import RuleResult

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlglot import exp

    from dp_dagster.contracts.model import Contract, Rule
    from dp_dagster.contracts.sql.dialects import Dialect

Table = tuple[str, ...]
"""A table by its names: ``("schema", "orders")``."""

_FLAG = "__dp_rule_"


@dataclass(frozen=True)
class CountStatement:
    """A statement, and how to read its one row.

    Attributes:
        contract: What it counts for.
        dialect: Of the statement.
        sql: The statement. Its first column is the number of rows, its second that of the distinct rows that fail a
            rule at ``error``; then comes one for each counted rule.
        counted: Ids of the rules that have a column, in order.
        not_evaluated: Why the other rules have none, by rule id.
    """

    contract: Contract
    dialect: str
    sql: str
    counted: tuple[str, ...]
    not_evaluated: Mapping[str, str] = field(default_factory=dict)

    def results(self, row: Sequence[Any]) -> tuple[RuleResult, ...]:
        """The results that a row of the statement's answer means, in the contract's order. There are no samples."""
        rows = int(row[0])
        counts = {rule_id: int(value or 0) for rule_id, value in zip(self.counted, row[2:], strict=True)}
        return tuple(self._result(rule, counts, rows) for rule in self.contract.rules)

    def rejected(self, row: Sequence[Any]) -> int:
        """Distinct rows that fail at least one counted rule of single rows at severity ``error``."""
        return int(row[1] or 0)

    def _result(self, rule: Rule, counts: Mapping[str, int], rows: int) -> RuleResult:
        if rule.id in self.not_evaluated:
            reason = self.not_evaluated[rule.id]
            return RuleResult(rule.id, rule.severity, rule.level, 0, evaluated=False, reason=reason)
        if rule.kind == "row_count":
            problem = row_count_problem(rule, rows)
        elif rule.kind == "measure":
            problem = measure_problem(rule, counts.get(rule.id, rows), rows)
        else:
            return RuleResult(rule.id, rule.severity, rule.level, counts[rule.id])
        return RuleResult(rule.id, rule.severity, rule.level, int(bool(problem)), reason=problem)


@dataclass(frozen=True)
class FailingRowsStatement:
    """A statement that gives failing rows, and how to read them.

    Attributes:
        contract: Whose rules are broken.
        dialect: Of the statement.
        sql: The statement. Its columns are those of the contract in order, then one truth value for each rule.
        marked: Ids of the rules that have a truth value, in order.
        not_evaluated: Why other rules have none, by rule id: rows that break only those are not among the answer.
    """

    contract: Contract
    dialect: str
    sql: str
    marked: tuple[str, ...]
    not_evaluated: Mapping[str, str] = field(default_factory=dict)

    def values(self, row: Sequence[Any]) -> dict[str, Any]:
        """The values of a row by column."""
        names = [column.name for column in self.contract.columns]
        return dict(zip(names, row[: len(names)], strict=True))

    def broken(self, row: Sequence[Any]) -> tuple[str, ...]:
        """Ids of the rules that a row breaks."""
        flags = row[len(self.contract.columns) :]
        return tuple(rule_id for rule_id, flag in zip(self.marked, flags, strict=True) if flag)

    def reason(self, row: Sequence[Any]) -> str:
        """What is wrong with a row, in words: what quarantine says."""
        known = {rule.id: rule for rule in self.contract.rules}
        return "; ".join(phrase(known[rule_id]) for rule_id in self.broken(row))


def count_statement(
    contract: Contract,
    table: Table,
    *,
    dialect: str,
    types: Mapping[str, str] | None = None,
    others: Mapping[str, Table] | None = None,
    order: Sequence[str] = (),
) -> CountStatement:
    """Write a contract as one statement over a table, which it reads once.

    What the dialect cannot say, or cannot say with the same meaning, is named in ``not_evaluated`` with the reason.

    Args:
        contract: The contract.
        table: The table.
        dialect: ``duckdb``, ``postgres``, ``spark`` or ``snowflake``.
        types: Canonical types of the columns as the table has them; those of the contract by default.
        others: Tables of the datasets that rules refer to, by what the contract calls them.
        order: Columns whose values order the rows: of those that share a unique key the first keeps the rule. By
            default all columns of the contract that can be ordered, so that the answer does not depend on chance.

    Raises:
        UsageError: There is no such dialect.
    """
    from sqlglot import exp

    writer = _Writer(contract, table, dialect_of(dialect), types or {}, others or {}, order=order)
    for rule in contract.rules:
        writer.mark(rule)
    holding = [rule.id for rule in contract.rules if rule.level == "row" and rule.severity == "error"]
    rejected = writer.any_of([rule_id for rule_id in holding if rule_id in writer.flags])
    columns = [exp.alias_(exp.Count(this=exp.Star()), "rows_in"), exp.alias_(_total(rejected), "rejected")]
    for number, flag in enumerate(writer.flags.values(), start=1):
        columns.append(exp.alias_(_total(flag), f"rule_{number}"))
    statement = exp.select(*columns).from_(writer.marked(()).subquery("marked"))
    sql = statement.sql(dialect=dialect)
    return CountStatement(contract, dialect, sql, tuple(writer.flags), writer.unsaid)


def failing_rows_statement(
    contract: Contract,
    table: Table,
    *,
    dialect: str,
    types: Mapping[str, str] | None = None,
    others: Mapping[str, Table] | None = None,
    order: Sequence[str] = (),
    rules: Collection[str] | None = None,
    limit: int | None = None,
) -> FailingRowsStatement:
    """Write the query for the rows of a table that break rules: what quarantine keeps, or a sample of it.

    Args:
        contract: The contract.
        table: The table; it has all columns of the contract.
        dialect: As for :func:`count_statement`, and so are ``types`` and ``others``.
        types: See there.
        others: See there.
        order: See there; where it is given the rows come in that order.
        rules: Ids of the rules of single rows that are asked for; by default all at severity ``error``, the rows of
            which are those that :meth:`CountStatement.rejected` counts.
        limit: At most so many rows.

    Raises:
        UsageError: There is no such dialect.
    """
    from sqlglot import exp

    writer = _Writer(contract, table, dialect_of(dialect), types or {}, others or {}, order=order)
    for rule in contract.rules:
        if rule.level == "row" and (rule.severity == "error" if rules is None else rule.id in rules):
            writer.mark(rule)
    names = [column.name for column in contract.columns]
    shown = [exp.column(exp.to_identifier(name, quoted=True)) for name in names]
    kept = list(dict.fromkeys([*names, *order]))
    statement = exp.select(*shown, *writer.flags.values()).from_(writer.marked(kept).subquery("marked"))
    statement = statement.where(writer.any_of(list(writer.flags)))
    if order:
        statement = statement.order_by(*(exp.column(exp.to_identifier(name, quoted=True)) for name in order))
    if limit is not None:
        statement = statement.limit(limit)
    sql = statement.sql(dialect=dialect)
    return FailingRowsStatement(contract, dialect, sql, tuple(writer.flags), writer.unsaid)


def _total(condition: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    case = exp.Case().when(condition.copy(), exp.Literal.number(1)).else_(exp.Literal.number(0))
    return exp.func("COALESCE", exp.Sum(this=case), exp.Literal.number(0))


class _Writer:
    """Marks the rows of a table with the rules that they break.

    Attributes:
        flags: The truth values of marked rules, by rule id.
        unsaid: Why rules have none, by rule id.
    """

    def __init__(
        self,
        contract: Contract,
        table: Table,
        dialect: Dialect,
        types: Mapping[str, str],
        others: Mapping[str, Table],
        *,
        order: Sequence[str],
    ) -> None:
        self.contract = contract
        self.own = table
        self.dialect = dialect
        self.types = {column.name: column.type for column in contract.columns} | dict(types)
        self.others = others
        self.order = order
        self.flags: dict[str, exp.Expr] = {}
        self.unsaid: dict[str, str] = {}
        self._conditions: list[exp.Expr] = []
        self._joins: list[tuple[exp.Expr, exp.Expr]] = []

    def mark(self, rule: Rule) -> None:
        """Add a truth value for a rule, or say why there is none. Where all rows are counted none is needed."""
        from sqlglot import exp

        try:
            condition = self._condition(rule)
        except CannotSayError as error:
            self.unsaid[rule.id] = str(error)
            return
        if condition is None:
            return
        name = f"{_FLAG}{len(self._conditions) + 1}"
        self._conditions.append(exp.alias_(exp.func("COALESCE", condition, exp.false()), name, quoted=True))
        self.flags[rule.id] = exp.column(exp.to_identifier(name, quoted=True))

    def any_of(self, rule_ids: Sequence[str]) -> exp.Expr:
        """Whether one of these rules is broken."""
        from sqlglot import exp

        return exp.or_(*(self.flags[rule_id].copy() for rule_id in rule_ids)) if rule_ids else exp.false()

    def marked(self, columns: Sequence[str]) -> exp.Select:
        """The rows of the table: these columns, and the truth values."""
        from sqlglot import exp

        shown = [_source(name) for name in columns] + self._conditions
        query = exp.select(*(shown or [exp.alias_(exp.Literal.number(1), "there")]))
        query = query.from_(self._table(self.own, "source"))
        for keys, condition in self._joins:
            query = query.join(keys, on=condition, join_type="left")
        return query

    def _table(self, names: Table, alias: str | None = None) -> exp.Expr:
        from sqlglot import exp

        *above, name = (exp.to_identifier(one, quoted=True) for one in names)
        made = exp.Table(
            this=name, db=above[-1] if above else None, catalog=above[-2] if len(above) > 1 else None
        )
        return exp.alias_(made, alias, table=True) if alias else made

    def _condition(self, rule: Rule) -> exp.Expr | None:
        """True for a row that fails; ``None`` where the number of all rows is enough.

        Raises:
            CannotSayError: SQL, or this dialect of it, cannot say the rule.
        """
        from sqlglot import exp

        if rule.kind in ("columns", "type"):
            raise CannotSayError("columns and types are judged from the table's schema, not by counting rows")
        if rule.kind == "unevaluated":
            raise CannotSayError(rule.params["reason"])
        if rule.kind == "row_count":
            return None
        if rule.kind == "reference":
            return self._dangling(rule)
        parts = measured(rule) if rule.kind == "measure" else [rule]
        if not parts:
            return None
        if parts[0].kind == "unique":
            return self._repeated(rule)
        return exp.or_(*(failing_condition(part, self.types, self.dialect) for part in parts))

    def _repeated(self, rule: Rule) -> exp.Expr:
        """Whether a row comes after the first of its key."""
        from sqlglot import exp

        keys = [self._key(name) for name in rule.columns]
        ordering = [_source(name) for name in self._ordering(rule)]
        position = exp.Window(
            this=exp.RowNumber(),
            partition_by=keys,
            order=exp.Order(expressions=[exp.Ordered(this=one, desc=False) for one in ordering]),
        )
        later = exp.GT(this=position, expression=exp.Literal.number(1))
        if not ignores_null(rule):
            return later
        there = [_source(name).is_(exp.Null()).not_() for name in rule.columns]
        return exp.and_(*there, later)

    def _key(self, name: str) -> exp.Expr:
        """A column of a key. Windows of some engines tell -0.0 from 0.0, which a sum with 0.0 makes one."""
        from sqlglot import exp

        kind = self.types.get(name, "")
        return exp.Add(this=_source(name), expression=literal(0.0, kind)) if is_float(kind) else _source(name)

    def _ordering(self, rule: Rule) -> Sequence[str]:
        """Columns that tell which row of a key is the first. Dialects ask for one, also where the key is all."""
        simple = [name for name, kind in self.types.items() if "<" not in kind and name not in rule.columns]
        return self.order or simple or rule.columns

    def _dangling(self, rule: Rule) -> exp.Expr:
        """Whether a row refers to something that is not there.

        By a join, for not every dialect takes a correlated ``EXISTS`` among the columns.
        """
        from sqlglot import exp

        called = rule.params["dataset"]
        other = self.own if called == self.contract.name else self.others.get(called)
        if other is None:
            raise CannotSayError(f"no table is known for dataset {called}")
        alias = f"target_{len(self._joins) + 1}"
        theirs = [exp.column(exp.to_identifier(name, quoted=True)) for name in rule.params["columns"]]
        names = [f"key_{number}" for number, _ in enumerate(theirs, start=1)]
        pairs = zip(theirs, names, strict=True)
        keys = exp.select(*(exp.alias_(key, name) for key, name in pairs)).distinct()
        same = [
            exp.EQ(this=exp.column(name, table=alias), expression=_source(ours))
            for ours, name in zip(rule.columns, names, strict=True)
        ]
        self._joins.append((keys.from_(self._table(other)).subquery(alias), exp.and_(*same)))
        there = [_source(name).is_(exp.Null()).not_() for name in rule.columns]
        return exp.and_(*there, exp.column(names[0], table=alias).is_(exp.Null()))


def _source(name: str) -> exp.Column:
    from sqlglot import exp

    return exp.column(exp.to_identifier(name, quoted=True), table="source")
