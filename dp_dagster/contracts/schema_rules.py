"""Rules of the schema: are the promised columns there, with the promised types. Judged from footers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.contracts.type_trees import keeps
from dp_dagster.contracts.verdict import RuleResult

if TYPE_CHECKING:
    from dp_dagster.contracts.model import Column, Contract, Rule
    from dp_dagster.contracts.source import Source


@dataclass(frozen=True)
class SchemaFindings:
    """What the footers say.

    Attributes:
        results: Of the rules of the schema.
        obstacles: Why rules on a column cannot be evaluated, by column.
        absent: Columns that need not be there and are not.
        types: Canonical types by which the rules are judged: those found, where the contract leaves a choice.
    """

    results: tuple[RuleResult, ...]
    obstacles: dict[str, str]
    absent: frozenset[str]
    types: dict[str, str]


def judge_schema(contract: Contract, source: Source) -> SchemaFindings:
    """Compare the files' footers with the contract."""
    problems: dict[str, str] = {}
    absent: set[str] = set()
    for column in contract.columns:
        if not column.required and all(column.name not in schema for schema in source.schemas):
            absent.add(column.name)
        elif problem := _problem(column, source):
            problems[column.name] = problem
    results = []
    for rule in contract.rules:
        if rule.kind == "columns":
            found = _column_problems(contract, rule, source)
        elif rule.kind == "type":
            # A missing column is the business of the rule above; its type is then not known.
            found = [problems[name] for name in rule.columns if name in problems]
            if any(name not in schema for name in rule.columns for schema in source.schemas):
                missing = rule.columns[0] in problems
                reason = (
                    f"column {rule.columns[0]} is missing" if missing else "the column is optional and absent"
                )
                results.append(RuleResult(rule.id, rule.severity, rule.level, 0, not missing, reason))
                continue
        else:
            continue
        results.append(
            RuleResult(
                rule.id, rule.severity, rule.level, int(bool(found)), True, "; ".join(found), tuple(found)
            )
        )
    types = {column.name: source.type_of(column.name) or column.type for column in contract.columns}
    return SchemaFindings(tuple(results), problems, frozenset(absent), types)


def _problem(column: Column, source: Source) -> str:
    for file, schema in zip(source.files, source.schemas, strict=True):
        found = schema.get(column.name)
        if found is None:
            where = f" in {file.rsplit('/', 1)[-1]}" if len(source.files) > 1 else ""
            return f"column {column.name} is missing{where}"
        if found != column.type and not (column.accepts and keeps(found, column.accepts)):
            return f"column {column.name} is of type {found}, not {column.accepts or column.type}"
    if column.accepts and source.type_of(column.name) is None:
        return f"column {column.name} is not of one type in all files"
    return ""


def _column_problems(contract: Contract, rule: Rule, source: Source) -> list[str]:
    declared = [column.name for column in contract.columns]
    problems: dict[str, None] = {}
    for schema in source.schemas:
        for column in contract.columns:
            if column.name not in schema and column.required:
                near = [name for name in schema if name.casefold() == column.name.casefold()]
                hint = f" (there is {near[0]})" if near else ""
                problems[f"column {column.name} is missing{hint}"] = None
        if rule.params.get("strict"):
            problems.update(
                dict.fromkeys(f"column {name} is not declared" for name in schema if name not in declared)
            )
        if rule.params.get("ordered"):
            expected = [name for name in declared if name in schema]
            found = [name for name in schema if name in declared]
            if found != expected:
                problems[f"columns are in the order {', '.join(found)}, not {', '.join(expected)}"] = None
    return list(problems)
