"""SQL conditions mean what the rules mean: DuckDB counts the same failing rows as the evaluator."""

from __future__ import annotations

import duckdb
import polars as pl
import pytest
from contract_texts import EVERYTHING, SEVERAL, random_rows

from dp_dagster.contracts.evaluate import evaluate
from dp_dagster.contracts.load import load_contract
from dp_dagster.contracts.portable_patterns import anchored, escaped, portable
from dp_dagster.documents.expressions import UnsaidError, expression_sql
from dp_dagster.documents.sql_conditions import condition


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["Everything", "Several"])
def test_duckdb_counts_the_same_failing_rows(tmp_path, name, seed):
    (tmp_path / "contract.py").write_text({"Everything": EVERYTHING, "Several": SEVERAL}[name])
    contract = load_contract(f"contract.py:{name}", product_root=tmp_path)
    simple = [
        column for column in contract.columns if not column.type.startswith(("binary", "list", "struct"))
    ]
    rules = tuple(
        rule
        for rule in contract.rules
        if rule.level == "row"
        and rule.kind != "unique"
        and {*rule.columns} <= {column.name for column in simple}
    )
    contract = type(contract)(**{**vars(contract), "columns": tuple(simple), "rules": rules})
    types = {column.name: column.type for column in simple}
    file = str(tmp_path / "rows.parquet")
    random_rows(contract, seed).write_parquet(file)
    found = {one.rule_id: one.failures for one in evaluate(contract, [file], product_root=tmp_path).results}
    compared = 0
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for rule in rules:
            try:
                holds = condition(rule, types)
            except UnsaidError:
                assert rule.kind == "expression"
                continue
            query = f"SELECT count(*) FROM read_parquet('{file}') WHERE NOT ({holds})"
            assert connection.execute(query).fetchone() == (found[rule.id],), f"{rule.id}: {holds}"
            compared += 1
    assert compared >= len(rules) - 2
    assert any(found.values())


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({"regex": "a|b", "mode": "search"}, "a|b"),
        ({"regex": "a|b", "mode": "match"}, "^(?:a|b)"),
        ({"regex": "^a$", "mode": "match"}, "^a$"),
        ({"regex": "^a|b$", "mode": "full"}, "^(?:^a|b$)$"),
        ({"regex": "^a$", "mode": "full"}, "^a$"),
        (({"regex": r"^a\$", "mode": "full"}), r"^(?:^a\$)$"),
    ],
)
def test_anchors_say_the_mode(params, wanted):
    assert anchored(params) == wanted


@pytest.mark.parametrize(
    "regex", ["(?i)a", "(?P<x>a)", r"\Aa\z", "[[:alpha:]]", "[a-z&&[^b]]", r"\x{1F600}", r"\p{L}"]
)
def test_what_ecma_reads_otherwise_is_not_portable(regex):
    assert not portable(regex)
    assert portable(r"^[A-Z]{2}\d+(?:a|b)\.$")


def test_an_escaped_text_matches_itself():
    import re

    text = "a.b*c+d?(e)[f]{g}|h^i$j/k\\l"
    assert re.fullmatch(escaped(text), text)


@pytest.mark.parametrize(
    "expression",
    [
        pl.col("day").dt.month() == 1,
        pl.col("a") / pl.col("b") > 1,
        pl.col("a") % 2 == 0,
        pl.col("ratio") > 0.1,
        pl.col("name").str.len_bytes() > 1,
        pl.when(pl.col("a") > 1).then(pl.col("b")).otherwise(0) > 1,
    ],
)
def test_what_sql_computes_otherwise_is_refused_with_the_reason(expression):
    text = expression.meta.serialize(format="json")
    with pytest.raises(UnsaidError, match=r"counterpart|differ"):
        expression_sql(
            text, {"day": "date", "a": "int64", "b": "int64", "name": "string", "ratio": "float32"}
        )
