"""Evaluate a contract: all rules of single rows in one streaming scan over the candidate's files.

The scan counts failing rows for each rule, and the distinct ones of all that hold a version, and keeps nothing.
Which rows failed is asked again, of the rules that have failures only: clean data is read once. What a rule means
is defined in :mod:`.expressions`, and for keys in :mod:`.uniqueness`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.beside import Beside, taken_rows
from dp_dagster.contracts.comparisons import holds, in_words
from dp_dagster.contracts.custom import CustomChecks
from dp_dagster.contracts.plan import RowPlan, plan_rows
from dp_dagster.contracts.references import MissingReferenceError, dangling_rows
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
    contract: Contract,
    files: Sequence[str],
    *,
    product_root: Path,
    sample_size: int = 5,
    others: Mapping[str, Sequence[str]] | None = None,
    beside: Beside | None = None,
) -> Evaluation:
    """Evaluate all rules of a contract over Parquet files.

    Args:
        contract: The contract.
        files: Paths of Parquet files that are one table, in order.
        product_root: The product's folder, for checks that only pandera can run.
        sample_size: How many failing rows to show for each broken rule.
        others: Parquet files of the datasets that rules refer to, by the names that the contract calls them.
        beside: Files of the same table that stay as they are, where the candidate is a part of it.

    Raises:
        StoreError: A file cannot be read.
        UsageError: There are no files.
    """
    source = open_source(files)
    return _Evaluator(
        contract, source, product_root, sample_size, others or {}, beside=beside or Beside()
    ).run()


class _Evaluator:
    def __init__(
        self,
        contract: Contract,
        source: Source,
        product_root: Path,
        sample_size: int,
        others: Mapping[str, Sequence[str]],
        *,
        beside: Beside,
    ) -> None:
        self.contract = contract
        self.others = others
        self.source = source
        self.beside = beside
        self.whole = open_source([*beside.files, *source.files]) if beside.files else source
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
        self.masked: int | None = 0

    def run(self) -> Evaluation:
        counts = self._counts()
        if self.frame is not None:
            self.repeated = listed_rows(
                self.contract, self.plan, self.frame, self.source.rows, self.others, beside=self.beside
            )
            counts |= {rule_id: rows.height for rule_id, rows in self.repeated.items()}
        by_id = {result.rule_id: result for result in self.findings.results}
        results = tuple(by_id.get(rule.id) or self._result(rule, counts) for rule in self.contract.rules)
        return Evaluation(self.source.rows, self._rejected(counts), results)

    def _counts(self) -> dict[str, int]:
        """Failing rows of each planned rule. Rules that turn out to raise move to the plan's obstacles."""
        if not self.plan.masks or self.frame is None:
            return {}
        return self._counts_of_candidate(self.plan.masks) | self._counts_of_whole()

    def _counts_of_whole(self) -> dict[str, int]:
        """Failing rows of rules about the table, where the candidate is a part of it."""
        measured = {
            rule.id: self.plan.masks[rule.id]
            for rule in self.contract.rules
            if rule.kind == "measure" and rule.id in self.plan.masks
        }
        if not measured or not self.beside.files:
            return {}
        import polars as pl

        counted = self.whole.frame().select(mask.alias(name) for name, mask in measured.items())
        row = counted.select(pl.all().sum()).collect(engine="streaming").row(0, named=True)
        return {name: int(row[name] or 0) for name in measured}

    def _counts_of_candidate(self, masks: dict[str, pl.Expr]) -> dict[str, int]:
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
        self.masked = None  # what was counted together last were not all of them
        return counts

    def _count(self, masks: Mapping[str, pl.Expr]) -> dict[str, int]:
        """Failing rows of these rules, and in the same scan (``masked``) of all those at ``error`` together."""
        if not masks or self.frame is None:
            return {}
        import polars as pl

        names = {rule_id: f"rule_{number}" for number, rule_id in enumerate(masks)}
        marked = self.frame.select(mask.alias(names[rule_id]) for rule_id, mask in masks.items())
        holding = [names[rule.id] for rule in self.contract.rules if rule.id in masks and _rejects(rule)]
        together = pl.any_horizontal(
            [pl.col(name).fill_null(value=False) for name in holding] or [pl.lit(value=False)]
        )
        counted = marked.select(pl.all().sum(), together.sum().alias("masked")).collect(engine="streaming")
        row = counted.row(0, named=True)
        self.masked = int(row["masked"] or 0)
        return {rule_id: int(row[name] or 0) for rule_id, name in names.items()}

    def _rejected(self, counts: Mapping[str, int]) -> int:
        import polars as pl

        broken = [rule for rule in self.contract.rules if _rejects(rule) and counts.get(rule.id)]
        if not broken or self.frame is None:
            return 0
        if len(broken) == 1:
            return counts[broken[0].id]
        masks = [
            self.plan.masks[rule.id].fill_null(value=False) for rule in broken if rule.id in self.plan.masks
        ]
        other = pl.any_horizontal(masks) if masks else pl.lit(value=False)
        if self.masked is None:
            self.masked = int(self.frame.select(other.sum()).collect(engine="streaming").item() or 0)
        repeated = [self.repeated[rule.id] for rule in broken if rule.id in self.repeated]
        if not repeated:
            return self.masked
        distinct = pl.concat(repeated).unique()
        if not self.masked:
            return distinct.height
        alone = (
            self.frame.select(other.alias("other"))
            .with_row_index(ROW)
            .join(distinct.lazy(), on=ROW, how="semi")
            .select((~pl.col("other")).sum())
        )
        return self.masked + int(alone.collect(engine="streaming").item())

    def _result(self, rule: Rule, counts: Mapping[str, int]) -> RuleResult:
        if rule.level == "row":
            return self._row_rule(rule, counts)
        judged = {"row_count": self._row_count, "sql": self._query, "unevaluated": self._unevaluated}
        if rule.kind == "measure":
            return self._measure(rule, counts)
        return judged.get(rule.kind, self._table_check)(rule)

    def _row_rule(self, rule: Rule, counts: Mapping[str, int]) -> RuleResult:
        if rule.id in self.plan.vacuous:
            return RuleResult(
                rule.id, rule.severity, rule.level, 0, reason="the column is optional and absent"
            )
        if rule.id in self.plan.obstacles:
            return self._not_evaluated(rule, self.plan.obstacles[rule.id])
        failures = counts[rule.id]
        sample: tuple[Any, ...] = ()
        if failures and self.frame is not None:
            chosen = self.plan.masks.get(rule.id)
            rows = chosen if chosen is not None else self.repeated[rule.id].head(self.sample_size)
            sample = sample_rows(self.contract, rule, self.frame, rows, self.sample_size)
        return RuleResult(rule.id, rule.severity, rule.level, failures, sample=sample)

    def _not_evaluated(self, rule: Rule, reason: str) -> RuleResult:
        return RuleResult(rule.id, rule.severity, rule.level, 0, evaluated=False, reason=reason)

    def _unevaluated(self, rule: Rule) -> RuleResult:
        return self._not_evaluated(rule, rule.params["reason"])

    def _row_count(self, rule: Rule) -> RuleResult:
        problem = row_count_problem(rule, self.whole.rows)
        return RuleResult(rule.id, rule.severity, rule.level, int(bool(problem)), reason=problem)

    def _measure(self, rule: Rule, counts: Mapping[str, int]) -> RuleResult:
        if rule.id in self.plan.obstacles:
            return self._not_evaluated(rule, self.plan.obstacles[rule.id])
        # What is not counted apart are the rows themselves, and nothing on a column that may be absent and is.
        uncounted = 0 if rule.id in self.plan.vacuous else self.whole.rows
        problem = measure_problem(rule, counts.get(rule.id, uncounted), self.whole.rows)
        return RuleResult(rule.id, rule.severity, rule.level, int(bool(problem)), reason=problem)

    def _query(self, rule: Rule) -> RuleResult:
        from dp_dagster.contracts.sql_rules import ask

        outcome = ask(rule.params, self.whole.files)
        return RuleResult(
            rule.id, rule.severity, rule.level, int(outcome.failed), outcome.evaluated, outcome.reason
        )

    def _table_check(self, rule: Rule) -> RuleResult:
        missing = self.findings.obstacles
        needed = rule.columns or tuple(missing)
        if blocked := [missing[name] for name in needed if name in missing]:
            return RuleResult(rule.id, rule.severity, rule.level, 0, evaluated=False, reason=blocked[0])
        if set(rule.columns) & self.findings.absent:
            return RuleResult(
                rule.id, rule.severity, rule.level, 0, reason="the column is optional and absent"
            )
        outcome = self.custom.run(rule, self.whole.frame(), self.sample_size)
        return RuleResult(
            rule.id,
            rule.severity,
            rule.level,
            int(outcome.failed),
            outcome.evaluated,
            outcome.reason,
            tuple(shown(row, self.contract.classified) for row in outcome.sample),
        )


def _rejects(rule: Rule) -> bool:
    return rule.level == "row" and rule.severity == "error"


def listed_rows(
    contract: Contract,
    plan: RowPlan,
    frame: pl.LazyFrame,
    rows: int,
    others: Mapping[str, Sequence[str]],
    *,
    beside: Beside,
) -> dict[str, pl.DataFrame]:
    """The failing rows of the rules that compare rows with other rows, by rule id.

    Rules that turn out to have nothing to compare with move to the plan's obstacles.
    """
    import polars as pl

    stays, staying = beside.frame(), beside.rows()
    found = {}
    for rule in plan.unique:
        ignored = ignores_null(rule)
        if stays is not None and rule.kind == "measure":
            # A number of the whole table: nobody asks which rows they are.
            both = pl.concat([one.select(list(rule.columns)) for one in (stays, frame)])
            found[rule.id] = repeated_rows(both, rule.columns, staying + rows, null_ignored=ignored)
            continue
        repeated = repeated_rows(frame, rule.columns, rows, null_ignored=ignored)
        if stays is not None and beside.meets(rule.columns):
            taken = taken_rows(frame, stays, rule.columns, null_ignored=ignored)
            repeated = pl.concat([repeated, taken]).unique().sort(ROW)
        found[rule.id] = repeated
    for rule in plan.references:
        try:
            found[rule.id] = dangling_rows(contract, rule, frame, others, stays)
        except MissingReferenceError as error:
            plan.obstacles[rule.id] = str(error)
    return found


def ignores_null(rule: Rule) -> bool:
    """Whether a rule of uniqueness, or one that counts duplicates, leaves out rows with a null in the key."""
    params = rule.params["of"][0]["params"] if rule.kind == "measure" else rule.params
    return bool(params.get("null_ignored"))


def measure_problem(rule: Rule, found: int, rows: int) -> str:
    """What is wrong with a number of rows that a rule of kind ``measure`` counted; empty if it keeps the rule."""
    compare, unit = rule.params["compare"], rule.params["unit"]
    # Of no rows no share fails.
    measured = Fraction(found * 100, rows or 1) if unit == "percent" else found
    if holds(compare, measured):
        return ""
    counted = f"{float(measured):.10g} % ({found} of {rows} rows)" if unit == "percent" else f"{found} rows"
    return f"{counted}, promised is {in_words(compare)}{' %' if unit == 'percent' else ''}"


def row_count_problem(rule: Rule, rows: int) -> str:
    """What is wrong with a number of rows; empty if it keeps the rule."""
    minimum, maximum = rule.params.get("minimum"), rule.params.get("maximum")
    if minimum is not None and rows < minimum:
        return f"{rows} rows, at least {minimum} are promised"
    if maximum is not None and rows > maximum:
        return f"{rows} rows, at most {maximum} are promised"
    return ""
