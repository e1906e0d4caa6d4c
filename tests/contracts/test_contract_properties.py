"""Generated tables: the streaming scan counts what a plain reading of each rule, row by row, counts."""

from __future__ import annotations

import json
import math
import re
import struct
import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from contract_helpers import contract_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dp_dagster.contracts.canonical import polars_type
from dp_dagster.contracts.evaluate import evaluate
from dp_dagster.contracts.literals import from_json, to_json
from dp_dagster.contracts.model import Rule
from dp_dagster.contracts.split import failing_rows, split
from dp_dagster.contracts.uniqueness import repeated_rows

INSTANTS = [datetime(2024, 3, 31, hour, tzinfo=UTC) for hour in (0, 1, 2)]
VALUES = {
    "int8": st.integers(-3, 3) | st.sampled_from([-128, 127]),
    "int64": st.integers(-3, 3) | st.sampled_from([-(2**63), 2**63 - 1, 2**53, 2**53 + 1]),
    "float64": st.sampled_from([0.0, -0.0, 0.1, 1.5, -2.0, math.nan, math.inf, -math.inf]),
    "float32": st.sampled_from([0.0, -0.0, 0.5, 1.5, -2.0, math.nan, math.inf, -math.inf])
    | st.floats(-3, 3, width=32),
    "decimal(5,2)": st.decimals(-3, 3, places=2) | st.sampled_from([Decimal("999.99"), Decimal("-999.99")]),
    "string": st.text(alphabet="ab1é日\n ", max_size=4),
    "bool": st.booleans(),
    "date": st.dates(date(2024, 1, 1), date(2024, 1, 4)),
    "timestamp": st.sampled_from([moment.replace(tzinfo=None) for moment in INSTANTS]),
    "timestamp(UTC)": st.sampled_from(INSTANTS),
}
PATTERNS = ["a", "[ab]+", "^b", "é|日", r"\d", "a$", r"\s"]


def in_type(value, kind):
    """A rule's value as the column's type has it."""
    return struct.unpack("f", struct.pack("f", value))[0] if kind == "float32" else value


def is_nan(value):
    return isinstance(value, float) and math.isnan(value)


def same(left, right):
    return left == right or (is_nan(left) and is_nan(right))


def breaks(rule: Rule, value, kind: str) -> bool:  # noqa: PLR0911 - one return for each kind
    """The meaning of a rule, for one value, without Polars."""
    params = rule.params
    if rule.kind == "not_null":
        return value is None or (bool(params.get("nan_fails")) and is_nan(value))
    if value is None:
        return bool(params.get("null_fails"))

    def read(raw):
        return in_type(from_json(raw, kind), kind)

    if rule.kind in ("minimum", "maximum"):
        bound = read(params["value"])
        if is_nan(value):
            return True
        if rule.kind == "minimum":
            return value <= bound if params["exclusive"] else value < bound
        return value >= bound if params["exclusive"] else value > bound
    if rule.kind in ("one_of", "none_of"):
        found = any(same(value, read(raw)) for raw in params["values"])
        return found == (rule.kind == "none_of")
    if rule.kind in ("equal", "not_equal"):
        return same(value, read(params["value"])) == (rule.kind == "not_equal")
    if rule.kind == "pattern":
        regex = params["regex"].replace("$", r"\Z")
        find = {"match": re.match, "search": re.search, "full": re.fullmatch}[params["mode"]]
        return find(regex, value) is None
    if rule.kind == "length":
        low, high = params["minimum"], params["maximum"]
        return (low is not None and len(value) < low) or (high is not None and len(value) > high)
    if rule.kind == "starts_with":
        return not value.startswith(params["value"])
    assert rule.kind == "ends_with"
    return not value.endswith(params["value"])


def key_of(row, columns):
    """Values that are equal for a unique key: null is a value, all NaN are one, the zeros are one."""
    return tuple(
        "NaN" if is_nan(row[name]) else row[name] + 0.0 if isinstance(row[name], float) else row[name]
        for name in columns
    )


def failing_by_rule(rules, types, rows):
    failing = {}
    for rule in rules:
        if rule.kind == "unique":
            seen, failing[rule.id] = set(), set()
            for number, row in enumerate(rows):
                key = key_of(row, rule.columns)
                if key in seen:
                    failing[rule.id].add(number)
                seen.add(key)
        else:
            name = rule.columns[0]
            failing[rule.id] = {n for n, row in enumerate(rows) if breaks(rule, row[name], types[name])}
    return failing


@st.composite
def rules_for(draw, name, kind):
    kinds = ["not_null", "one_of", "none_of", "equal", "not_equal", "unique"]
    kinds += ["minimum", "maximum"] * 2 if kind != "bool" else []
    kinds += ["pattern", "length", "starts_with", "ends_with"] if kind == "string" else []
    chosen = draw(st.sampled_from(kinds))
    bounds = VALUES[kind].filter(lambda value: not is_nan(value))
    params = {}
    if chosen in ("minimum", "maximum"):
        bound = draw(bounds | st.sampled_from([0.5, 2.5]) if kind.startswith("int") else bounds)
        params = {"value": to_json(bound, kind), "exclusive": draw(st.booleans())}
    elif chosen in ("one_of", "none_of"):
        many = draw(st.sampled_from([3, 12]))
        values = draw(st.lists(VALUES[kind], min_size=1, max_size=many))
        params = {"values": [to_json(value, kind) for value in values]}
    elif chosen in ("equal", "not_equal"):
        params = {"value": to_json(draw(VALUES[kind]), kind)}
    elif chosen == "pattern":
        params = {
            "regex": draw(st.sampled_from(PATTERNS)),
            "mode": draw(st.sampled_from(["match", "search", "full"])),
        }
    elif chosen == "length":
        params = {
            "minimum": draw(st.none() | st.integers(0, 3)),
            "maximum": draw(st.none() | st.integers(1, 4)),
        }
    elif chosen in ("starts_with", "ends_with"):
        params = {"value": draw(st.text(alphabet="aé日", max_size=2))}
    elif chosen == "not_null":
        params = {"nan_fails": draw(st.booleans())}
    if chosen not in ("not_null", "unique"):
        params["null_fails"] = draw(st.booleans())
    severity = draw(st.sampled_from(["error", "error", "warn"]))
    return Rule("", chosen, (name,), params, severity)


@st.composite
def cases(draw):
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    types = {f"c{number} é": kind for number, kind in enumerate(kinds)}
    rows = draw(
        st.lists(
            st.fixed_dictionaries({name: st.none() | VALUES[kind] for name, kind in types.items()}),
            max_size=12,
        )
    )
    rules = [
        draw(rules_for(name, kind)) for name, kind in types.items() for _ in range(draw(st.integers(1, 3)))
    ]
    if len(types) > 1:
        rules.append(Rule("", "unique", tuple(types)[:2]))
    numbered = [
        Rule(f"r{number}", rule.kind, rule.columns, rule.params, rule.severity)
        for number, rule in enumerate(rules)
    ]
    cut = draw(st.integers(0, len(rows)))
    return types, numbered, rows, cut


def frame_of(types, rows):
    schema = {name: polars_type(kind) for name, kind in types.items()}
    return pl.DataFrame({name: [row[name] for row in rows] for name in types}, schema=schema, strict=False)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_counts_and_split_equal_a_plain_reading(case):
    types, rules, rows, cut = case
    contract = contract_of(types, rules)
    expected = failing_by_rule(rules, types, rows)
    errors = {rule.id for rule in rules if rule.severity == "error"}
    rejected = set().union(*(expected[rule_id] for rule_id in errors)) if errors else set()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = []
        for number, part in enumerate((rows[:cut], rows[cut:])):
            files.append(str(root / f"part {number} [x]*.parquet"))
            frame_of(types, part).write_parquet(files[-1])
        found = evaluate(contract, files, product_root=root)
        assert {r.rule_id: r.failures for r in found.results} == {k: len(v) for k, v in expected.items()}
        assert all(result.evaluated for result in found.results)
        assert (found.rows, found.rejected) == (len(rows), len(rejected))
        assert all(bool(r.sample) == bool(r.failures) for r in found.results)

        parted = split(contract, files, root / "accepted.parquet", product_root=root)
        accepted = pl.read_parquet(root / "accepted.parquet")
        whole = frame_of(types, rows)
        good = [number for number in range(len(rows)) if number not in rejected]
        assert accepted.schema == whole.schema
        assert accepted.equals(whole[good], null_equal=True)
        assert (parted.rows_in, parted.rows_accepted, parted.rows_rejected) == (
            len(rows), len(good), len(rejected),
        )  # fmt: skip
        kept = parted.rejected().read_all().to_pylist()
        assert len(kept) == len(rejected)
        for number, row in zip(sorted(rejected), kept, strict=True):
            assert set(row["rules"]) == {name for name in errors if number in expected[name]}
            assert_same_row(json.loads(row["row"]), rows[number], types)
        again = evaluate(contract, [str(root / "accepted.parquet")], product_root=root)
        assert again.rejected == 0

        some = failing_rows(contract, files, product_root=root, limit=2)
        assert some.rows == min(2, len(rejected))
        assert some.truncated == (len(rejected) > 2)


def assert_same_row(found, row, types):
    assert list(found) == list(types)
    for name, kind in types.items():
        value = found[name]
        if kind.startswith("timestamp") or kind == "date":
            value = None if value is None else from_json(value, kind)
        elif kind.startswith("decimal"):
            value = None if value is None else Decimal(value)
        elif kind.startswith("float") and value is not None:
            value = in_type(float(value), kind)
        assert same(value, row[name]), name


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.none() | st.integers(0, 6), st.none() | st.sampled_from([0.0, -0.0, math.nan, 1.0])),
        max_size=30,
    ),
    st.integers(1, 40),
    st.booleans(),
)
def test_keys_are_unique_however_they_are_parted(rows, part_rows, ordered):
    if ordered:
        rows = sorted(set(rows), key=lambda row: (row[0] is None, row[0] or 0, str(row[1])))
    frame = pl.DataFrame(rows, schema={"a": pl.Int64, "b": pl.Float64}, orient="row")
    rule = Rule("r", "unique", ("a", "b"))
    expected = failing_by_rule([rule], {}, [dict(zip("ab", row, strict=True)) for row in rows])["r"]
    found = repeated_rows(frame.lazy(), ("a", "b"), len(rows), part_rows=part_rows)
    assert found.to_series().to_list() == sorted(expected)


@pytest.mark.parametrize(("first", "second"), [("rising", 1), ("falling", -1)])
def test_a_key_in_strict_order_is_unique_and_one_repetition_is_found(first, second):
    values = list(range(200_000))[::second]
    frame = pl.DataFrame({"id": values})
    assert repeated_rows(frame.lazy(), ("id",), frame.height).is_empty(), first
    values[150_000] = values[149_999]
    repeated = repeated_rows(pl.DataFrame({"id": values}).lazy(), ("id",), len(values))
    assert repeated.to_series().to_list() == [150_000]
