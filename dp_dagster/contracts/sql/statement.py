"""One statement that counts the failing rows of all rules, and what its answer means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.evaluate import ignores_null, measure_problem, row_count_problem
from dp_dagster.contracts.plan import measured
from dp_dagster.contracts.sql.conditions import failing_condition
from dp_dagster.contracts.sql.dialects import CannotSayError, dialect_of
from dp_dagster.contracts.verdict import RuleResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlglot import exp

    from dp_dagster.contracts.model import Contract, Rule
    from dp_dagster.contracts.sql.dialects import Dialect

Table = tuple[str, ...]
"""A table by its names: ``("schema", "orders")``."""


@dataclass(frozen=True)
class CountStatement:
    """A statement, and how to read its one row.

    Attributes:
        contract: What it counts for.
        dialect: Of the statement.
        sql: The statement. Its first column is the number of rows, then one for each counted rule.
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
        counts = {rule_id: int(value or 0) for rule_id, value in zip(self.counted, row[1:], strict=True)}
        return tuple(self._result(rule, counts, rows) for rule in self.contract.rules)

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


def count_statement(
    contract: Contract,
    table: Table,
    *,
    dialect: str,
    types: Mapping[str, str] | None = None,
    others: Mapping[str, Table] | None = None,
) -> CountStatement:
    """Write a contract as one statement over a table.

    All rules of single rows are counted in one pass; keys and references need one more each. What the dialect
    cannot say, or cannot say with the same meaning, is named in ``not_evaluated`` with the reason.

    Args:
        contract: The contract.
        table: The table.
        dialect: ``duckdb``, ``postgres``, ``spark`` or ``snowflake``.
        types: Canonical types of the columns as the table has them; those of the contract by default.
        others: Tables of the datasets that rules refer to, by what the contract calls them.

    Raises:
        UsageError: There is no such dialect.
    """
    from sqlglot import exp

    writer = _Writer(contract, table, dialect_of(dialect), types or {}, others or {})
    columns: list[exp.Expr] = [exp.alias_(exp.Count(this=exp.Star()), "rows_in")]
    counted: list[str] = []
    unsaid: dict[str, str] = {}
    for rule in contract.rules:
        try:
            expression = writer.count(rule)
        except CannotSayError as error:
            unsaid[rule.id] = str(error)
            continue
        if expression is not None:
            counted.append(rule.id)
            columns.append(exp.alias_(expression, f"rule_{len(counted)}"))
    statement = exp.select(*columns).from_(writer.table(table))
    return CountStatement(contract, dialect, statement.sql(dialect=dialect), tuple(counted), unsaid)


class _Writer:
    def __init__(
        self,
        contract: Contract,
        table: Table,
        dialect: Dialect,
        types: Mapping[str, str],
        others: Mapping[str, Table],
    ) -> None:
        self.contract = contract
        self.own = table
        self.dialect = dialect
        self.types = {column.name: column.type for column in contract.columns} | dict(types)
        self.others = others

    def table(self, names: Table, alias: str | None = None) -> exp.Expr:
        from sqlglot import exp

        *above, name = (exp.to_identifier(one, quoted=True) for one in names)
        made = exp.Table(
            this=name, db=above[-1] if above else None, catalog=above[-2] if len(above) > 1 else None
        )
        return exp.alias_(made, alias, table=True) if alias else made

    def count(self, rule: Rule) -> exp.Expr | None:
        """The number of failing rows; ``None`` where the number of all rows is enough.

        Raises:
            CannotSayError: SQL, or this dialect of it, cannot say the rule.
        """
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
        return self._failing(parts)

    def _failing(self, parts: Sequence[Rule]) -> exp.Expr:
        from sqlglot import exp

        conditions = [failing_condition(part, self.types, self.dialect) for part in parts]
        case = exp.Case().when(exp.or_(*conditions), exp.Literal.number(1)).else_(exp.Literal.number(0))
        return exp.func("COALESCE", exp.Sum(this=case), exp.Literal.number(0))

    def _repeated(self, rule: Rule) -> exp.Expr:
        """Rows after the first of each key."""
        from sqlglot import exp

        keys = [exp.column(exp.to_identifier(name, quoted=True)) for name in rule.columns]
        groups = exp.select(exp.alias_(exp.Count(this=exp.Star()), "size")).from_(self.table(self.own))
        if ignores_null(rule):
            groups = groups.where(*(key.copy().is_(exp.Null()).not_() for key in keys))
        groups = groups.group_by(*keys)
        more = exp.Sub(this=exp.column("size"), expression=exp.Literal.number(1))
        total = exp.func("COALESCE", exp.Sum(this=more), exp.Literal.number(0))
        return exp.select(total).from_(groups.subquery("repeated")).subquery()

    def _dangling(self, rule: Rule) -> exp.Expr:
        from sqlglot import exp

        called = rule.params["dataset"]
        other = self.own if called == self.contract.name else self.others.get(called)
        if other is None:
            raise CannotSayError(f"no table is known for dataset {called}")

        def column(name: str, table: str) -> exp.Column:
            return exp.column(exp.to_identifier(name, quoted=True), table=table)

        pairs = zip(rule.columns, rule.params["columns"], strict=True)
        same = [
            exp.EQ(this=column(theirs, "target"), expression=column(ours, "source")) for ours, theirs in pairs
        ]
        found = exp.select(exp.Literal.number(1)).from_(self.table(other, "target")).where(*same)
        there = [column(name, "source").is_(exp.Null()).not_() for name in rule.columns]
        missing = exp.Not(this=exp.Exists(this=found))
        counted = exp.select(exp.Count(this=exp.Star())).from_(self.table(self.own, "source"))
        return counted.where(*there, missing).subquery()
