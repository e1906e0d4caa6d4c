"""dbt models in a product: assets with their tests as checks, run by dagster-dbt, one manifest a product."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from definition_helpers import checks, failures, materializations, resolved, run, specs, write
from support import ROOT

from dp_dagster import load_product, load_products

if TYPE_CHECKING:
    from pathlib import Path

    from support import TestProject

# dbt takes seconds to start and to parse.
pytestmark = pytest.mark.slow

DESCRIPTOR = """\
api_version: dp_dagster/v1
product_id: {name}
name: Sales
version: 1.0.0
owner: {{team: sales, email: sales@example.com}}
description: Sales by customer.
refresh_rate: daily
input_ports:
  - {{name: orders, type: FILES, path: data/orders.csv}}
transforms:
  - {{name: models, type: DBT, models: {name}}}
datasets:
  - {{name: sales, from: totals, contract: "contracts/sales.py:Sales", key: [customer]}}
output_ports:
  - {{name: vw_sales, type: SQL, dataset: sales}}
"""
CONTRACT = '''\
"""Sales."""

import pandera.polars as pa


class Sales(pa.DataFrameModel):
    """Sales by customer."""

    customer: str = pa.Field(unique=True)
    amount: int = pa.Field(ge=0)
'''
SOURCES = """\
version: 2
sources:
  - name: input
    schema: input
    tables: [{name: orders}]
"""
MODELS = """\
version: 2
models:
  - name: cleaned
    description: |
      **Orders**, cleaned.

      More about them.
    columns:
      - name: order_id
        data_tests: [not_null, unique]
  - name: totals
    columns:
      - name: amount
        data_tests:
          - not_null: {config: {severity: warn}}
"""
GOOD = "order_id,customer,amount\n1,ada,10\n2,ben,20\n3,ada,5\n"
DOUBLE = "order_id,customer,amount\n1,ada,10\n1,ben,20\n"


def write_sales(project: TestProject, name: str = "sales", data: str = GOOD) -> Path:
    folder = project.root / "products" / name
    write(
        folder,
        {
            "product.yaml": DESCRIPTOR.format(name=name),
            "data/orders.csv": data,
            "contracts/sales.py": CONTRACT,
        },
    )
    shutil.copytree(
        ROOT / "dbt_project",
        project.root / "dbt_project",
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("models", "target", "logs", "README.md"),
    )
    write(
        project.root / "dbt_project/models" / name,
        {
            "sources.yml": SOURCES,
            "models.yml": MODELS,
            "cleaned.sql": "select order_id, customer, amount from {{ source('input', 'orders') }}",
            "totals.sql": "select customer, sum(amount)::bigint as amount from {{ ref('cleaned') }} group by 1",
        },
    )
    return folder


def key(name: str, product: str = "sales") -> dg.AssetKey:
    area = ["input"] if name == "orders" else ["transform"]
    return dg.AssetKey([product, *area, name])


DATASET = dg.AssetKey(["sales", "v1", "dataset", "sales"])
QUARANTINE = dg.AssetKey(["sales", "v1", "quarantine", "sales"])
PORT = dg.AssetKey(["sales", "v1", "port", "vw_sales"])


def test_models_are_assets_and_their_tests_are_checks(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_sales(project)
    definitions = load_product(folder)
    assets = specs(definitions)
    assert {key("cleaned"), key("totals"), key("orders"), DATASET, PORT} <= set(assets)
    assert {dep.asset_key for dep in assets[key("cleaned")].deps} == {key("orders")}
    assert {dep.asset_key for dep in assets[key("totals")].deps} == {key("cleaned")}
    assert {dep.asset_key for dep in assets[DATASET].deps} == {key("totals")}
    cleaned = assets[key("cleaned")]
    assert cleaned.group_name == "sales"
    assert list(cleaned.owners) == ["team:sales", "sales@example.com"]
    assert {"dbt", "duckdb"} <= cleaned.kinds
    assert (cleaned.description or "").splitlines()[0] == "Orders, cleaned."
    assert "dbt_project/models/sales/cleaned.sql" in (cleaned.description or "")

    result = run(folder, instance)
    assert result.success, failures(result)
    assert {key("cleaned"), key("totals"), DATASET, PORT} <= set(materializations(result))
    judged = {name: one.passed for (asset, name), one in checks(result).items() if asset == key("cleaned")}
    assert judged == {"not_null_cleaned_order_id": True, "unique_cleaned_order_id": True}
    assert checks(result)[key("totals"), "not_null_totals_amount"].passed
    totals = materializations(result)[key("totals")]
    (dependency,) = totals["dagster/column_lineage"].deps_by_column["amount"]
    assert (dependency.asset_key, dependency.column_name) == (key("cleaned"), "amount")
    assert "sales/transform/totals\n└─ sales/transform/cleaned\n   └─ sales/input/orders" in totals["lineage"]
    assert "| amount | `input/orders.amount` | aggregation |" in totals["lineage"]
    assert "Execution Duration" in totals, "what dagster-dbt tells is still there"
    made_from = materializations(result)[DATASET]["made from"]
    assert made_from["orders"]["version"] == materializations(result)[key("orders")]["version"]

    # The dataset alone reads what dbt built before.
    (folder / "data/orders.csv").write_text(DOUBLE)
    alone = run(folder, instance, [DATASET, QUARANTINE])
    assert alone.success, failures(alone)
    assert materializations(alone)[DATASET]["dagster/row_count"] == 2
    assert materializations(alone)[DATASET]["made from"] == made_from

    # One model alone: the others are there as they were built.
    one = run(folder, instance, [key("totals")])
    assert one.success, failures(one)
    assert set(materializations(one)) == {key("totals")}
    assert run(folder, instance, [DATASET, QUARANTINE]).success

    # A failing test says which, stops what reads the models, and leaves what was built before.
    failed = run(folder, instance)
    assert not failed.success
    assert failures(failed) == {
        "sales__dbt__models": "sales/models: unique_cleaned_order_id: "
        "Got 1 result, configured to fail if != 0"
    }
    assert not checks(failed)[key("cleaned"), "unique_cleaned_order_id"].passed
    assert DATASET not in materializations(failed)
    after = run(folder, instance, [DATASET, QUARANTINE])
    assert after.success
    assert materializations(after)[DATASET]["dagster/row_count"] == 2
    assert materializations(after)[DATASET]["made from"] == made_from


def test_a_model_that_fails_when_it_runs(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_sales(project)
    write(
        project.root / "dbt_project/models/sales",
        {"totals.sql": "select custmer, 1::bigint as amount from {{ ref('cleaned') }}"},
    )
    result = run(folder, instance)
    assert not result.success
    sentence = failures(result)["sales__dbt__models"]
    assert sentence.startswith("sales/models: totals: ")
    assert "custmer" in sentence
    assert DATASET not in materializations(result)
    dataset_alone = run(folder, instance, [DATASET, QUARANTINE])
    assert "have not been built here yet" in failures(dataset_alone)["sales__v1__dataset__sales"]


def test_a_broken_model_of_one_product_stops_no_other(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_sales(project)
    write_sales(project, "broken")
    write(project.root / "dbt_project/models/broken", {"totals.sql": "select * from {{ ref('nowhere') }}"})
    definitions = load_products(project.root / "products", "[bs][ra]*")
    found = specs(definitions)
    error = str(found[dg.AssetKey(["broken", "load_error"])].metadata["error"].value)
    assert "dbt_project/models/broken" in error
    assert "nowhere" in error
    result = run(folder, instance, definitions=definitions)
    assert result.success, failures(result)
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="nowhere"):
        load_product(project.root / "products/broken")


LOAD = "import sys; from dp_dagster import load_product; load_product(sys.argv[1])"


def parses(project: TestProject) -> int:
    """How often dbt has parsed, by its own log."""
    log = project.root / ".dp/dbt/sales/models/parsed/logs/dbt.log"
    return log.read_text().count("Running with dbt=")


def test_the_manifest_is_parsed_once_and_kept(project: TestProject) -> None:
    folder = write_sales(project)
    # Several code servers start at once and find nothing.
    started = [
        subprocess.Popen(
            [sys.executable, "-c", LOAD, folder],
            cwd=project.root,
            env=project.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in started:
        _, said = process.communicate(timeout=180)
        assert process.returncode == 0, said
    assert parses(project) == 1
    load_product(folder)
    assert parses(project) == 1
    write(
        project.root / "dbt_project/models/sales",
        {"totals.sql": "select customer, 1::bigint as amount from {{ ref('cleaned') }}"},
    )
    load_product(folder)
    assert parses(project) == 2
    assert resolved(folder).id == "sales"


def test_a_source_that_is_no_input_port(project: TestProject) -> None:
    folder = write_sales(project)
    text = SOURCES.replace("[{name: orders}]", "[{name: orders}, {name: refunds}]")
    write(project.root / "dbt_project/models/sales", {"sources.yml": text})
    with pytest.raises(dg.DagsterInvalidDefinitionError) as caught:
        load_product(folder)
    assert str(caught.value) == (
        "dbt_project/models/sales/sources.yml: source refunds is no input port that sales/models reads; "
        "there are orders"
    )


def test_a_manifest_that_was_damaged_is_parsed_again(project: TestProject) -> None:
    folder = write_sales(project)
    load_product(folder)
    manifest = project.root / ".dp/dbt/sales/models/parsed/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()))[:1000])
    assert key("totals") in specs(load_product(folder))
    manifest.unlink()
    assert key("totals") in specs(load_product(folder))
