"""Contracts as dbt's schema YAML: an enforced contract, constraints, and tests.

What must hold is a constraint (``not_null``, ``unique``, ``primary_key``, ``check`` with a SQL condition), which dbt
builds into the table; what dbt also has a test for is a test too. A rule that warns is a test of severity ``warn``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.type_shapes import shape_of, sql_type
from dp_dagster.descriptor.names import id_fault
from dp_dagster.documents.expressions import UnsaidError
from dp_dagster.documents.odcs import document_name
from dp_dagster.documents.sql_conditions import condition
from dp_dagster.documents.written import Note, Written
from dp_dagster.documents.yaml_text import yaml_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_dagster.contracts.model import Column, Contract, Rule
    from dp_dagster.resolve import ResolvedDataset, ResolvedProduct

_NO_TEST = "dbt itself has no test for it that only warns"


def export_dbt(product: ResolvedProduct, dataset: ResolvedDataset) -> Written:
    """The schema of the model that a dataset is made by; a model that dbt does not make yet is named after it."""
    makers = (one for one in product.transforms if dataset.source in one.provides)
    model = next(
        (dataset.source for one in makers if one.transform.runs_in == "dbt"),
        document_name(dataset).replace(".", "_"),
    )
    described = dataset.declaration.description or dataset.contract.description
    written, notes = model_schema(dataset.contract, model, dataset.key, described)
    text = yaml_text({"version": 2, "models": [written]})
    return Written(f"{document_name(dataset)}.dbt.yml", text, notes)


def model_schema(
    contract: Contract, model: str, key: Sequence[str], description: str = ""
) -> tuple[dict[str, Any], tuple[Note, ...]]:
    """A contract as the description of a dbt model, and what it could not say.

    Args:
        contract: The compiled contract.
        model: Name of the model.
        key: Columns that identify a row.
        description: What it is.
    """
    return _Model(contract, tuple(key)).written(model, description)


class _Model:
    def __init__(self, contract: Contract, key: tuple[str, ...]) -> None:
        self.contract = contract
        self.key = key
        self.types = {column.name: column.type for column in contract.columns}
        self.columns = {column.name: _column(column) for column in contract.columns}
        self.constraints: list[dict[str, Any]] = []
        self.notes: list[Note] = []

    def written(self, model: str, description: str) -> tuple[dict[str, Any], tuple[Note, ...]]:
        if self.key:
            self.constraints.append({"type": "primary_key", "columns": list(self.key)})
        for rule in self.contract.rules:
            if rule.kind not in ("columns", "type"):
                self._rule(rule)
        for column in self.contract.columns:
            if not column.required:
                self.notes.append(Note(f"column {column.name}", "dbt has no column that may be absent"))
        if not self.contract.strict:
            self.notes.append(Note("columns", "an enforced contract of dbt allows no further columns"))
        made: dict[str, Any] = {"name": model}
        if description:
            made["description"] = _plain(description)
        if self.notes:
            unsaid = [{"rule": note.subject, "reason": note.reason} for note in self.notes]
            config: dict[str, Any] = {"contract": {"enforced": True}, "meta": {"not_expressed": unsaid}}
        else:
            config = {"contract": {"enforced": True}}
        # Constraints are built into tables only.
        made["config"] = {"materialized": "table", **config}
        if self.constraints:
            made["constraints"] = self.constraints
        made["columns"] = list(self.columns.values())
        return made, tuple(self.notes)

    def _rule(self, rule: Rule) -> None:
        single = rule.columns[0] if len(rule.columns) == 1 else None
        test = self._test(rule)
        if test is not None and single is not None:
            self._add(single, "data_tests", test)
        if rule.severity == "warn":
            if test is None:
                self.notes.append(Note(rule.id, _NO_TEST))
        elif rule.kind == "unique":
            self._unique(rule)
        elif rule.kind == "not_null" and single is not None and not rule.params.get("nan_fails"):
            self._add(single, "constraints", {"type": "not_null"})
        elif rule.kind == "row_count":
            self.notes.append(Note(rule.id, "dbt itself has no test that counts rows"))
        else:
            self._check(rule, single)

    def _unique(self, rule: Rule) -> None:
        if set(rule.columns) == set(self.key):
            return  # the primary key says it
        if len(rule.columns) == 1:
            self._add(rule.columns[0], "constraints", {"type": "unique"})
        else:
            self.constraints.append({"type": "unique", "columns": list(rule.columns)})
        self.notes.append(
            Note(rule.id, "two nulls are equal for the contract; for SQL's unique they are not")
        )

    def _check(self, rule: Rule, single: str | None) -> None:
        try:
            constraint = {"type": "check", "name": rule.id, "expression": condition(rule, self.types)}
        except UnsaidError as error:
            self.notes.append(Note(rule.id, str(error)))
            return
        if single is not None:
            self._add(single, "constraints", constraint)
        else:
            self.constraints.append({**constraint, "columns": list(rule.columns)})

    def _test(self, rule: Rule) -> Any:
        if rule.params.get("null_fails") or rule.params.get("nan_fails") or len(rule.columns) != 1:
            return None
        name, arguments = str(rule.kind), dict[str, Any]()
        if rule.kind in ("not_null", "unique"):
            pass
        elif rule.kind in ("one_of", "equal"):
            values = rule.params.get("values", [rule.params.get("value")])
            family = shape_of(self.types[rule.columns[0]]).family
            if family not in ("string", "integer", "bool"):
                return None
            name, arguments = "accepted_values", {"values": values}
            if family != "string":
                arguments["quote"] = False
        else:
            return None
        content: dict[str, Any] = {"arguments": arguments} if arguments else {}
        if rule.severity == "warn":
            content["config"] = {"severity": "warn"}
        return {name: content} if content else name

    def _add(self, column: str, part: str, item: Any) -> None:
        self.columns[column].setdefault(part, []).append(item)


def _column(column: Column) -> dict[str, Any]:
    made: dict[str, Any] = {"name": column.name, "data_type": sql_type(shape_of(column.type))}
    if id_fault(column.name) is not None:
        made["quote"] = True
    if column.description:
        made["description"] = _plain(column.description)
    meta = {
        key: value
        for key, value in (("classification", column.classification), ("unit", column.unit))
        if value
    }
    meta |= column.tags
    if meta:
        made["config"] = {"meta": meta}
    return made


def _plain(text: str) -> str:
    """A description that dbt does not take for a template."""
    return text.strip().replace("{{", "{ {").replace("{%", "{ %").replace("{#", "{ #")
