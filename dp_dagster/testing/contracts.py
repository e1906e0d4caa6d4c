"""Conformance of evaluators: the same counts and the same failing rows as the embedded one, on the same data.

Derive a class named ``Test…`` from :class:`EvaluatorConformance` and say how your engine takes data and statements::

    class TestMyEngine(EvaluatorConformance):
        dialect = "spark"

        def load(self, tables):                # Polars frames by the name that statements call them
            for name, frame in tables.items():
                connection.register(name, frame)

        def run(self, sql):
            return connection.execute(sql).fetchall()
"""

from __future__ import annotations

import json
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl
import pytest

from dp_dagster.contracts.canonical import type_name
from dp_dagster.contracts.evaluate import evaluate
from dp_dagster.contracts.model import Column, Contract, Rule
from dp_dagster.contracts.split import failing_rows
from dp_dagster.contracts.sql.statement import count_statement, failing_rows_statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dp_dagster.contracts.model import RuleKind

TABLE = "dp_candidate"
OTHER = "dp_other"
POSITION = "position"
"""The column that tells the order of rows, in each table."""
_ROWS = 200
_SEED = 20240229


@dataclass(frozen=True)
class Case:
    """Rules over generated data.

    Attributes:
        name: Of the test.
        values: A column's values, null included, to draw rows from.
        type: Polars type of the column.
        rules: Kind and parameters of rules on the column.
        nested: Whether the column has parts.
    """

    name: str
    values: Sequence[Any]
    type: Any
    rules: Sequence[tuple[RuleKind, dict[str, Any]]]
    nested: bool = field(default=False)


_START = datetime(2024, 2, 29, 23, 59, 59, 999999)  # noqa: DTZ001 - a column without a zone
_INTEGERS = (None, 0, 1, -1, 7, 127, -128)
_FLOATS = (None, 0.0, -0.0, 0.1, 0.3, 1.5, -2.0, 1e308, -1e308, float("nan"), float("inf"), float("-inf"))
_TEXTS = (
    None,
    "",
    "a",
    "A",
    "aé",
    "日本語",
    "x\ny",
    "a\n",
    "12",
    "१२",
    "it's",
    'q"q',
    "back\\slash",
    "a_b%",
    "👩‍👩‍👧",
    " a ",
    "ﬁ",
)


def _ranges(low: Any, high: Any) -> list[tuple[RuleKind, dict[str, Any]]]:
    bounds: tuple[tuple[RuleKind, Any], ...] = (("minimum", low), ("maximum", high))
    return [
        (kind, {"value": value, "exclusive": exclusive})
        for kind, value in bounds
        for exclusive in (False, True)
    ]


def _values(*values: Any) -> list[tuple[RuleKind, dict[str, Any]]]:
    return [
        ("one_of", {"values": list(values)}),
        ("none_of", {"values": list(values)}),
        ("equal", {"value": values[0]}),
        ("not_equal", {"value": values[0]}),
        ("not_null", {}),
        ("unique", {}),
        ("unique", {"null_ignored": True}),
        ("one_of", {"values": list(values), "null_fails": True}),
    ]


_PATTERNS: list[tuple[RuleKind, dict[str, Any]]] = [
    ("pattern", {"regex": regex, "mode": mode})
    for mode in ("search", "match", "full")
    for regex in (
        r"a",
        r"^a$",
        r"[a-z]+",
        r"\d+",
        r"\s",
        r"^.$",
        r"^.+$",
        r"a|b",
        r"[^a]",
        r"\\",
        r"é$",
        r"x.y",
        r"^(?:a|1){1,2}",
    )
]
# Written out these are long, so once is enough.
_PATTERNS += [("pattern", {"regex": regex, "mode": "search"}) for regex in (r"^\w+$", r"[\W\d]", r"^\S+\D$")]

CASES: tuple[Case, ...] = (
    Case("int8", _INTEGERS, pl.Int8, [*_ranges(-1, 7), *_values(0, 7, 2.5), ("multiple_of", {"value": 7})]),
    Case(
        "int64",
        (*_INTEGERS, 2**63 - 1, -(2**63)),
        pl.Int64,
        [*_ranges(2**53 + 1, 2.5), *_values(2**63 - 1, 1), ("multiple_of", {"value": 2})],
    ),
    Case(
        "float64",
        _FLOATS,
        pl.Float64,
        [
            *_ranges(0.1, 1.5),
            *_ranges(0, "inf"),
            *_values(0.1, "NaN", 0),
            *(("multiple_of", {"value": value}) for value in (0.1, 1e-300, 3)),
            ("not_null", {"nan_fails": True}),
        ],
    ),
    Case(
        "float32",
        (None, 0.0, 0.1, 1.5, float("nan"), float("inf")),
        pl.Float32,
        [*_ranges(0.1, 1.5), *_values(0.1, 0)],
    ),
    Case(
        "decimal",
        (None, Decimal("0.10"), Decimal("-0.10"), Decimal("12345678901234567890.12"), Decimal("0.00")),
        pl.Decimal(24, 2),
        [
            *_ranges("0.1", "12345678901234567890.11"),
            *_values("0.1", "0.001"),
            *(("multiple_of", {"value": value}) for value in (0.1, 0.003, 5)),
        ],
    ),
    Case(
        "string",
        _TEXTS,
        pl.String,
        [
            *_ranges("a", "é"),
            *_values("a", "it's", "", "back\\slash"),
            *_PATTERNS,
            ("length", {"minimum": 1, "maximum": 2}),
            ("starts_with", {"value": "a"}),
            ("ends_with", {"value": "é"}),
            ("ends_with", {"value": ""}),
        ],
    ),
    Case("bool", (None, True, False), pl.Boolean, [*_values(True)]),
    Case(
        "date",
        (None, date(2024, 2, 29), date(1, 1, 1), date(9999, 12, 31)),
        pl.Date,
        [*_ranges("2024-02-29", "2024-03-01"), *_values("2024-02-29")],
    ),
    Case(
        "timestamp",
        (None, _START, _START + timedelta(microseconds=1), datetime.fromisoformat("1969-12-31T23:59:59")),
        pl.Datetime("us"),
        [
            *_ranges("2024-02-29T23:59:59.999999", "2024-03-01T00:00:00"),
            *_values("2024-02-29T23:59:59.999999"),
        ],
    ),
    Case(
        "timestamp with zone",
        (
            None,
            _START.replace(tzinfo=UTC),
            datetime(2024, 3, 31, 1, tzinfo=UTC),
            datetime(2024, 3, 31, 2, tzinfo=UTC),
        ),
        pl.Datetime("us", "UTC"),
        [
            *_ranges("2024-03-31T01:00:00+00:00", "2024-03-31T01:30:00+00:00"),
            *_values("2024-03-31T01:00:00+00:00"),
        ],
    ),
    Case(
        "struct",
        (None, {"a": 1, "b": "x"}, {"a": None, "b": "y"}, {"a": 9, "b": None}),
        pl.Struct({"a": pl.Int64, "b": pl.String}),
        [
            ("minimum", {"value": 2, "exclusive": False, "path": [["field", "a"]]}),
            ("not_null", {"path": [["field", "a"]]}),
            ("length", {"minimum": 2, "maximum": None, "path": [["field", "b"]]}),
            ("size", {"minimum": 2, "maximum": None}),
        ],
        nested=True,
    ),
    Case(
        "list",
        (None, [], [1], [1, None, 9], [1, 1], [None, None], [9, 8, 7]),
        pl.List(pl.Int64),
        [
            ("minimum", {"value": 2, "exclusive": False, "path": [["items"]]}),
            ("not_null", {"path": [["items"]]}),
            ("one_of", {"values": [1, 9], "path": [["items"]]}),
            ("size", {"minimum": 1, "maximum": 2}),
            ("distinct_items", {}),
        ],
        nested=True,
    ),
    Case(
        "list of structs",
        (
            None,
            [],
            [{"a": "x", "b": [1]}],
            [{"a": "xyz", "b": []}, None, {"a": None, "b": None}],
            [{"a": "", "b": [5]}],
        ),
        pl.List(pl.Struct({"a": pl.String, "b": pl.List(pl.Int64)})),
        [
            ("length", {"minimum": 1, "maximum": 2, "path": [["items"], ["field", "a"]]}),
            ("not_null", {"path": [["items"], ["field", "a"]]}),
            ("maximum", {"value": 4, "exclusive": False, "path": [["items"], ["field", "b"], ["items"]]}),
            ("pattern", {"regex": "^x", "mode": "search", "path": [["items"], ["field", "a"]]}),
        ],
        nested=True,
    ),
    Case(
        "map",
        (None, {}, {"a": 1}, {"a": 5, "bcd": None}, {"b": 2, "c": 3}),
        pl.Map(pl.String, pl.Int64),
        [
            ("length", {"minimum": None, "maximum": 2, "path": [["key"]]}),
            ("maximum", {"value": 4, "exclusive": False, "path": [["value"]]}),
            ("not_null", {"path": [["value"]]}),
            ("size", {"minimum": 1, "maximum": 1}),
        ],
        nested=True,
    ),
)
"""What every evaluator is asked."""


def contract_of(case: Case, frame: pl.DataFrame) -> Contract:
    """The contract of a case: its rules, each also as a count that is always too high, and rules of the table."""
    column = frame.columns[0]
    rules = [Rule("columns", "columns", (), {"strict": True, "ordered": False}, level="schema")]
    for number, (rule, params) in enumerate(case.rules):
        rules.append(Rule(f"r{number}_{rule}", rule, (column,), params))
    of = [{"kind": rule, "params": params} for rule, params in case.rules[:1] if "path" not in params]
    for unit in ("rows", "percent") if of else ():
        measure = {"of": of, "compare": {"operator": "below", "value": 1}, "unit": unit}
        rules.append(Rule(f"measure_{unit}", "measure", (column,), measure, level="table"))
    rules.append(Rule("row_count", "row_count", (), {"minimum": 1, "maximum": None}, level="table"))
    if not case.nested and not case.name.startswith("float"):
        rules.append(Rule("reference", "reference", (column,), {"dataset": OTHER, "columns": [column]}))
    columns = tuple(Column(name, type_name(kind)) for name, kind in frame.schema.items())
    return Contract(case.name, "0", "odcs", "", columns, tuple(rules))


class EvaluatorConformance(ABC):
    """The suite. ``unsaid`` names why rules may be left out, as texts that the reasons contain."""

    dialect: ClassVar[str]
    nested: ClassVar[bool] = True
    unsaid: ClassVar[tuple[str, ...]] = ("judged from the table's schema",)

    @abstractmethod
    def load(self, tables: Mapping[str, pl.DataFrame]) -> None:
        """Put tables of these names in place of those that may be there."""

    @abstractmethod
    def run(self, sql: str) -> Sequence[Sequence[Any]]:
        """Run a statement and give its rows."""

    @pytest.mark.parametrize("rows", [0, _ROWS], ids=lambda rows: f"{rows} rows")
    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
    def test_counts_and_failing_rows_are_those_of_the_embedded_evaluator(
        self, case: Case, rows: int, tmp_path: Path
    ) -> None:
        """Each rule has the same number of failures in the same rows; what is not evaluated says why."""
        if case.nested and not self.nested:
            # The engine has no such columns; that the rules are named is asked below.
            self._everything_is_named(case)
            return
        frame = made_rows(case, rows)
        tables = {TABLE: frame, OTHER: frame.head(rows // 3)}
        files = {name: tmp_path / f"{name}.parquet" for name in tables}
        for name, table in tables.items():
            table.write_parquet(files[name])
        contract = contract_of(case, frame)
        asked: dict[str, Any] = {
            "dialect": self.dialect, "others": {OTHER: (OTHER,)}, "order": (POSITION,)
        }  # fmt: skip
        statement = count_statement(contract, (TABLE,), **asked)
        self.load(tables)
        (row,) = self.run(statement.sql)
        found = statement.results(row)
        counts = {one.rule_id: one.failures for one in found if one.evaluated}
        said = replace(contract, rules=tuple(rule for rule in contract.rules if rule.id in counts))
        others = {OTHER: [str(files[OTHER])]}
        expected = evaluate(said, [str(files[TABLE])], product_root=tmp_path, others=others)
        assert counts == {one.rule_id: one.failures for one in expected.results}
        assert (int(row[0]), statement.rejected(row)) == (expected.rows, expected.rejected)
        assert set(counts) | set(statement.not_evaluated) == {rule.id for rule in contract.rules}
        for reason in statement.not_evaluated.values():
            assert any(known in reason for known in self.unsaid), reason
        listing = failing_rows_statement(contract, (TABLE,), **asked)
        listed = [
            (listing.values(one)[POSITION], list(listing.broken(one)), listing.reason(one))
            for one in self.run(listing.sql)
        ]
        embedded = failing_rows(
            said,
            [str(files[TABLE])],
            product_root=tmp_path,
            limit=rows + 1,
            evaluation=expected,
            others=others,
        )
        assert listed == [
            (json.loads(one["row"])[POSITION], one["rules"], one["reason"])
            for batch in embedded.batches
            for one in batch.to_pylist()
        ]

    def _everything_is_named(self, case: Case) -> None:
        statement = count_statement(
            contract_of(case, made_rows(case, 0)), (TABLE,), dialect=self.dialect, others={OTHER: (OTHER,)}
        )
        parts = [rule.id for rule in statement.contract.rules if rule.params.get("path")]
        assert parts
        assert all("parts of columns" in statement.not_evaluated[rule_id] for rule_id in parts)


def made_rows(case: Case, rows: int) -> pl.DataFrame:
    """Rows of a case, the same each time, numbered."""
    source = random.Random(_SEED + rows)  # noqa: S311 - the same data each time
    values = [source.choice(case.values) for _ in range(rows)]
    return pl.DataFrame(
        {'a "b"': pl.Series(values, dtype=case.type), POSITION: pl.Series(range(rows), dtype=pl.Int64)}
    )
