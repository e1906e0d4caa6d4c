"""Products with partitions in Dagster: what assets share, what a run makes, and what Dagster is told of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from definition_helpers import failures, materializations, resolved, specs, write

from dp_dagster.definitions.build import build_definitions
from dp_dagster.definitions.partitions import CHANGED_TAG, FIRST_TAG, LAST_TAG, ONE_TAG, asked, run_tags
from dp_dagster.definitions.run import run_product
from dp_dagster.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from support import TestProject

SALES = dg.AssetKey(["shop", "input", "sales"])
SHOPS = dg.AssetKey(["shop", "input", "shops"])
VIEW = dg.AssetKey(["shop", "transform", "named"])
KEPT = dg.AssetKey(["shop", "transform", "scored"])
DATASET = dg.AssetKey(["shop", "v1", "dataset", "sales"])
QUARANTINE = dg.AssetKey(["shop", "v1", "quarantine", "sales"])
PORT = dg.AssetKey(["shop", "v1", "port", "vw_sales"])
CUT = {SALES, VIEW, KEPT, DATASET, QUARANTINE}

DESCRIPTOR = """\
product_id: shop
version: 1.0.0
refresh_rate: daily
partitions: {by: month, start: 2026-01-01, end: 2026-05-01}
input_ports:
  - {name: sales, type: FILES, path: data/sales.csv, partitioned_by: day}
  - {name: shops, type: FILES, path: data/shops.csv}
transforms:
  - {name: named, type: SQL, path: transforms/named.sql}
  - {name: scored, type: PYTHON, function: "transforms/scored.py:scored", inputs: [named]}
datasets:
  - name: sales
    from: scored
    contract: contracts/sales.py:Sales
    key: [sale]
    partitioned_by: day
output_ports:
  - {name: vw_sales, type: SQL, dataset: sales}
"""
FILES = {
    "data/sales.csv": "sale,day,shop\n1,2026-01-05,1\n2,2026-02-01,2\n3,2026-03-15,1\n4,2026-04-01,1\n",
    "data/shops.csv": "shop,name\n1,north\n2,south\n",
    "transforms/named.sql": "select sale, day, name from sales join shops using (shop)\n",
    "transforms/scored.py": "def scored(connection):\n"
    "    return connection.sql('select *, 1::bigint as score from named')\n",
    "contracts/sales.py": "import pandera.polars as pa\nimport polars as pl\n\nSales = pa.DataFrameSchema(\n"
    "    {'sale': pa.Column(int, unique=True), 'day': pa.Column(pl.Date), 'name': pa.Column(str),\n"
    "     'score': pa.Column(int)}\n)\n",
}


@pytest.fixture
def folder(project: TestProject) -> Path:
    folder = project.root / "products" / "shop"
    write(folder, {"product.yaml": DESCRIPTOR, **FILES})
    return folder


def run(folder: Path, instance: dg.DagsterInstance, *keys: str) -> list[str]:
    said: list[str] = []
    result = run_product(resolved(folder), instance, said.append, partitions=keys or None)
    assert result.succeeded, result.failures
    return said


def told(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[str]:
    """Partitions that Dagster was told of, one for each event."""
    records = instance.fetch_materializations(key, limit=100).records
    return sorted(str(record.partition_key) for record in records)


def test_all_assets_of_the_way_share_the_partitions_and_the_rest_has_none(folder: Path) -> None:
    product = resolved(folder)
    definitions = build_definitions(product)
    found = specs(definitions)
    cut = {key: spec.partitions_def for key, spec in found.items() if spec.partitions_def is not None}
    assert set(cut) == CUT
    assert len(set(cut.values())) == 1
    assert next(iter(cut.values())).get_partition_keys() == ["2026-01", "2026-02", "2026-03", "2026-04"]
    for asset in definitions.resolve_asset_graph().assets_defs:
        expected = dg.BackfillPolicy.single_run() if asset.keys & CUT else None
        assert asset.backfill_policy == expected
    # To Dagster any partition would make the port fresh; the objective judges the newest that is due.
    assert found[PORT].freshness_policy is None
    assert "sla_freshness" in {
        check.name for asset in definitions.resolve_asset_graph().assets_defs for check in asset.check_specs
    }


def test_a_run_of_all_that_changed_tells_of_the_partitions_that_it_made(
    folder: Path, instance: dg.DagsterInstance
) -> None:
    keys = ["2026-01", "2026-02", "2026-03", "2026-04"]
    said = run(folder, instance)
    for key in (SALES, VIEW, KEPT, DATASET):
        assert told(instance, key) == keys, key
    assert told(instance, SHOPS) == ["None"]
    assert told(instance, PORT) == ["None"]
    assert sum("shop/v1/dataset/sales" in line for line in said) == 1
    assert any("2026-01..2026-04, version 0, 4 rows" in line for line in said)
    said = run(folder, instance)
    assert told(instance, DATASET) == keys, "nothing was made"
    assert "  · shop/v1/dataset/sales  unchanged" in said
    # Late data.
    write(folder, {"data/sales.csv": FILES["data/sales.csv"] + "5,2026-02-03,1\n"})
    run(folder, instance)
    for key in (SALES, KEPT, DATASET):
        assert told(instance, key) == sorted([*keys, "2026-02"]), key
    event = instance.get_latest_materialization_event(DATASET)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/partition_row_count"].value == 2
    assert (metadata["version"].value, metadata["partitions"].value) == (1, "2026-02")
    assert told(instance, PORT) == ["None", "None"], "a new version for consumers"


def test_a_run_of_a_range_makes_it_in_one_commit(folder: Path, instance: dg.DagsterInstance) -> None:
    run(folder, instance, "2026-02", "2026-03")
    for key in (SALES, VIEW, KEPT, DATASET):
        assert told(instance, key) == ["2026-02", "2026-03"]
    event = instance.get_latest_materialization_event(DATASET)
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["version"].value == 0
    assert event.asset_materialization.metadata["dagster/partition_row_count"].value == 1
    job = build_definitions(resolved(folder)).resolve_job_def("shop_refresh")
    result = job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        partition_key="2026-01",
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    assert result.success, failures(result)
    assert materializations(result)[DATASET]["version"] == 1
    assert told(instance, DATASET) == ["2026-01", "2026-02", "2026-03"]
    # What the other runs left out is what a run of all makes, and what Dagster did not know of it is told.
    run(folder, instance)
    assert told(instance, DATASET) == ["2026-01", "2026-02", "2026-03", "2026-04"]


def test_schedules_and_runs_carry_what_they_look_at(folder: Path, instance: dg.DagsterInstance) -> None:
    product = resolved(folder)
    assert run_tags(product) == {ONE_TAG: "2026-04", CHANGED_TAG: "changed"}
    assert run_tags(product, ["2026-02", "2026-03"]) == {FIRST_TAG: "2026-02", LAST_TAG: "2026-03"}
    assert asked(product, run_tags(product)) is None
    assert asked(product, run_tags(product, ["2026-02", "2026-03"])) == ("2026-02", "2026-03")
    assert asked(product, {ONE_TAG: "2026-02"}) == ("2026-02",)
    with pytest.raises(UsageError, match="is no partition of the product"):
        asked(product, {ONE_TAG: "2025-02"})
    definitions = build_definitions(product)
    (schedule,) = definitions.schedules or ()
    assert isinstance(schedule, dg.ScheduleDefinition)
    context = dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=datetime.now(UTC),
        repository_def=definitions.get_repository_def(),
    )
    (request,) = schedule.evaluate_tick(context).run_requests or ()
    assert request.tags[CHANGED_TAG] == "changed"
    assert request.tags[ONE_TAG] == request.partition_key == "2026-04"
