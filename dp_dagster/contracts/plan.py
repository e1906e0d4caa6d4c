"""Which rules of single rows can be evaluated over these files, and by which expressions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dp_dagster.contracts.expressions import EXPRESSED, failing
from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    import polars as pl

    from dp_dagster.contracts.custom import CustomChecks
    from dp_dagster.contracts.model import Contract, Rule
    from dp_dagster.contracts.schema_rules import SchemaFindings


@dataclass
class RowPlan:
    """The rules of single rows of one contract.

    Attributes:
        masks: Expressions that are true for failing rows, by rule id.
        fragile: Ids of rules whose expression was written by the author and may raise on data.
        unique: Rules of uniqueness that can be evaluated.
        obstacles: Why other rules cannot be evaluated, by rule id.
        vacuous: Ids of rules on optional columns that are not there: nothing can break them.
    """

    masks: dict[str, pl.Expr] = field(default_factory=dict)
    fragile: set[str] = field(default_factory=set)
    unique: list[Rule] = field(default_factory=list)
    obstacles: dict[str, str] = field(default_factory=dict)
    vacuous: set[str] = field(default_factory=set)


def plan_rows(contract: Contract, findings: SchemaFindings, custom: CustomChecks) -> RowPlan:
    """Plan the evaluation of the rules of level ``row``."""
    plan = RowPlan()
    types = {column.name: column.type for column in contract.columns}
    for rule in contract.rules:
        if rule.level != "row":
            continue
        blocked = [findings.obstacles[name] for name in rule.columns if name in findings.obstacles]
        if blocked:
            plan.obstacles[rule.id] = blocked[0]
        elif findings.absent & set(rule.columns):
            plan.vacuous.add(rule.id)
        elif rule.kind == "unique":
            plan.unique.append(rule)
        elif rule.kind == "custom":
            try:
                plan.masks[rule.id] = custom.failing_value(rule)
                plan.fragile.add(rule.id)
            except ContractError as error:
                plan.obstacles[rule.id] = str(error)
        elif rule.kind in EXPRESSED:
            plan.masks[rule.id] = failing(rule, types)
            if rule.kind == "expression":
                plan.fragile.add(rule.id)
        else:
            plan.obstacles[rule.id] = f"rules of kind {rule.kind} cannot be evaluated on rows"
    return plan
