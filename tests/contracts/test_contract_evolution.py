"""Each row of the classification, by two contracts that differ in just that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_dagster.contracts.evolution import CLASSIFICATION, compare, relied_upon
from dp_dagster.contracts.evolution.types import widens
from dp_dagster.contracts.model import Column, Contract, Rule

BASE = Contract(
    name="Orders",
    hash="",
    format="pandera",
    source="contracts/orders.py:Orders",
    columns=(
        Column("id", "int64", nullable=False),
        Column("state", "string", nullable=False),
        Column("amount", "decimal(10,2)", unit="EUR"),
        Column("note", "string"),
    ),
    key=("id",),
    rules=(
        Rule("unique_id", "unique", ("id",)),
        Rule("one_of_state", "one_of", ("state",), {"values": ["new", "paid"]}),
        Rule("minimum_amount", "minimum", ("amount",), {"value": "0", "exclusive": False}),
        Rule("length_note", "length", ("note",), {"minimum": None, "maximum": 100}),
        Rule("pattern_note", "pattern", ("note",), {"regex": "^a", "mode": "match"}, severity="warn"),
        Rule("sound", "expression", ("amount", "state"), {"expression": "{}"}),
    ),
)


def with_column(name: str, **changes: object) -> Contract:
    return replace(
        BASE,
        columns=tuple(
            replace(column, **changes) if column.name == name else column  # type: ignore[arg-type]
            for column in BASE.columns
        ),
    )


def with_rule(rule_id: str, **changes: object) -> Contract:
    return replace(
        BASE,
        rules=tuple(
            replace(rule, **changes) if rule.id == rule_id else rule  # type: ignore[arg-type]
            for rule in BASE.rules
        ),
    )


def without_rule(rule_id: str) -> Contract:
    return replace(BASE, rules=tuple(rule for rule in BASE.rules if rule.id != rule_id))


def plus(*, column: Column | None = None, rule: Rule | None = None) -> Contract:
    return replace(
        BASE,
        columns=(*BASE.columns, column) if column else BASE.columns,
        rules=(*BASE.rules, rule) if rule else BASE.rules,
    )


# kind -> (old, new, columns of the change)
CASES = {
    "column removed": (plus(column=Column("x", "int8")), BASE, ("x",)),
    "nullable column added": (BASE, plus(column=Column("x", "int8")), ("x",)),
    "required column added": (BASE, plus(column=Column("x", "int8", nullable=False)), ("x",)),
    "optional column required": (with_column("note", required=False), BASE, ("note",)),
    "required column optional": (BASE, with_column("note", required=False), ("note",)),
    "type widened": (BASE, with_column("amount", type="decimal(12,2)"), ("amount",)),
    "type changed": (BASE, with_column("amount", type="decimal(9,2)"), ("amount",)),
    "null allowed": (BASE, with_column("state", nullable=True), ("state",)),
    "null forbidden": (with_column("state", nullable=True), BASE, ("state",)),
    "values added": (BASE, with_rule("one_of_state", params={"values": ["new", "paid", "sent"]}), ("state",)),
    "values removed": (BASE, with_rule("one_of_state", params={"values": ["paid"]}), ("state",)),
    "rule tightened": (
        BASE,
        with_rule("minimum_amount", params={"value": "0.01", "exclusive": False}),
        ("amount",),
    ),
    "rule loosened": (
        BASE,
        with_rule("minimum_amount", params={"value": "-1", "exclusive": False}),
        ("amount",),
    ),
    "rule changed": (BASE, with_rule("sound", params={"expression": "[]"}), ("amount", "state")),
    "rule added": (BASE, plus(rule=Rule("starts", "starts_with", ("note",), {"value": "a"})), ("note",)),
    "rule removed": (BASE, without_rule("length_note"), ("note",)),
    "warning added": (
        BASE,
        plus(rule=Rule("starts", "starts_with", ("note",), {"value": "a"}, severity="warn")),
        ("note",),
    ),
    "warning removed": (BASE, without_rule("pattern_note"), ("note",)),
    "warning changed": (
        BASE,
        with_rule("pattern_note", params={"regex": "^b", "mode": "match"}),
        ("note",),
    ),
    "key added": (replace(without_rule("unique_id"), key=()), BASE, ("id",)),
    "key removed": (BASE, replace(without_rule("unique_id"), key=()), ("id",)),
    "key changed": (BASE, replace(BASE, key=("id", "state")), ("id", "state")),
    "unit changed": (BASE, with_column("amount", unit="USD"), ("amount",)),
    "further columns allowed": (BASE, replace(BASE, strict=False), ()),
    "further columns forbidden": (replace(BASE, strict=False), BASE, ()),
    "classification changed": (BASE, with_column("note", classification="pii"), ("note",)),
    "description changed": (BASE, with_column("note", description="A note."), ("note",)),
    "tags changed": (BASE, with_column("note", tags={"a": "b"}), ("note",)),
}


@pytest.mark.parametrize("kind", CLASSIFICATION)
def test_each_kind_of_change_is_found_and_classified(kind: str) -> None:
    old, new, columns = CASES[kind]
    changes = compare(old, new).changes
    # What else is told must follow from the same difference: the rule that proves a key.
    found = [change for change in changes if change.kind == kind]
    assert [set(change.columns) for change in found] == [set(columns)]
    assert {change.kind for change in changes} <= {kind, "rule added", "rule removed"}
    assert found[0].consumers == CLASSIFICATION[kind].consumers
    assert found[0].producers == CLASSIFICATION[kind].producers
    assert found[0].reason


def test_the_same_contract_has_no_changes() -> None:
    assert compare(BASE, BASE).changes == ()
    assert compare(BASE, BASE).effect == "documentation"


def test_what_breaks_consumers_is_told_apart() -> None:
    comparison = compare(BASE, with_column("state", nullable=True, description="Where it stands."))
    assert [change.kind for change in comparison.breaking] == ["null allowed"]
    assert comparison.effect == "breaking"


def test_an_error_that_only_warns_now_is_loosened() -> None:
    [change] = compare(BASE, with_rule("length_note", severity="warn")).changes
    assert change.kind == "rule loosened"
    [change] = compare(BASE, with_rule("pattern_note", severity="error")).changes
    assert change.kind == "rule tightened"


def test_a_severity_and_a_bound_that_go_different_ways_cannot_be_told() -> None:
    new = with_rule("minimum_amount", severity="warn", params={"value": "5", "exclusive": False})
    assert [change.kind for change in compare(BASE, new).changes] == ["rule changed"]


def test_a_range_that_moves_is_changed() -> None:
    new = with_rule("length_note", params={"minimum": 1, "maximum": 200})
    assert [change.kind for change in compare(BASE, new).changes] == ["rule changed"]


@pytest.mark.parametrize(
    ("kind", "old", "new", "found"),
    [
        ("multiple_of", {"value": 5}, {"value": 10}, "rule tightened"),
        ("multiple_of", {"value": 0.5}, {"value": 0.25}, "rule loosened"),
        ("multiple_of", {"value": 2}, {"value": 3}, "rule changed"),
        ("size", {"minimum": 1, "maximum": 5}, {"minimum": 1, "maximum": 9}, "rule loosened"),
        ("minimum", {"value": 1, "exclusive": False, "path": ["a"]},
         {"value": 2, "exclusive": False, "path": ["a"]}, "rule tightened"),
        ("minimum", {"value": "1", "exclusive": False, "path": ["a"]},
         {"value": "2", "exclusive": False, "path": ["a"]}, "rule changed"),
    ],
)  # fmt: skip
def test_rules_of_odcs_move_too(
    kind: str, old: dict[str, object], new: dict[str, object], found: str
) -> None:
    def contract(params: dict[str, object]) -> Contract:
        return replace(BASE, rules=(Rule("rule", kind, ("note",), params),))  # type: ignore[arg-type]

    assert [change.kind for change in compare(contract(old), contract(new)).changes] == [found]


def test_a_rule_on_another_part_of_a_column_is_another_rule() -> None:
    def contract(path: list[str]) -> Contract:
        params = {"value": 1, "exclusive": False, "path": path}
        return replace(BASE, rules=(Rule("rule", "minimum", ("note",), params),))

    kinds = [change.kind for change in compare(contract(["a"]), contract(["b"])).changes]
    assert kinds == ["rule removed", "rule added"]


def test_a_family_of_types_that_changes_is_a_change_of_type() -> None:
    new = with_column("id", accepts="integer")
    assert [change.kind for change in compare(BASE, new).changes] == ["type changed"]


def test_a_renamed_column_is_one_that_went_and_one_that_came() -> None:
    new = replace(
        BASE,
        columns=(*BASE.columns[:3], Column("remark", "string")),
        rules=tuple(rule for rule in BASE.rules if "note" not in rule.columns),
    )
    kinds = [change.kind for change in compare(BASE, new).changes]
    assert kinds == ["column removed", "nullable column added"]


WIDENS = [
    ("int8", "int64"), ("int32", "float64"), ("int16", "float32"), ("float32", "float64"),
    ("decimal(10,2)", "decimal(12,2)"), ("decimal(10,2)", "decimal(12,4)"), ("int32", "decimal(10,0)"),
    ("list<int8>", "list<int16>"), ("string", "string"),
]  # fmt: skip
DOES_NOT = [
    ("int64", "int32"), ("int64", "float64"), ("int32", "float32"), ("float64", "float32"),
    ("decimal(10,2)", "decimal(10,4)"), ("decimal(10,2)", "decimal(11,1)"), ("int32", "decimal(10,2)"),
    ("date", "timestamp"), ("timestamp", "timestamp(UTC)"), ("int32", "string"), ("float32", "decimal(38,10)"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), WIDENS)
def test_every_value_of_the_old_type_fits_the_new_one(old: str, new: str) -> None:
    assert widens(old, new)


@pytest.mark.parametrize(("old", "new"), DOES_NOT)
def test_some_value_of_the_old_type_does_not_fit(old: str, new: str) -> None:
    assert not widens(old, new)


bounds = st.integers(min_value=-1000, max_value=1000)


@given(bounds, bounds, bounds, st.booleans(), st.booleans())
def test_a_bound_that_is_not_loosened_lets_nothing_new_through(
    old: int, new: int, value: int, old_exclusive: bool, new_exclusive: bool
) -> None:
    def contract(bound: int, exclusive: bool) -> Contract:
        rule = Rule("minimum_id", "minimum", ("id",), {"value": bound, "exclusive": exclusive})
        return replace(BASE, rules=(rule,))

    def passes(bound: int, exclusive: bool) -> bool:
        return value > bound if exclusive else value >= bound

    comparison = compare(contract(old, old_exclusive), contract(new, new_exclusive))
    if passes(new, new_exclusive) and not passes(old, old_exclusive):
        assert comparison.effect == "breaking"
    if passes(old, old_exclusive) and not passes(new, new_exclusive):
        assert any(change.producers == "breaking" for change in comparison.changes)


@pytest.mark.parametrize(
    ("key", "relied", "broken"),
    [
        ((), ("a", "b"), True),
        (("a",), ("a", "b"), False),  # a narrower key still tells the rows apart
        (("a", "b", "c"), ("a", "b"), True),
        (("c",), ("c",), False),  # never promised before
    ],
)
def test_whoever_relies_on_a_key_is_touched_when_rows_can_share_it(key, relied, broken):
    def contract(key):
        return Contract("c", "0", "odcs", "", tuple(Column(name, "int64") for name in "abc"), (), key)

    [change] = compare(contract(("a", "b")), contract(key)).changes
    assert relied_upon(change, [Rule("any", "unique", relied)], None) is broken
    assert not relied_upon(change, [Rule("any", "not_null", relied)], None)
