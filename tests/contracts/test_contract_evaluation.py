"""What the evaluation says: schemas, samples, authors' checks, and rules that cannot be evaluated."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pandera.polars as pandera_polars
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contract_helpers import HEADER, compiled, contract_of, model_with, parquet

from dp_dagster.contracts.audit import accept_part, judge
from dp_dagster.contracts.checks import row_check
from dp_dagster.contracts.evaluate import evaluate
from dp_dagster.contracts.model import Rule
from dp_dagster.contracts.split import failing_rows, rejected_schema, split
from dp_dagster.contracts.verdict import Verdict
from dp_dagster.errors import ContractError, PublicationRefusedError, StoreError, UsageError


def found(tmp_path, contract, data, **options):
    return evaluate(contract, [parquet(tmp_path / "data.parquet", data)], product_root=tmp_path, **options)


def verdict_of(evaluation, contract, max_invalid=None):
    return judge(evaluation, candidate_id="c", contract=contract, input_hash="bytes", max_invalid=max_invalid)


# -- schema ------------------------------------------------------------------------------------------------


def test_missing_extra_and_wrong_columns_hold_and_are_named(tmp_path):
    contract = compiled(
        tmp_path,
        model_with("id: int\nname: str\nwhen: datetime.date", "strict = True\n        ordered = True"),
    )
    data = pl.DataFrame({"when": ["2020-01-01"], "Name": ["x"], "id": [1]})
    evaluation = found(tmp_path, contract, data)
    assert evaluation.result("columns").sample == (
        "column name is missing (there is Name)",
        "column Name is not declared",
        "columns are in the order when, id, not id, when",
    )
    assert evaluation.result("type_when").reason == "column when is of type string, not date"
    assert not evaluation.result("type_name").evaluated
    assert not evaluation.result("not_null_when").evaluated
    assert evaluation.result("not_null_id").passed
    verdict = verdict_of(evaluation, contract, max_invalid=1.0)
    assert verdict.decision == "held"
    assert verdict.reason.endswith(": held")
    assert "columns" in verdict.reason


def test_a_table_may_have_more_columns_unless_the_contract_is_strict(tmp_path):
    contract = compiled(tmp_path, model_with("id: int", "strict = False"))
    assert verdict_of(found(tmp_path, contract, pl.DataFrame({"id": [1], "x": [2]})), contract).passed


def test_an_optional_column_may_be_absent_and_is_judged_where_it_is_there(tmp_path):
    contract = compiled(tmp_path, model_with("id: int\nmore: Optional[int] = pa.Field(ge=0)"))
    absent = found(tmp_path, contract, pl.DataFrame({"id": [1]}))
    assert verdict_of(absent, contract).decision == "accepted"
    assert absent.result("minimum_more").reason == "the column is optional and absent"
    assert found(tmp_path, contract, pl.DataFrame({"id": [1], "more": [-1]})).rejected == 1


def test_files_that_disagree_are_a_matter_of_the_schema(tmp_path):
    contract = compiled(tmp_path, model_with("id: int = pa.Field(ge=0)\nx: int = pa.Field(ge=0)"))
    files = [
        parquet(tmp_path / "a.parquet", pl.DataFrame({"id": [1], "x": [1]})),
        parquet(tmp_path / "b.parquet", pl.DataFrame({"id": [-1], "x": ["1"]})),
    ]
    evaluation = evaluate(contract, files, product_root=tmp_path)
    assert evaluation.result("type_x").reason == "column x is of type string, not int64"
    assert evaluation.result("minimum_id").failures == 1
    assert not evaluation.result("minimum_x").evaluated
    assert verdict_of(evaluation, contract, 1.0).decision == "held"


def test_units_of_time_and_zones(tmp_path):
    contract = compiled(
        tmp_path,
        model_with(
            'a: pl.Datetime("us", "UTC") = pa.Field(ge=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))\n'
            'b: pl.Datetime("us") = pa.Field(nullable=True)'
        ),
    )
    instants = pl.Series([datetime(2019, 12, 31, 23, 30, tzinfo=UTC)]).dt.convert_time_zone("Europe/Berlin")
    late = pl.DataFrame({"a": instants, "b": pl.Series([None], dtype=pl.Datetime("us"))})
    evaluation = found(tmp_path, contract, late)
    assert evaluation.result("minimum_a").failures == 1
    assert evaluation.result("minimum_a").sample == ({"a": "2019-12-31T23:30:00.000000+00:00"},)
    coarse = late.with_columns(pl.col("b").cast(pl.Datetime("ms")))
    assert found(tmp_path, contract, coarse).result("type_b").reason == (
        "column b is of type timestamp[ms], not timestamp"
    )


def test_nested_types_are_compared_and_their_nulls_counted(tmp_path):
    days = pa.array([[(datetime(2020, 1, 1).date(), 3)], None], pa.map_(pa.date32(), pa.int64()))  # noqa: DTZ001
    lists = pa.array([[1], []], pa.list_(pa.int32()))
    pq.write_table(pa.table({"m": days, "l": lists}), tmp_path / "nested.parquet")
    types = {"m": "map<date, int64>", "l": "list<int64>"}
    rules = [
        *(Rule(f"type_{name}", "type", (name,), level="schema") for name in types),
        Rule("not_null_m", "not_null", ("m",)),
    ]
    contract = contract_of(types, rules)
    files = [str(tmp_path / "nested.parquet")]
    evaluation = evaluate(contract, files, product_root=tmp_path)
    assert evaluation.result("type_l").reason == "column l is of type list<int32>, not list<int64>"
    assert evaluation.result("type_m").passed
    assert evaluation.result("not_null_m").failures == 1
    parted = split(contract_of(types, rules[2:]), files, tmp_path / "accepted.parquet", product_root=tmp_path)
    assert parted.rejected().read_all()["row"].to_pylist() == ['{"m": null, "l": []}']
    kept = pl.read_parquet(tmp_path / "accepted.parquet").to_dicts()
    assert kept == [{"m": {datetime(2020, 1, 1).date(): 3}, "l": [1]}]  # noqa: DTZ001


def test_an_empty_table_keeps_all_rules_but_those_of_its_size(tmp_path):
    contract = compiled(
        tmp_path,
        model_with("id: int = pa.Field(unique=True, ge=0)", 'metadata = {"row_count": {"minimum": 1}}'),
    )
    evaluation = found(tmp_path, contract, pl.DataFrame({"id": []}, schema={"id": pl.Int64}))
    assert [result.rule_id for result in evaluation.results if not result.passed] == ["row_count"]
    assert evaluation.result("row_count").reason == "0 rows, at least 1 are promised"


def test_files_that_are_none(tmp_path):
    contract = contract_of({"a": "int64"}, [])
    with pytest.raises(UsageError, match="no files"):
        evaluate(contract, [], product_root=tmp_path)
    with pytest.raises(StoreError, match=r"none\.parquet: cannot be read"):
        evaluate(contract, [str(tmp_path / "none.parquet")], product_root=tmp_path)
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(StoreError, match=r"text\.parquet: cannot be read"):
        evaluate(contract, [str(tmp_path / "text.parquet")], product_root=tmp_path)


# -- samples -----------------------------------------------------------------------------------------------


def test_samples_show_rule_and_key_mask_classified_values_and_are_few(tmp_path):
    contract = compiled(
        tmp_path,
        model_with(
            'id: int = pa.Field(unique=True)\nmail: str = pa.Field(str_contains="@", '
            'metadata={"classification": "pii"})\n'
            "note: str = pa.Field(str_length={'max_value': 3})"
        ),
    )
    rows = 30
    data = pl.DataFrame(
        {"id": range(rows), "mail": ["secret"] * (rows - 1) + [None], "note": ["x" * 500] * rows}
    )
    evaluation = found(tmp_path, contract, data, sample_size=2)
    assert evaluation.result("pattern_mail").sample == ({"mail": "•••", "id": 0}, {"mail": "•••", "id": 1})
    assert evaluation.result("not_null_mail").sample == ({"mail": None, "id": 29},)
    assert len(evaluation.result("length_note").sample[0]["note"]) == 200
    assert "secret" not in repr(evaluation)


def test_samples_of_a_repeated_key_are_the_later_rows(tmp_path):
    contract = compiled(tmp_path, model_with("id: int = pa.Field(unique=True)"))
    evaluation = found(tmp_path, contract, pl.DataFrame({"id": [5, 3, 5, 3, 5]}))
    result = evaluation.result("unique_id")
    assert (result.failures, result.sample) == (3, ({"id": 5}, {"id": 3}, {"id": 5}))


# -- authors' checks ----------------------------------------------------------------------------------------

CUSTOM = """
import sys
LIMIT = [10]
def limit():
    return LIMIT[0]

class Made(pa.DataFrameModel):
    a: int = pa.Field(nullable=True)

    @pa.check("a")
    def in_order(cls, data):
        return data.lazyframe.select(pl.col("a") < limit())

    @pa.check("a", element_wise=True)
    def small(cls, value):
        return value < 5

    @pa.dataframe_check(raise_warning=True)
    def raises(cls, data):
        return data.lazyframe.select(pl.col("a") / LIMIT[7])

    @pa.dataframe_check
    def enough(cls, data):
        return data.lazyframe.collect().height > 1
"""


def test_pandera_runs_what_no_expression_says(tmp_path):
    contract = compiled(tmp_path, CUSTOM)
    line = (HEADER + CUSTOM).split("\n").index(
        '        return data.lazyframe.select(pl.col("a") / LIMIT[7])'
    ) + 1
    good = found(tmp_path, contract, pl.DataFrame({"a": [1, None, 3]}))
    assert [(r.rule_id, r.reason) for r in good.results if not r.passed] == [
        ("raises", f"the check raised: contracts/made.py:{line}: IndexError: list index out of range")
    ]
    assert verdict_of(good, contract).decision == "accepted"  # it only warns
    bad = found(tmp_path, contract, pl.DataFrame({"a": [99]}))
    assert bad.result("in_order_a").failures == 1
    assert bad.result("in_order_a").sample == ({"a": 99},)
    assert (bad.result("small_a").failures, bad.rejected) == (1, 1)
    assert bad.result("enough").failures == 1
    assert verdict_of(bad, contract, 1.0).decision == "held"


RAISING = """
class Made(pa.DataFrameModel):
    a: str
    b: int = pa.Field(ge=0)
    number = row_check(pl.col("a").cast(pl.Int64) > 0)

    @pa.check("b", element_wise=True)
    def divides(cls, value):
        return 10 / value > 1
"""


def test_a_check_that_raises_on_the_data_is_not_evaluated_and_holds(tmp_path):
    contract = compiled(tmp_path, RAISING)
    assert contract.rule("number").kind == "expression"
    data = pl.DataFrame({"a": ["1", "x"], "b": [-1, 0]})
    evaluation = found(tmp_path, contract, data)
    assert not evaluation.result("number").evaluated
    assert "the check raised" in evaluation.result("number").reason
    assert (
        "contracts/made.py:16: ZeroDivisionError: division by zero" in evaluation.result("divides_b").reason
    )
    assert evaluation.result("minimum_b").failures == 1
    verdict = verdict_of(evaluation, contract, 1.0)
    assert verdict.decision == "held"
    assert "2 rules are not evaluated (divides_b, number; the check raised: " in verdict.reason
    files = [str(tmp_path / "data.parquet")]
    with pytest.raises(ContractError, match="was not evaluated"):
        split(contract, files, tmp_path / "accepted.parquet", product_root=tmp_path)
    kept = failing_rows(contract, files, product_root=tmp_path, limit=10)
    assert [row["rules"] for batch in kept.batches for row in batch.to_pylist()] == [["minimum_b"]]
    fine = found(tmp_path, contract, pl.DataFrame({"a": ["1", "2"], "b": [1, 2]}))
    assert verdict_of(fine, contract).decision == "accepted"


def test_what_a_check_raises_quotes_no_classified_value(tmp_path):
    contract = compiled(
        tmp_path,
        model_with(
            """
            a: str = pa.Field(metadata={"classification": "pii"})
            number = row_check(pl.col("a").cast(pl.Int64) > 0)

            @pa.check("a", element_wise=True)
            def is_number(cls, value):
                return int(value) > 0

            @pa.dataframe_check
            def all_numbers(cls, data):
                return int(data.lazyframe.collect()["a"][0]) > 0
            """
        ),
    )
    evaluation = found(tmp_path, contract, pl.DataFrame({"a": ["secret"]}))
    unknown = {result.rule_id: result.reason for result in evaluation.results if not result.evaluated}
    assert set(unknown) == {"number", "is_number_a", "all_numbers"}
    assert unknown["all_numbers"].endswith(": ValueError")
    assert "secret" not in repr(evaluation)


def test_a_custom_check_whose_module_is_gone_is_not_evaluated(tmp_path):
    contract = compiled(tmp_path, CUSTOM)
    (tmp_path / "contracts" / "made.py").unlink()
    evaluation = found(tmp_path, contract, pl.DataFrame({"a": [1, 2]}))
    assert "no such file" in evaluation.result("enough").reason
    assert "no such file" in evaluation.result("small_a").reason
    assert verdict_of(evaluation, contract).decision == "held"


def test_row_check_says_the_same_under_pandera_and_in_the_scan(tmp_path):
    check = row_check(pl.col("a") < pl.col("b"), name="a_below_b")
    columns = {"a": pandera_polars.Column(int, nullable=True), "b": pandera_polars.Column(int)}
    schema = pandera_polars.DataFrameSchema(columns, checks=[check])
    data = pl.DataFrame({"a": [1, 5, None], "b": [2, 2, 2]})
    schema.validate(data.filter(pl.col("a").is_null() | (pl.col("a") < 3)))
    with pytest.raises(pandera_polars.errors.SchemaErrors) as caught:
        schema.validate(data, lazy=True)
    assert caught.value.failure_cases.height == 1
    contract = compiled(
        tmp_path,
        model_with("a: int = pa.Field(nullable=True)\nb: int\nbelow = row_check(pl.col('a') < pl.col('b'))"),
    )
    assert found(tmp_path, contract, data).result("below").failures == 1
    with pytest.raises(ContractError, match=r"row_check oops: .* names no column"):
        row_check(pl.lit(value=True), name="oops")


BOTH = """
class Made(pa.DataFrameModel):
    i: int = pa.Field(ge=-1, lt=3, isin=[-1, 0, 1, 2, 7], nullable=True)
    f: float = pa.Field(le=2.5, nullable=True)
    n: float = pa.Field(gt=-5)
    d: pl.Decimal(6, 2) = pa.Field(ge=Decimal("0.50"), nullable=True)
    s: str = pa.Field(str_length=(1, 3), str_matches="[aé]", notin=["ab"], nullable=True)
    u: int = pa.Field(unique=True, nullable=True)
"""


def test_pandera_itself_finds_the_same_rules_broken(tmp_path):
    from dp_dagster.contracts.load import load_schema

    contract = compiled(tmp_path, BOTH)
    model = load_schema("contracts/made.py:Made", product_root=tmp_path)
    good = {
        "i": [0, None], "f": [1.0, None], "n": [0.0, float("inf")], "d": [Decimal(1), None], "s": ["a", None],
        "u": [1, None],
    }  # fmt: skip
    bad = {
        "i": (5, {"maximum_i", "one_of_i"}), "f": (float("nan"), {"maximum_f"}), "n": (None, {"not_null_n"}),
        "d": (Decimal("0.49"), {"minimum_d"}), "s": ("日ab12", {"length_s", "pattern_s"}), "u": (1, {"unique_u"}),
    }  # fmt: skip
    schema = {name: kind.type for name, kind in model.to_schema().dtypes.items()}
    clean = pl.DataFrame(good, schema=schema)
    model.validate(clean)
    assert all(result.passed for result in found(tmp_path, contract, clean).results)
    for name, (value, expected) in bad.items():
        data = pl.DataFrame({**good, name: [good[name][0], value]}, schema=schema)
        with pytest.raises(pandera_polars.errors.SchemaErrors):
            model.validate(data, lazy=True)
        evaluation = found(tmp_path, contract, data)
        assert {r.rule_id for r in evaluation.results if not r.passed} == expected, name
    # Two rows without a value repeat a key, for pandera as for the scan; NaN in a column that is not nullable too.
    for name, values in (("u", [None, None]), ("n", [0.0, float("nan")])):
        data = pl.DataFrame({**good, name: values}, schema=schema)
        with pytest.raises(pandera_polars.errors.SchemaErrors):
            model.validate(data, lazy=True)
        assert found(tmp_path, contract, data).rejected == 1


# -- splitting ----------------------------------------------------------------------------------------------


def test_rejected_rows_have_a_fixed_schema_and_can_be_read_twice(tmp_path):
    contract = compiled(
        tmp_path,
        model_with(
            "id: int = pa.Field(unique=True)\nx: float = pa.Field(ge=0)\nl: pl.List(pl.Int64)\nb: bytes"
        ),
    )
    data = pl.DataFrame(
        {
            "id": [1, 1, 2],
            "x": [0.5, -1.0, float("inf")],
            "l": [[1], [2, 3], []],
            "b": [b"\x00", b"\xff", b""],
        }
    )
    file = parquet(tmp_path / "data.parquet", data)
    result = split(contract, [file], tmp_path / "accepted.parquet", product_root=tmp_path)
    for _ in range(2):
        table = result.rejected().read_all()
        assert table.schema == rejected_schema()
        assert table.to_pylist() == [
            {
                "rules": ["unique_id", "minimum_x"],
                "reason": "id: unique; x: at least 0.0",
                "row": '{"id": 1, "x": -1.0, "l": [2, 3], "b": "ff"}',
            }
        ]
    assert pl.read_parquet(tmp_path / "accepted.parquet").equals(data[[0, 2]])
    metadata = pq.read_metadata(tmp_path / "accepted.parquet").row_group(0).column(0)
    assert metadata.compression == "SNAPPY"


def test_the_first_of_several_rows_with_a_key_survives_across_files(tmp_path):
    contract = compiled(tmp_path, model_with("id: int = pa.Field(unique=True)\nfrom_file: str"))
    files = [
        parquet(tmp_path / f"{name}.parquet", pl.DataFrame({"id": ids, "from_file": [name] * len(ids)}))
        for name, ids in (("b", [3, 1]), ("a", [1, 2, 3]))
    ]
    split(contract, files, tmp_path / "accepted.parquet", product_root=tmp_path)
    kept = pl.read_parquet(tmp_path / "accepted.parquet").rows()
    assert kept == [(3, "b"), (1, "b"), (2, "a")]


def test_many_batches_keep_their_order(tmp_path):
    contract = compiled(tmp_path, model_with("id: int = pa.Field(unique=True)\nx: int = pa.Field(ge=0)"))
    rows = 300_000
    data = pl.DataFrame(
        {"id": [n if n % 7 else 0 for n in range(rows)], "x": [-(n % 5 == 0) for n in range(rows)]}
    )
    data.write_parquet(tmp_path / "data.parquet", row_group_size=10_000)
    result = split(
        contract, [str(tmp_path / "data.parquet")], tmp_path / "accepted.parquet", product_root=tmp_path
    )
    good = [n for n in range(rows) if n % 7 and n % 5]
    assert pl.read_parquet(tmp_path / "accepted.parquet")["id"].to_list() == good
    rejected = result.rejected().read_all()
    assert rejected.num_rows == rows - len(good) == result.rows_rejected
    numbers = pl.Series(rejected["row"].to_pylist()).str.json_decode(
        pl.Struct({"id": pl.Int64, "x": pl.Int64})
    )
    bad = [n if n % 7 else 0 for n in range(rows) if not (n % 7 and n % 5)]
    assert numbers.struct.field("id").to_list() == bad
    some = failing_rows(contract, [str(tmp_path / "data.parquet")], product_root=tmp_path, limit=50_001)
    assert (some.rows, some.truncated) == (50_001, True)
    assert pa.Table.from_batches(some.batches).to_pylist() == rejected.slice(0, 50_001).to_pylist()


# -- decisions -----------------------------------------------------------------------------------------------


def judged(tmp_path, values, max_invalid=None, config="strict = True"):
    contract = compiled(
        tmp_path,
        model_with("a: int = pa.Field(ge=0, le=9)\nw: int = pa.Field(ge=0, raise_warning=True)", config),
    )
    schema = {"a": pl.Int64, "w": pl.Int64}
    data = pl.DataFrame({"a": values, "w": [-1] * len(values)}, schema=schema)
    evaluation = found(tmp_path, contract, data)
    return verdict_of(evaluation, contract, max_invalid)


def test_decisions(tmp_path):
    good = judged(tmp_path, [1, 2])
    assert (good.decision, good.accepted_hash, good.rows_accepted) == ("accepted", "bytes", 2)
    assert good.reason == "2 rows, 7 rules kept, 1 warning (minimum_w): accepted"
    one = judged(tmp_path, [-1, 2])
    assert (one.decision, one.accepted_hash, one.rows_accepted, one.rows_rejected) == ("held", "", 0, 1)
    assert one.reason == "1 row of 2 breaks 1 rule; none may: held"
    several = judged(tmp_path, [-1, -2, 99, *range(7)], Fraction(5, 1000))
    assert several.reason == "3 of 10 rows break 2 rules; at most 0.5 % may: held"
    part = judged(tmp_path, [-1, *[1] * 9], 0.1)
    assert (part.decision, part.accepted_hash, part.rows_accepted, part.passed) == (
        "accepted_in_part",
        "",
        9,
        True,
    )
    assert part.reason == "1 row of 10 breaks 1 rule; at most 10 % may: 9 accepted, 1 rejected"
    assert judged(tmp_path, [-1, *[1] * 9], Fraction(99, 1000)).decision == "held"
    assert judged(tmp_path, []).decision == "accepted"
    assert Verdict.from_dict(part.to_dict()) == part


def test_good_rows_alone_must_be_enough(tmp_path):
    config = 'metadata = {"row_count": {"minimum": 10}}'
    verdict = judged(tmp_path, [-1, *[1] * 9], 0.5, config)
    assert verdict.reason == "without the 1 rejected row there are 9 rows, at least 10 are promised: held"
    assert judged(tmp_path, [-1, *[1] * 10], 0.5, config).decision == "accepted_in_part"


def test_a_split_completes_the_verdict_only_if_it_agrees(tmp_path):
    part = judged(tmp_path, [-1, *[1] * 9], 0.1)
    assert accept_part(part, accepted_hash="new", rows_accepted=9, rows_rejected=1).accepted_hash == "new"
    with pytest.raises(PublicationRefusedError, match="the split accepted 8 and rejected 2"):
        accept_part(part, accepted_hash="new", rows_accepted=8, rows_rejected=2)
    with pytest.raises(PublicationRefusedError, match="held"):
        accept_part(judged(tmp_path, [-1]), accepted_hash="new", rows_accepted=0, rows_rejected=1)


def test_a_rule_of_an_unknown_kind_is_never_green(tmp_path):
    contract = contract_of({"a": "int64"}, [Rule("odd", "relationship", ("a",))])
    evaluation = found(tmp_path, contract, pl.DataFrame({"a": [1]}))
    assert (evaluation.results[0].evaluated, evaluation.results[0].passed) == (False, False)
    assert verdict_of(evaluation, contract).decision == "held"
