"""Products for the tests of the Dagster projection, and runs of them on an instance of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.definitions.build import build_definitions
from dp_dagster.definitions.orphans import release_run
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from support import TestProject

    from dp_dagster.resolve import ResolvedProduct

PRODUCT = "orders"
INPUT = dg.AssetKey([PRODUCT, "input", "orders"])
LARGE = dg.AssetKey([PRODUCT, "transform", "large"])
KEPT = dg.AssetKey([PRODUCT, "transform", "scored"])
DATASET = dg.AssetKey([PRODUCT, "v2", "dataset", "orders"])
QUARANTINE = dg.AssetKey([PRODUCT, "v2", "quarantine", "orders"])
PORT = dg.AssetKey([PRODUCT, "v2", "port", "vw_orders"])

DESCRIPTOR = """\
api_version: dp_dagster/v1
product_id: orders
name: Orders of the shop
version: 2.1.0
domain: sales
owner: {{team: shop-data, email: shop@example.com}}
description: |
  Orders, scored.

  More about **orders**.
tags: {{tier: gold}}
support: {{channel: "#shop", url: "https://example.com/help"}}
refresh_rate: {refresh}
input_ports:
  - {{name: orders, type: FILES, path: data/orders.csv{input_contract}, description: "**Orders** as `they` come in"}}
transforms:
  - {{name: large, type: SQL, path: transforms/large.sql}}
  - {{name: scored, type: PYTHON, function: "transforms/scored.py:scored", inputs: [large]}}
datasets:
  - {{name: orders, from: scored, contract: "contracts/orders.py:Orders", key: [order_id]{quarantine}}}
output_ports:
  - {{name: vw_orders, type: SQL, dataset: orders, sla: "99.9%", description: Scored orders}}
"""

LARGE_SQL = "select order_id, customer, amount from orders where amount >= 0\n"

SCORED_PY = '''\
"""Scores."""


def scored(connection):
    return connection.sql("select order_id, customer, amount, amount * 2 as score from large")
'''

CONTRACT = '''\
"""What consumers may rely on."""

import pandera.polars as pa
import polars as pl

from dp_dagster.contracts import row_check


class Orders(pa.DataFrameModel):
    """Orders, scored."""

    order_id: int = pa.Field(unique=True, description="Number of the order.")
    customer: str = pa.Field(
        str_matches="^[a-z]+$", description="Who ordered.", metadata={"classification": "pii"}
    )
    amount: int = pa.Field(ge=0, description="What it cost.", metadata={"unit": "euros"})
    score: int = pa.Field(nullable=True, le=1000, raise_warning=True, description="Its score.")

    class Config:
        """Columns are exactly these."""

        strict = True

    score_fits = row_check(pl.col("score") >= pl.col("amount"), description="The score is never below the amount.")


class RawOrders(pa.DataFrameModel):
    """Orders as they come in."""

    order_id: int = pa.Field(unique=True)
    amount: int = pa.Field(lt=100000)
'''

GOOD = "order_id,customer,amount\n1,ada,10\n2,ben,20\n3,cy,30\n"
#: Customer SECRET9 breaks the pattern: one row of four.
BAD = "order_id,customer,amount\n1,ada,10\n2,ben,20\n3,cy,30\n4,SECRET9,40\n"


def write_orders(
    project: TestProject,
    *,
    refresh: str = "daily",
    quarantine: str = "",
    input_contract: bool = False,
    data: str = GOOD,
    name: str = PRODUCT,
) -> Path:
    """Write the product ``orders`` and give its folder."""
    folder = project.root / "products" / name
    descriptor = DESCRIPTOR.format(
        refresh=refresh,
        quarantine=f", quarantine: {{max_invalid: {quarantine}}}" if quarantine else "",
        input_contract=', contract: "contracts/orders.py:RawOrders"' if input_contract else "",
    ).replace("product_id: orders", f"product_id: {name}")
    write(
        folder,
        {
            "product.yaml": descriptor,
            "data/orders.csv": data,
            "transforms/large.sql": LARGE_SQL,
            "transforms/scored.py": SCORED_PY,
            "contracts/orders.py": CONTRACT,
        },
    )
    return folder


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write text files below a folder."""
    for relative, text in files.items():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_text(text)


def resolved(folder: Path) -> ResolvedProduct:
    """Resolve the product in a folder."""
    return resolve(folder, Settings.load(folder))


def run(
    folder: Path,
    instance: dg.DagsterInstance,
    assets: Sequence[dg.AssetKey] | None = None,
    definitions: dg.Definitions | None = None,
) -> dg.ExecuteInProcessResult:
    """Run a product's job, or some of its assets, as a code location does."""
    product = resolved(folder)
    job = (definitions or build_definitions(product)).resolve_job_def(f"{product.id}_refresh")
    result = job.execute_in_process(
        instance=instance,
        raise_on_error=False,
        asset_selection=list(assets) if assets else None,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags={".dagster/repository": f"__repository__@{product.id}"},
    )
    release_run(result.run_id)
    return result


def materializations(result: dg.ExecuteInProcessResult) -> dict[dg.AssetKey, dict[str, Any]]:
    """Metadata of what a run materialised."""
    found = {}
    for event in result.all_events:
        if event.event_type_value == "ASSET_MATERIALIZATION":
            materialization = event.step_materialization_data.materialization
            found[materialization.asset_key] = {
                name: value.value for name, value in materialization.metadata.items()
            }
    return found


def observations(result: dg.ExecuteInProcessResult) -> dict[dg.AssetKey, dict[str, Any]]:
    """Metadata of what a run observed."""
    found = {}
    for event in result.all_events:
        if event.event_type_value == "ASSET_OBSERVATION":
            observation = event.asset_observation_data.asset_observation
            found[observation.asset_key] = {name: value.value for name, value in observation.metadata.items()}
    return found


def checks(result: dg.ExecuteInProcessResult) -> dict[tuple[dg.AssetKey, str], dg.AssetCheckEvaluation]:
    """Check results of a run, by asset and name."""
    return {(one.asset_key, one.check_name): one for one in result.get_asset_check_evaluations()}


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """The sentence that the UI shows for each failed step."""
    found = {}
    for event in result.all_events:
        if event.event_type_value == "STEP_FAILURE":
            failure = event.step_failure_data.user_failure_data
            error = event.step_failure_data.error
            found[event.step_key or ""] = (failure.description or "") if failure else f"TRACEBACK {error}"
    return found


def retries(result: dg.ExecuteInProcessResult) -> list[str]:
    """Steps that were tried again."""
    return [e.step_key or "" for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"]


def specs(definitions: dg.Definitions) -> dict[dg.AssetKey, dg.AssetSpec]:
    """All asset specs by key."""
    return {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
