"""A candidate that is a part of a table: what is judged over it, and what over the table as it will be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from contract_helpers import contract_of

from dp_dagster.contracts.beside import Beside
from dp_dagster.contracts.evaluate import evaluate
from dp_dagster.contracts.model import Rule
from dp_dagster.contracts.split import split

if TYPE_CHECKING:
    from pathlib import Path

    from dp_dagster.contracts.model import Contract

COLUMNS = {"id": "int64", "day": "int64", "amount": "int64"}


@pytest.fixture
def stays(tmp_path: Path) -> str:
    path = tmp_path / "stays.parquet"
    pl.DataFrame({"id": [1, 2, 2], "day": [1, 1, 1], "amount": [5, -5, 5]}).write_parquet(path)
    return str(path)


def found(contract: Contract, tmp_path: Path, beside: Beside, *rows: tuple[int | None, int, int]) -> Any:
    path = tmp_path / "candidate.parquet"
    schema = dict.fromkeys(COLUMNS, pl.Int64)
    pl.DataFrame(list(rows), schema=schema, orient="row").write_parquet(path)
    return evaluate(contract, [str(path)], product_root=tmp_path, beside=beside)


def test_rules_of_single_rows_are_judged_over_the_candidate_alone(tmp_path: Path, stays: str) -> None:
    contract = contract_of(
        COLUMNS, [Rule("positive", "minimum", ("amount",), {"value": 0, "exclusive": False})]
    )
    evaluation = found(contract, tmp_path, Beside((stays,)), (9, 2, 1), (10, 2, -1))
    assert (evaluation.rows, evaluation.rejected) == (2, 1), "-5 stays, and was judged before"


def test_a_key_that_is_taken_fails_and_is_split_off(tmp_path: Path, stays: str) -> None:
    contract = contract_of(COLUMNS, [Rule("key", "unique", ("id",))])
    beside = Beside((stays,))
    evaluation = found(contract, tmp_path, beside, (1, 2, 1), (3, 2, 1), (3, 2, 2), (4, 2, 1))
    assert evaluation.result("key").failures == 2
    assert evaluation.result("key").sample
    parts = split(
        contract,
        [str(tmp_path / "candidate.parquet")],
        tmp_path / "good.parquet",
        product_root=tmp_path,
        beside=beside,
    )
    assert pl.read_parquet(tmp_path / "good.parquet")["id"].to_list() == [3, 4]
    assert pq.read_schema(tmp_path / "good.parquet").names == list(COLUMNS)
    assert parts.rows_rejected == 2


def test_nulls_meet_unless_they_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "nulls.parquet"
    pl.DataFrame(
        {"id": [None], "day": [1], "amount": [1]}, schema=dict.fromkeys(COLUMNS, pl.Int64)
    ).write_parquet(path)
    for params, failures in (({}, 1), ({"null_ignored": True}, 0)):
        contract = contract_of(COLUMNS, [Rule("key", "unique", ("id",), params)])
        assert found(contract, tmp_path, Beside((str(path),)), (None, 2, 1)).rejected == failures


def test_keys_that_partitions_keep_apart_are_not_compared(tmp_path: Path) -> None:
    contract = contract_of(COLUMNS, [Rule("key", "unique", ("day", "id"))])
    # Nothing is read of what stays: this file has no such column.
    path = tmp_path / "other.parquet"
    pl.DataFrame({"nothing": [1]}).write_parquet(path)
    assert not Beside((str(path),), apart_by="day").meets(("day", "id"))
    assert found(contract, tmp_path, Beside((), apart_by="day"), (1, 2, 1), (2, 2, 1)).rejected == 0


def test_what_a_rule_says_of_the_table_holds_for_all_of_it(tmp_path: Path, stays: str) -> None:
    share = {"compare": {"operator": "at_most", "value": 20}, "unit": "percent"}
    contract = contract_of(
        COLUMNS,
        [
            Rule("rows", "row_count", (), {"minimum": 4, "maximum": 5}, level="table"),
            Rule(
                "negative",
                "measure",
                ("amount",),
                {**share, "of": [{"kind": "minimum", "params": {"value": 0, "exclusive": False}}]},
                level="table",
            ),
            Rule(
                "twice",
                "measure",
                ("id",),
                {
                    "compare": {"operator": "at_most", "value": 1},
                    "unit": "rows",
                    "of": [{"kind": "unique", "params": {}}],
                },
                level="table",
            ),
        ],
    )
    evaluation = found(contract, tmp_path, Beside((stays,)), (8, 2, 1), (9, 2, 1))
    assert [result.passed for result in evaluation.results] == [True, True, True]
    evaluation = found(contract, tmp_path, Beside((stays,)), (8, 2, -1), (9, 2, 1), (1, 2, 1))
    assert evaluation.result("rows").reason == "6 rows, at most 5 are promised"
    assert evaluation.result("negative").reason.startswith("33.33333333 % (2 of 6 rows)")
    assert evaluation.result("twice").reason.startswith("2 rows")


def test_rows_may_refer_to_rows_of_another_partition(tmp_path: Path, stays: str) -> None:
    rule = Rule("parent", "reference", ("amount",), {"dataset": "made", "columns": ["id"]})
    contract = contract_of(COLUMNS, [rule])
    assert found(contract, tmp_path, Beside((stays,)), (8, 2, 2), (9, 2, 8), (10, 2, 7)).rejected == 1


def test_good_rows_are_written_file_by_file(tmp_path: Path, stays: str) -> None:
    contract = contract_of(
        COLUMNS,
        [
            Rule("key", "unique", ("id",)),
            Rule("positive", "minimum", ("amount",), {"value": 0, "exclusive": False}),
        ],
    )
    files = []
    for number, rows in enumerate([[(1, 2, 1), (5, 2, 1)], [(6, 3, -1)], [(5, 4, 1), (7, 4, 1)]]):
        path = tmp_path / f"part{number}.parquet"
        pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.Int64), orient="row").write_parquet(path)
        files.append(str(path))
    targets = [tmp_path / f"good{number}.parquet" for number in range(3)]
    parts = split(contract, files, targets, product_root=tmp_path, beside=Beside((stays,)))
    assert [pl.read_parquet(target)["id"].to_list() for target in targets] == [[5], [], [7]]
    assert (parts.rows_accepted, parts.rows_rejected) == (2, 3)
