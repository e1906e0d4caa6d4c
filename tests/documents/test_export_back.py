"""pandera to ODCS and back: each rule that both can say says the same of the same rows."""

from __future__ import annotations

import pytest
from contract_texts import EVERYTHING, SEVERAL, random_rows

from dp_dagster.contracts.evaluate import evaluate
from dp_dagster.contracts.load import load_contract
from dp_dagster.documents.odcs import schema_object
from dp_dagster.documents.yaml_text import yaml_text

NESTED = ("binary", "list", "struct", "map")
HEAD = {"apiVersion": "v3.1.0", "kind": "DataContract", "id": "x", "version": "1.0.0", "status": "active"}


@pytest.fixture(params=["Everything", "Several"])
def both(request, tmp_path):
    """A contract, the same one by way of ODCS, and what the export could not say."""
    (tmp_path / "contract.py").write_text({"Everything": EVERYTHING, "Several": SEVERAL}[request.param])
    contract = load_contract(f"contract.py:{request.param}", product_root=tmp_path)
    simple = tuple(column for column in contract.columns if not column.type.startswith(NESTED))
    names = {column.name for column in simple}
    rules = tuple(rule for rule in contract.rules if {*rule.columns} <= names)
    contract = type(contract)(**{**vars(contract), "columns": simple, "rules": rules})
    key = ("id",) if "id" in names else ()
    table, notes = schema_object(contract, "rows", key)
    (tmp_path / "rows.odcs.yaml").write_text(yaml_text({**HEAD, "schema": [table]}))
    back = load_contract("rows.odcs.yaml", product_root=tmp_path)
    return contract, back, {note.subject for note in notes}


def counterpart(rule, contract):
    """The rule of the other contract that says the same: of its kind and columns, or of its name."""
    same = {"equal": "one_of", "starts_with": "pattern", "ends_with": "pattern"}.get(rule.kind, rule.kind)
    if rule.params.get("nan_fails"):
        return next((one for one in contract.rules if one.id.startswith(f"{rule.id}_nor_nan")), None)
    found = [one for one in contract.rules if one.id == rule.id or one.id.startswith(f"{rule.id}_")]
    found += [one for one in contract.rules if one.kind == same and one.columns == rule.columns]
    return found[0] if found else None


def test_columns_come_back(both):
    contract, back, _ = both
    assert (back.strict, back.key) == (contract.strict, ("id",) if contract.strict else ())
    for column in contract.columns:
        other = back.column(column.name)
        assert (other.type, other.nullable, other.description) == (
            column.type,
            column.nullable,
            column.description,
        )
        assert (other.unit, other.classification) == (column.unit, column.classification)


@pytest.mark.parametrize("seed", range(4))
def test_rules_come_back(both, tmp_path, seed):
    contract, back, unsaid = both
    file = str(tmp_path / "rows.parquet")
    random_rows(contract, seed).write_parquet(file)
    here, there = (evaluate(one, [file], product_root=tmp_path) for one in (contract, back))
    compared = 0
    for rule in contract.rules:
        if rule.id in unsaid - {"columns"}:
            continue
        other = counterpart(rule, back)
        assert other is not None, f"{rule.id} is lost"
        assert other.severity == rule.severity
        said, repeated = here.result(rule.id), there.result(other.id)
        assert repeated.evaluated, repeated.reason
        assert repeated.passed == said.passed, f"{rule.id}: {said.failures} and {repeated.failures}"
        if other.level == rule.level == "row":
            assert repeated.failures == said.failures, rule.id
        compared += 1
    assert compared > 15
    assert sum(not here.result(rule.id).passed for rule in contract.rules) > 5
