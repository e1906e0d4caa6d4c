"""Which rules of single rows can be evaluated over these files, and by which expressions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dp_dagster.contracts.expressions import EXPRESSED, failing, failing_any
from dp_dagster.contracts.model import Rule
from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    import polars as pl

    from dp_dagster.contracts.custom import CustomChecks
    from dp_dagster.contracts.model import Contract
    from dp_dagster.contracts.schema_rules import SchemaFindings


@dataclass
class RowPlan:
    """The rules of single rows of one contract.

    Attributes:
        masks: Expressions that are true for failing rows, by rule id.
        fragile: Ids of rules whose expression was written by the author and may raise on data.
        unique: Rules of uniqueness that can be evaluated.
        references: Rules of references to other rows that can be evaluated.
        obstacles: Why other rules cannot be evaluated, by rule id.
        vacuous: Ids of rules on optional columns that are not there: nothing can break them.
    """

    masks: dict[str, pl.Expr] = field(default_factory=dict)
    fragile: set[str] = field(default_factory=set)
    unique: list[Rule] = field(default_factory=list)
    references: list[Rule] = field(default_factory=list)
    obstacles: dict[str, str] = field(default_factory=dict)
    vacuous: set[str] = field(default_factory=set)


def plan_rows(  # noqa: PLR0912 - one branch for each kind of rule
    contract: Contract, findings: SchemaFindings, custom: CustomChecks
) -> RowPlan:
    """Plan the evaluation of the rules of level ``row``."""
    plan = RowPlan()
    types = findings.types
    for rule in contract.rules:
        if rule.level != "row" and rule.kind != "measure":
            continue
        blocked = [findings.obstacles[name] for name in rule.columns if name in findings.obstacles]
        if blocked:
            plan.obstacles[rule.id] = blocked[0]
        elif findings.absent & set(rule.columns):
            plan.vacuous.add(rule.id)
        elif rule.kind == "unique":
            plan.unique.append(rule)
        elif rule.kind == "reference":
            plan.references.append(rule)
        elif rule.kind == "measure":
            _plan_measure(rule, plan, types)
        elif rule.kind == "custom":
            try:
                plan.masks[rule.id] = custom.failing_value(rule)
                plan.fragile.add(rule.id)
            except ContractError as error:
                plan.obstacles[rule.id] = str(error)
        elif rule.kind in EXPRESSED:
            try:
                plan.masks[rule.id] = failing(rule, types)
            except ValueError as error:
                plan.obstacles[rule.id] = f"it does not fit the type that was found: {error}"
            if rule.kind == "expression":
                plan.fragile.add(rule.id)
        else:
            plan.obstacles[rule.id] = f"rules of kind {rule.kind} cannot be evaluated on rows"
    return plan


def _plan_measure(rule: Rule, plan: RowPlan, types: dict[str, str]) -> None:
    """What a rule about a number of failing rows counts."""
    parts = measured(rule)
    if not parts:
        return  # the rows themselves are counted
    if parts[0].kind == "unique":
        plan.unique.append(rule)
    else:
        plan.masks[rule.id] = failing_any(parts, types)


def measured(rule: Rule) -> list[Rule]:
    """The rules that a rule of kind ``measure`` counts the failing rows of; none where it counts all rows."""
    path = {"path": rule.params["path"]} if rule.params.get("path") else {}
    return [
        Rule(rule.id, part["kind"], rule.columns, {**part["params"], **path})
        for part in rule.params["of"]
        if part["kind"] != "rows"
    ]
