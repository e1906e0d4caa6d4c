"""Evaluate a contract: all rules of single rows in one streaming scan over the candidate's files.

The scan counts failing rows for each rule and keeps nothing. Which rows failed is asked again, of the rules
that have failures only: clean data is read once. What a rule means is defined in :mod:`.expressions`, and for
keys in :mod:`.uniqueness`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.custom import CustomChecks
from dp_dagster.contracts.plan import RowPlan, plan_rows
from dp_dagster.contracts.samples import sample_rows, shown
from dp_dagster.contracts.schema_rules import SchemaFindings, judge_schema
from dp_dagster.contracts.source import ROW, Source, open_source
from dp_dagster.contracts.uniqueness import repeated_rows
from dp_dagster.contracts.verdict import RuleResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from dp_dagster.contracts.model import Contract, Rule


@dataclass(frozen=True)
class Evaluation:
    """What a contract found in some files.

    Attributes:
        rows: Rows in the files.
        rejected: Distinct rows that fail at least one rule of single rows at severity ``error``.
        results: One for each rule, in the contract's order.
    """

    rows: int
    rejected: int
    results: tuple[RuleResult, ...]

    def result(self, rule_id: str) -> RuleResult:
        """The result of a rule.

        Raises:
            KeyError: There is no such rule.
        """
        return {result.rule_id: result for result in self.results}[rule_id]


def evaluate(
    contract: Contract, files: Sequence[str], *, product_root: Path, sample_size: int = 5
) -> Evaluation:
    """Evaluate all rules of a contract over Parquet files.

    Args:
        contract: The contract.
        files: Paths of Parquet files that are one table, in order.
        product_root: The product's folder, for checks that only pandera can run.
        sample_size: How many failing rows to show for each broken rule.

    Raises:
        StoreError: A file cannot be read.
        UsageError: There are no files.
    """
    return _Evaluator(contract, open_source(files), product_root, sample_size).run()


class _Evaluator:
    def __init__(self, contract: Contract, source: Source, product_root: Path, sample_size: int) -> None:
        self.contract = contract
        self.source = source
        self.sample_size = sample_size
        self.custom = CustomChecks(contract, product_root)
        self.findings: SchemaFindings = judge_schema(contract, source)
        self.plan: RowPlan = plan_rows(contract, self.findings, self.custom)
        usable = [
            column.name
            for column in contract.columns
            if column.name not in self.findings.obstacles and column.name not in self.findings.absent
        ]
        self.frame = source.frame(usable) if usable else None
        self.repeated: dict[str, pl.DataFrame] = {}

    def run(self) -> Evaluation:
        counts = self._counts()
        if self.frame is not None:
            for rule in self.plan.unique:
                self.repeated[rule.id] = repeated_rows(self.frame, rule.columns, self.source.rows)
                counts[rule.id] = self.repeated[rule.id].height
        by_id = {result.rule_id: result for result in self.findings.results}
        results = tuple(by_id.get(rule.id) or self._result(rule, counts) for rule in self.contract.rules)
        return Evaluation(self.source.rows, self._rejected(counts), results)

    def _counts(self) -> dict[str, int]:
        """Failing rows of each planned rule. Rules that turn out to raise move to the plan's obstacles."""
        masks = self.plan.masks
        if not masks or self.frame is None:
            return {}
        import polars as pl

        try:
            return self._count(masks)
        # What an author's function raises comes through Polars as it is, so it may be anything.
        except (Exception, pl.exceptions.PanicException):
            if not self.plan.fragile:
                raise
        counts = self._count({name: mask for name, mask in masks.items() if name not in self.plan.fragile})
        for name in sorted(self.plan.fragile):
            try:
                counts |= self._count({name: masks[name]})
            except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 - as above
                rule = next(rule for rule in self.contract.rules if rule.id == name)
                self.plan.obstacles[name] = f"the check raised: {self.custom.cause(rule, error)}"
                del masks[name]
        return counts

    def _count(self, masks: Mapping[str, pl.Expr]) -> dict[str, int]:
        if not masks or self.frame is None:
            return {}
        sums = [mask.sum().alias(name) for name, mask in masks.items()]
        counted = self.frame.select(sums).collect(engine="streaming").row(0, named=True)
        return {name: int(count or 0) for name, count in counted.items()}

    def _rejected(self, counts: Mapping[str, int]) -> int:
        import polars as pl

        broken = [
            rule
            for rule in self.contract.rules
            if rule.level == "row" and rule.severity == "error" and counts.get(rule.id)
        ]
        if not broken or self.frame is None:
            return 0
        if len(broken) == 1:
            return counts[broken[0].id]
        masks = [
            self.plan.masks[rule.id].fill_null(value=False) for rule in broken if rule.id in self.plan.masks
        ]
        other = pl.any_horizontal(masks) if masks else pl.lit(value=False)
        repeated = [self.repeated[rule.id] for rule in broken if rule.id in self.repeated]
        rejected = int(self.frame.select(other.sum()).collect(engine="streaming").item() or 0) if masks else 0
        if repeated:
            distinct = pl.concat(repeated).unique()
            alone = (
                self.frame.select(other.alias("other"))
                .with_row_index(ROW)
                .join(distinct.lazy(), on=ROW, how="semi")
                .select((~pl.col("other")).sum())
            )
            rejected += int(alone.collect(engine="streaming").item()) if masks else distinct.height
        return rejected

    def _result(self, rule: Rule, counts: Mapping[str, int]) -> RuleResult:
        if rule.kind == "row_count":
            return self._row_count(rule)
        if rule.level != "row":
            return self._table_check(rule)
        if rule.id in self.plan.vacuous:
            return RuleResult(
                rule.id, rule.severity, rule.level, 0, reason="the column is optional and absent"
            )
        if rule.id in self.plan.obstacles:
            return RuleResult(
                rule.id, rule.severity, rule.level, 0, evaluated=False, reason=self.plan.obstacles[rule.id]
            )
        failures = counts[rule.id]
        sample: tuple[Any, ...] = ()
        if failures and self.frame is not None:
            chosen = self.plan.masks.get(rule.id)
            rows = chosen if chosen is not None else self.repeated[rule.id].head(self.sample_size)
            sample = sample_rows(self.contract, rule, self.frame, rows, self.sample_size)
        return RuleResult(rule.id, rule.severity, rule.level, failures, sample=sample)

    def _row_count(self, rule: Rule) -> RuleResult:
        problem = row_count_problem(rule, self.source.rows)
        return RuleResult(rule.id, rule.severity, rule.level, int(bool(problem)), reason=problem)

    def _table_check(self, rule: Rule) -> RuleResult:
        missing = self.findings.obstacles
        needed = rule.columns or tuple(missing)
        if blocked := [missing[name] for name in needed if name in missing]:
            return RuleResult(rule.id, rule.severity, rule.level, 0, evaluated=False, reason=blocked[0])
        if set(rule.columns) & self.findings.absent:
            return RuleResult(
                rule.id, rule.severity, rule.level, 0, reason="the column is optional and absent"
            )
        outcome = self.custom.run(rule, self.source.frame(), self.sample_size)
        return RuleResult(
            rule.id,
            rule.severity,
            rule.level,
            int(outcome.failed),
            outcome.evaluated,
            outcome.reason,
            tuple(shown(row, self.contract.classified) for row in outcome.sample),
        )


def row_count_problem(rule: Rule, rows: int) -> str:
    """What is wrong with a number of rows; empty if it keeps the rule."""
    minimum, maximum = rule.params.get("minimum"), rule.params.get("maximum")
    if minimum is not None and rows < minimum:
        return f"{rows} rows, at least {minimum} are promised"
    if maximum is not None and rows > maximum:
        return f"{rows} rows, at most {maximum} are promised"
    return ""
