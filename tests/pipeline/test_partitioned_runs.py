"""Products with partitions, run through the pipeline: what is made, what stays, what is refused."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pipeline_helpers import Product, Run, Workshop, rows
from test_runs_in_processes import result, start

from dp_dagster.errors import (
    DescriptorError,
    InputError,
    PublicationRefusedError,
    TransformError,
    UsageError,
)
from dp_dagster.pipeline.status import dataset_statuses
from dp_dagster.resolve.partitions import refuse_dbt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONTRACT = """\
import pandera.polars as pa
import polars as pl

Sales = pa.DataFrameSchema(
    {
        "sale": pa.Column(int, unique=True),
        "day": pa.Column(pl.Date),
        "shop": pa.Column(str),
        "amount": pa.Column(int, pa.Check.ge(0)),
        "running": pa.Column(int),
    },
)
"""
#: The running total begins anew with each partition: it shows which rows the transform sees together.
QUERY = """\
select sale, day, shops.name as shop, amount, sum(amount) over (order by sale)::bigint as running
from sales join shops using (shop)
"""
SHOPS = "shop,name\n1,north\n2,south\n"
HEADER = "sale,day,shop,amount\n"
JANUARY = ["1,2026-01-05,1,10", "2,2026-01-31,2,20"]
FEBRUARY = ["3,2026-02-01,1,30", "4,2026-02-28,2,40"]
MARCH = ["5,2026-03-15,1,50"]


def sales(*lines: Sequence[str]) -> str:
    return HEADER + "".join(f"{line}\n" for part in lines for line in part)


def shop(workshop: Workshop, **changes: Any) -> Product:
    """A product with partitions by month: one CSV that is cut by a column, one that has none."""
    descriptor: dict[str, Any] = {
        "partitions": {"by": "month", "start": "2026-01-01", "end": "2026-05-01"},
        "input_ports": [
            {"name": "sales", "type": "FILES", "path": "inputs/sales.csv", "partitioned_by": "day"},
            {"name": "shops", "type": "FILES", "path": "inputs/shops.csv"},
        ],
        "datasets": [
            {
                "name": "rows",
                "from": "chosen",
                "contract": "contracts/rows.py:Sales",
                "key": ["sale"],
                "partitioned_by": "day",
            }
        ],
    }
    return workshop.product(
        "shop",
        contract=CONTRACT,
        files={
            "transforms/chosen.sql": QUERY,
            "inputs/sales.csv": sales(JANUARY, FEBRUARY, MARCH),
            "inputs/shops.csv": SHOPS,
        },
        **{**descriptor, **changes},
    )


def run(product: Product, *keys: str) -> Run:
    from dp_dagster.pipeline import Session

    session = Session(product.resolved(), product.session().run_id, partitions=keys or None)
    return product.run(session=session)


def actions(product: Product, version: int, kind: str) -> list[str]:
    """Keys of the partitions whose files one commit of the dataset names."""
    commit = product.table().location.directory / "_delta_log" / f"{version:020d}.json"
    entries = [json.loads(line) for line in commit.read_text().splitlines()]
    return sorted(entry[kind]["path"].split(".")[1] for entry in entries if kind in entry)


def by_sale(product: Product) -> dict[int, tuple[Any, ...]]:
    return {row[0]: row[2:] for row in rows(product.table().newest())}


def test_all_due_partitions_are_published_at_once_and_each_is_made_by_itself(workshop: Workshop) -> None:
    product = shop(workshop)
    first = run(product)
    assert first.published.partitions == ("2026-01", "2026-02", "2026-03")
    assert first.published.snapshot.metadata["dp.partitions"] == "2026-01..2026-03"
    # The running total of one partition does not go on in the next.
    assert by_sale(product) == {
        1: ("north", 10, 10),
        2: ("south", 20, 30),
        3: ("north", 30, 30),
        4: ("south", 40, 70),
        5: ("north", 50, 50),
    }
    assert product.query("select count(*) from v1.vw_rows") == [(5,)]
    again = run(product)
    assert again.published.unchanged
    assert again.published.snapshot.version == first.published.snapshot.version
    assert again.inputs["sales"].unchanged


def test_late_data_publishes_the_partition_that_it_belongs_to_and_no_other(workshop: Workshop) -> None:
    product = shop(workshop)
    run(product)
    product.write({"inputs/sales.csv": sales(JANUARY, [*FEBRUARY, "9,2026-02-14,1,7"], MARCH)})
    late = run(product)
    assert late.inputs["sales"].partitions == ("2026-02",)
    assert late.published.partitions == ("2026-02",)
    version = late.published.snapshot.version
    assert actions(product, version, "add") == actions(product, version, "remove") == ["2026-02"]
    assert by_sale(product)[9] == ("north", 7, 77)
    assert late.published.snapshot.rows == 6
    # What a partition reads besides its own rows is in all of them.
    product.write({"inputs/shops.csv": SHOPS.replace("north", "east")})
    assert run(product).published.partitions == ("2026-01", "2026-02", "2026-03")
    product.write({"transforms/chosen.sql": QUERY.replace("sum(amount)", "max(amount)")})
    assert run(product).published.partitions == ("2026-01", "2026-02", "2026-03")


def test_partitions_that_were_asked_for_are_made_whether_they_changed_or_not(workshop: Workshop) -> None:
    product = shop(workshop)
    first = run(product, "2026-02")
    assert first.published.partitions == ("2026-02",)
    assert sorted(by_sale(product)) == [3, 4]
    second = run(product, "2026-02", "2026-03")
    assert second.published.partitions == ("2026-02", "2026-03")
    # The rest is still missing, and comes with the next run of all.
    third = run(product)
    assert third.published.partitions == ("2026-01",)
    assert sorted(by_sale(product)) == [1, 2, 3, 4, 5]
    with pytest.raises(InputError, match="there is nothing for partition 2026-04"):
        run(product, "2026-04")


def test_a_run_of_some_partitions_does_not_hide_what_changed_in_others(workshop: Workshop) -> None:
    product = shop(workshop)
    run(product)
    product.write(
        {
            "inputs/sales.csv": sales(
                ["1,2026-01-05,1,11", JANUARY[1]], ["3,2026-02-01,1,31", FEBRUARY[1]], MARCH
            )
        }
    )
    before = product.table().newest()
    run(product, "2026-02")
    after = product.table().newest()
    assert before is not None
    assert after is not None
    shown = [json.loads(one.metadata["dp.upstream"])["sales"]["fingerprint"] for one in (before, after)]
    assert shown[0] == shown[1], "the port still says that it is behind"
    assert by_sale(product)[1] == ("north", 10, 10)
    assert run(product).published.partitions == ("2026-01",)
    assert by_sale(product)[1] == ("north", 11, 11)


def test_a_source_that_was_only_touched_is_told_and_nothing_else_moves(workshop: Workshop) -> None:
    product = shop(workshop)
    run(product)
    product.write({"inputs/sales.csv": sales(MARCH, JANUARY[::-1], FEBRUARY)})
    touched = run(product)
    assert touched.published.partitions == ("2026-03",), "the newest says what there is now"
    assert run(product).published.unchanged


def test_a_key_is_unique_in_all_partitions(workshop: Workshop) -> None:
    product = shop(workshop)
    run(product)
    product.write({"inputs/sales.csv": sales(JANUARY, FEBRUARY, [*MARCH, "3,2026-03-16,1,1"])})
    held = run(product)
    assert held.published.snapshot is None
    assert held.published.verdict.rows_in == 2, "only the new partition was read"
    assert held.published.verdict.rows_rejected == 1
    assert by_sale(product)[5] == ("north", 50, 50)
    assert product.leftovers() == []


def test_bad_rows_of_one_partition_go_to_quarantine(workshop: Workshop) -> None:
    datasets = shop(workshop).resolved().descriptor.datasets[0].model_dump(by_alias=True, exclude_none=True)
    datasets = {
        **{key: datasets[key] for key in ("name", "from", "contract", "partitioned_by")},
        "key": ["sale"],
        "quarantine": {"max_invalid": "40%"},
    }
    product = shop(workshop, datasets=[datasets])
    run(product)
    product.write(
        {"inputs/sales.csv": sales(JANUARY, [*FEBRUARY, "9,2026-02-14,1,-7"], [*MARCH, "6,2026-03-02,1,8"])}
    )
    parted = run(product)
    assert parted.published.partitions == ("2026-02", "2026-03")
    assert parted.published.quarantined_rows == 1
    snapshot = parted.published.snapshot
    assert snapshot.rows == 6
    assert {key: one.rows for key, one in snapshot.partitions.items()} == {
        "2026-01": 2,
        "2026-02": 2,
        "2026-03": 2,
    }
    assert run(product).published.unchanged, "what was set aside is no change"


def test_rows_outside_their_partition_are_refused(workshop: Workshop) -> None:
    product = shop(workshop)
    product.write({"transforms/chosen.sql": QUERY.replace("sale, day,", "sale, day + 1 as day,")})
    with pytest.raises(
        TransformError, match=r"1 of the rows made for partition 2026-01 lie outside it by day, 2026-02-01"
    ):
        run(product)
    assert product.table().newest() is None
    assert product.leftovers() == []


def test_rows_without_a_partition_are_refused_and_those_outside_all_are_left_out(workshop: Workshop) -> None:
    product = shop(workshop)
    product.write({"inputs/sales.csv": sales(JANUARY, ["7,,1,1"])})
    with pytest.raises(InputError, match="1 rows have no day"):
        run(product)
    product.write({"inputs/sales.csv": sales(JANUARY, ["7,2025-12-31,1,1", "8,2026-05-01,1,1"])})
    run(product)
    assert sorted(by_sale(product)) == [1, 2]


def test_a_changed_contract_is_proven_for_all_partitions(workshop: Workshop) -> None:
    product = shop(workshop)
    run(product)
    product.write({"contracts/rows.py": CONTRACT.replace("ge(0)", "ge(1)")})
    with pytest.raises(PublicationRefusedError, match="publish all of them: dp run shop"):
        run(product, "2026-01")
    assert run(product).published.partitions == ("2026-01", "2026-02", "2026-03")


def test_a_product_that_gets_partitions_publishes_all_of_them_once(workshop: Workshop) -> None:
    whole = shop(
        workshop,
        partitions=None,
        input_ports=[
            {"name": "sales", "type": "FILES", "path": "inputs/sales.csv"},
            {"name": "shops", "type": "FILES", "path": "inputs/shops.csv"},
        ],
        datasets=[{"name": "rows", "from": "chosen", "contract": "contracts/rows.py:Sales", "key": ["sale"]}],
    )
    assert run(whole).published.snapshot.partitions == {}
    product = shop(workshop)
    with pytest.raises(UsageError, match="publish all of them once: dp run shop"):
        run(product, "2026-02")
    assert list(run(product).published.snapshot.partitions) == ["2026-01", "2026-02", "2026-03"]
    # Cut in another way: the old partitions go with the same commit.
    weekly = shop(workshop, partitions={"by": "day", "start": "2026-01-01", "end": "2026-04-01"})
    assert len(run(weekly).published.snapshot.partitions) == 5
    assert sorted(by_sale(weekly)) == [1, 2, 3, 4, 5]


SCORED = '''\
"""Scores."""


def scored(connection):
    counted = "count(*) over ()::bigint as running"
    return connection.sql(f"select sale, day, shop::varchar as shop, amount, {counted} from sales")
'''


def test_places_that_name_the_partition_and_a_transform_that_is_kept(workshop: Workshop) -> None:
    product = shop(
        workshop,
        input_ports=[{"name": "sales", "type": "FILES", "path": "inputs/{partition:%Y/%m}/sales-*.csv"}],
        transforms=[
            {
                "name": "scored",
                "type": "PYTHON",
                "function": "transforms/scored.py:scored",
                "inputs": ["sales"],
            }
        ],
        datasets=[
            {
                "name": "rows",
                "from": "scored",
                "contract": "contracts/rows.py:Sales",
                "key": ["sale"],
                "partitioned_by": "day",
            }
        ],
    )
    product.write(
        {
            "transforms/scored.py": SCORED,
            "inputs/2026/01/sales-1.csv": sales(JANUARY),
            "inputs/2026/02/sales-1.csv": sales(FEBRUARY[:1]),
            "inputs/2026/02/sales-2.csv": sales(FEBRUARY[1:]),
        }
    )
    first = run(product)
    assert first.published.partitions == ("2026-01", "2026-02")
    assert {row[2] for row in by_sale(product).values()} == {2}, "each partition was computed by itself"
    product.write(
        {
            "inputs/2026/03/sales-1.csv": sales(MARCH),
            "inputs/2026/01/sales-9.csv": sales(["9,2026-01-02,1,1"]),
        }
    )
    second = run(product)
    assert second.inputs["sales"].partitions == ("2026-01", "2026-03")
    assert second.transforms["scored"].partitions == ("2026-01", "2026-03")
    assert second.published.partitions == ("2026-01", "2026-03")
    with pytest.raises(InputError, match=r"no file at inputs/2026/04/sales-\*\.csv"):
        run(product, "2026-04")
    assert run(product).transforms["scored"].unchanged


def test_products_read_each_other_partition_by_partition_and_as_a_whole(workshop: Workshop) -> None:
    producer = shop(workshop)
    consumer_of = {
        "input_ports": [
            {"name": "source", "type": "PRODUCT", "port": "shop.vw_rows@1", "partitioned_by": "day"}
        ],
        "partitions": {"by": "month", "start": "2026-01-01", "end": "2026-05-01"},
        "datasets": [
            {
                "name": "rows",
                "from": "chosen",
                "contract": "contracts/rows.py:Sales",
                "key": ["sale"],
                "partitioned_by": "day",
            }
        ],
    }
    files = {"transforms/chosen.sql": "select * replace (sum(amount) over ()::bigint as running) from source"}
    monthly = workshop.product("monthly", contract=CONTRACT, files=files, **consumer_of)
    daily = workshop.product(
        "daily",
        contract=CONTRACT,
        files=files,
        **{**consumer_of, "partitions": {"by": "day", "start": "2026-01-01", "end": "2026-04-01"}},
    )
    whole = workshop.product(
        "whole",
        contract=CONTRACT,
        files=files,
        input_ports=[{"name": "source", "type": "PRODUCT", "port": "shop.vw_rows@1"}],
        datasets=[{"name": "rows", "from": "chosen", "contract": "contracts/rows.py:Sales", "key": ["sale"]}],
    )
    run(producer)
    assert run(monthly).published.partitions == ("2026-01", "2026-02", "2026-03")
    assert by_sale(monthly)[3] == ("north", 30, 70)
    run(whole)
    assert by_sale(whole)[3] == ("north", 30, 150)
    # Cut in another way than its source: rows are picked out, and a day without any has none.
    days = run(daily)
    assert by_sale(daily)[3] == ("north", 30, 30)
    assert len(days.published.partitions) == 90
    producer.write({"inputs/sales.csv": sales(JANUARY, FEBRUARY, [*MARCH, "6,2026-03-20,2,5"])})
    run(producer)
    assert run(monthly).published.partitions == ("2026-03",)
    assert run(monthly).published.unchanged
    assert by_sale(monthly)[6] == ("south", 5, 55)


def sales_input(**options: Any) -> list[dict[str, Any]]:
    """The product's inputs, the first one with other options; without those that are none."""
    first = {"name": "sales", "type": "FILES", "path": "inputs/sales.csv", "partitioned_by": "day", **options}
    shops = {"name": "shops", "type": "FILES", "path": "inputs/shops.csv"}
    return [{name: value for name, value in first.items() if value is not None}, shops]


def test_a_table_of_a_database_is_read_as_a_whole_and_cut(workshop: Workshop, tmp_path: Path) -> None:
    def write(*lines: str) -> None:
        with closing(sqlite3.connect(tmp_path / "shop.db")) as database, database:
            database.execute("drop table if exists sales")
            database.execute("create table sales (sale integer, day date, shop integer, amount integer)")
            database.executemany("insert into sales values (?, ?, ?, ?)", [line.split(",") for line in lines])

    write(*JANUARY, *FEBRUARY, *MARCH)
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    product = shop(workshop, input_ports=sales_input(type="SQL", path=None, url=url, table="sales"))
    assert run(product).published.partitions == ("2026-01", "2026-02", "2026-03")
    write(*JANUARY, *FEBRUARY, *MARCH, "6,2026-02-20,2,5")
    assert run(product).published.partitions == ("2026-02",)
    assert by_sale(product)[6] == ("south", 5, 75)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"partitions": None}, "needs partitions, and the product declares none"),
        (
            {
                "input_ports": [
                    {"name": "sales", "type": "FILES", "path": "inputs/sales.csv"},
                    {"name": "shops", "type": "FILES", "path": "inputs/shops.csv"},
                ]
            },
            "chosen is made from no input port that has partitions",
        ),
        (
            {
                "datasets": [
                    {
                        "name": "rows",
                        "from": "chosen",
                        "contract": "contracts/rows.py:Sales",
                        "partitioned_by": "shop",
                    }
                ]
            },
            "shop is of type string",
        ),
        (
            {
                "datasets": [
                    {
                        "name": "rows",
                        "from": "chosen",
                        "contract": "contracts/rows.py:Sales",
                        "partitioned_by": "dya",
                    }
                ]
            },
            "dya is no column",
        ),
        ({"partitions": {"by": "hour", "start": "2026-01-01"}}, "day is a date, and partitions are hours"),
        (
            {"input_ports": sales_input(mode="append")},
            r"partitioned_by: wants partitions, and FILES input sales has mode append: .* \(mode: replace",
        ),
        (
            {"input_ports": sales_input(on_schema_change="stop")},
            "wants partitions, and on_schema_change: stop compares whole versions; leave on_schema_change out",
        ),
        (
            {
                "input_ports": sales_input(
                    type="SQL", url="sqlite:///shop.db", path=None, table="sales", cursor="sale", key=["sale"]
                )
            },
            "wants partitions, and SQL input sales has mode merge",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_any_run(
    workshop: Workshop, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(DescriptorError, match=said):
        shop(workshop, **changes).resolved()


def test_dbt_in_between_is_refused() -> None:
    draft, add = SimpleNamespace(transforms={4: SimpleNamespace(name="models")}), []
    draft.add = lambda *problem: add.append(problem)
    models = SimpleNamespace(
        name="models", transform=SimpleNamespace(runs_in="dbt"), provides=("chosen", "other")
    )
    refuse_dbt(draft, [models], frozenset({"sales"}))  # type: ignore[arg-type, list-item]
    assert add == []
    refuse_dbt(draft, [models], frozenset({"sales", "chosen"}))  # type: ignore[arg-type, list-item]
    ((place, message, fix),) = add
    assert place == ("transforms", 4)
    assert message.startswith("models stands between an input and a dataset with partitions (chosen)")
    assert fix.startswith("make it a SQL or Python transform")


def test_where_a_product_stands(workshop: Workshop) -> None:
    product = shop(workshop)
    run(product, "2026-01")
    status = dataset_statuses(product.resolved())[0]
    assert status.partitions is not None
    assert (status.partitions.published, status.partitions.newest) == ("2026-01", "2026-04")
    assert status.partitions.missing == ("2026-02", "2026-03", "2026-04")
    assert status.ports[0].freshness == "late", "published a moment ago, and not what is due"
    assert status.ports[0].freshness_reason.startswith("2026-02 was due")
    product.write({"inputs/sales.csv": sales(JANUARY, FEBRUARY, MARCH, ["8,2026-04-30,1,1"])})
    run(product)
    status = dataset_statuses(product.resolved())[0]
    assert (
        (status.partitions.missing, status.ports[0].freshness) == ((), "fresh")
        if status.partitions
        else False
    )
    (objective,) = product.resolved().ports[0].objectives
    assert getattr(objective, "of", "") == "partition"


@pytest.mark.slow
def test_two_processes_make_different_partitions_and_neither_is_lost(workshop: Workshop) -> None:
    product = shop(workshop)
    run(product, "2026-03")
    first = product.table().newest()
    processes = [start(product, "parts", key, "4") for key in ("2026-01", "2026-02")]
    made = sorted(version for process in processes for version in result(process))
    assert first is not None
    assert made == list(range(first.version + 1, first.version + 9)), "each is a version of its own"
    newest = product.table().newest()
    assert newest is not None
    assert {key: one.rows for key, one in newest.partitions.items()} == {
        "2026-01": 2,
        "2026-02": 2,
        "2026-03": 1,
    }
    assert newest.partitions["2026-03"] == first.partitions["2026-03"]
    assert product.leftovers() == []
