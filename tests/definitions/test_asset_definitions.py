"""What the Dagster UI is told about each asset, before anything has run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from definition_helpers import (
    DATASET,
    INPUT,
    KEPT,
    LARGE,
    PORT,
    QUARANTINE,
    resolved,
    specs,
    write,
    write_orders,
)

from dp_dagster import load_product
from dp_dagster.definitions.describe import first_line

if TYPE_CHECKING:
    from support import TestProject

ALL = (INPUT, LARGE, KEPT, DATASET, QUARANTINE, PORT)

SAMPLE = """\
{"product_id": "customer_360", "version": "v1.2.0",
 "output_ports": [
   {"type": "SQL", "endpoint": "snowflake://db/schema/vw_customers", "sla": "99.9%", "refresh_rate": "real-time"},
   {"type": "REST_API", "endpoint": "https://api.data.inc/v1/customers", "auth": "OAuth2"}]}
"""


@pytest.fixture
def assets(project: TestProject) -> dict[dg.AssetKey, dg.AssetSpec]:
    return specs(load_product(write_orders(project, input_contract=True)))


def test_keys_are_those_that_others_rely_on(assets: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    assert set(assets) == set(ALL)
    assert PORT.to_user_string() == "orders/v2/port/vw_orders"


@pytest.mark.parametrize("key", ALL, ids=lambda key: key.to_user_string())
def test_every_asset_names_group_owners_and_tags(
    assets: dict[dg.AssetKey, dg.AssetSpec], key: dg.AssetKey
) -> None:
    spec = assets[key]
    assert spec.group_name == "orders"
    assert list(spec.owners) == ["team:shop-data", "shop@example.com"]
    assert spec.tags["dp/product"] == "orders"
    assert spec.tags["dp/version"] == "2.1.0"
    assert spec.tags["domain"] == "sales"
    assert spec.tags["tier"] == "gold"
    assert spec.kinds


def test_dependencies(assets: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    deps = {key: {dep.asset_key for dep in spec.deps} for key, spec in assets.items()}
    assert deps == {
        INPUT: set(),
        LARGE: {INPUT},
        KEPT: {LARGE},
        DATASET: {KEPT},
        QUARANTINE: {KEPT},
        PORT: {DATASET},
    }


def test_kinds_and_roles(assets: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    assert assets[INPUT].kinds == {"csv"}
    assert "sql" in assets[LARGE].kinds
    assert "python" in assets[KEPT].kinds
    assert "deltalake" in assets[DATASET].kinds
    assert {key: spec.tags["dp/role"] for key, spec in assets.items()} == {
        INPUT: "input_port",
        LARGE: "transform",
        KEPT: "transform",
        DATASET: "dataset",
        QUARANTINE: "quarantine",
        PORT: "output_port",
    }


def test_descriptions_begin_with_a_plain_line(assets: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    first = {key: (spec.description or "").splitlines()[0] for key, spec in assets.items()}
    assert first == {
        INPUT: "Orders as they come in",
        LARGE: "Transform large of orders",
        KEPT: "Transform scored of orders",
        DATASET: "Orders, scored.",
        QUARANTINE: "Rows of orders that broke its contract, with run, rules and reason",
        PORT: "Scored orders",
    }


def test_a_port_says_how_it_is_read_and_what_it_promises(assets: dict[dg.AssetKey, dg.AssetSpec]) -> None:
    text = assets[PORT].description or ""
    assert "### How to consume" in text
    assert 'dp sql "from orders.v2.vw_orders"' in text
    assert "contracts/orders.py:Orders" in text
    assert "| availability | 99.9% | sla | measured: `sla_availability` |" in text
    assert "| freshness | daily | refresh_rate | measured: `sla_freshness` |" in text
    assert "#shop" in text


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("# Orders", "Orders"),
        ("**Orders** of `shop_a`", "Orders of shop_a"),
        ("*All* orders, see [the page](https://example.com/a_b_c)", "All orders, see the page"),
        ("- one_two_three and a * b * c", "one_two_three and a * b * c"),
        ("> 5 percent", "5 percent"),
        ("__init__ and _private names", "init and _private names"),
        ("\n\n  plain  \n**more**", "plain"),
    ],
)
def test_first_lines_lose_their_markdown(written: str, shown: str) -> None:
    assert first_line(written) == shown


@pytest.mark.parametrize("key", [DATASET, PORT], ids=["dataset", "port"])
def test_column_schema(assets: dict[dg.AssetKey, dg.AssetSpec], key: dg.AssetKey) -> None:
    schema = assets[key].metadata["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    columns = {column.name: column for column in schema.columns}
    assert {name: column.type for name, column in columns.items()} == {
        "order_id": "int64",
        "customer": "string",
        "amount": "int64",
        "score": "int64",
    }
    assert columns["order_id"].constraints == dg.TableColumnConstraints(nullable=False, unique=True, other=[])
    assert columns["customer"].description == "Who ordered."
    assert columns["customer"].tags == {"classification": "pii"}
    assert columns["amount"].tags == {"unit": "euros"}
    assert columns["amount"].constraints.other == ["at least 0"]
    assert columns["score"].constraints == dg.TableColumnConstraints(
        nullable=True, unique=False, other=["at most 1000 (warn)"]
    )
    assert columns["customer"].constraints.other[0].endswith("a match of ^[a-z]+$")
    assert schema.constraints.other == ["The score is never below the amount."]


def test_links_lead_to_the_lines_and_files_that_make_an_asset(
    assets: dict[dg.AssetKey, dg.AssetSpec], project: TestProject
) -> None:
    folder = project.root / "products/orders"

    def linked(key: dg.AssetKey) -> list[tuple[str, int | None]]:
        references = assets[key].metadata["dagster/code_references"].code_references
        assert all(Path(one.file_path).is_file() for one in references)
        return [(str(Path(one.file_path).relative_to(folder)), one.line_number) for one in references]

    lines = (folder / "product.yaml").read_text().splitlines()

    def line(start: str) -> int:
        return next(number for number, text in enumerate(lines, 1) if text.startswith(start))

    assert linked(INPUT) == [("product.yaml", line("  - {name: orders, type: FILES"))]
    assert linked(KEPT) == [("product.yaml", line("  - {name: scored")), ("transforms/scored.py", 1)]
    assert linked(DATASET) == [
        ("product.yaml", line("  - {name: orders, from: scored")),
        ("contracts/orders.py", 1),
    ]
    assert linked(PORT) == [("product.yaml", line("  - {name: vw_orders"))]
    assert assets[PORT].metadata["support"] == dg.MetadataValue.url("https://example.com/help")
    assert assets[DATASET].metadata["dagster/uri"].endswith("/data/orders/v2/dataset/orders")


def test_rules_over_several_columns_stand_at_the_table(project: TestProject) -> None:
    folder = write_orders(project)
    contract = (folder / "contracts/orders.py").read_text()
    contract = contract.replace("pa.Field(unique=True, desc", "pa.Field(desc").replace(
        "        strict = True", '        strict = True\n        unique = ["order_id", "customer"]'
    )
    descriptor = (folder / "product.yaml").read_text().replace("key: [order_id]", "key: [order_id, customer]")
    write(folder, {"contracts/orders.py": contract, "product.yaml": descriptor})
    schema = specs(load_product(folder))[DATASET].metadata["dagster/column_schema"]
    assert "unique (order_id, customer)" in schema.constraints.other
    assert len(schema.constraints.other) == 2
    assert not schema.columns[0].constraints.unique


def test_each_rule_is_a_check_and_the_contract_blocks(project: TestProject) -> None:
    definitions = load_product(write_orders(project, input_contract=True))
    graph = definitions.resolve_asset_graph()
    of_dataset = {
        key.name: graph.get_check_spec(key) for key in graph.asset_check_keys if key.asset_key == DATASET
    }
    rules = resolved(project.root / "products/orders").dataset("orders").contract.rules
    assert set(of_dataset) == {"contract", "policies", *(rule.id for rule in rules)}
    assert {name for name, spec in of_dataset.items() if spec.blocking} == {"contract"}
    assert of_dataset["maximum_score"].description == "score: at most 1000 (warns only)"
    assert {key.name for key in graph.asset_check_keys if key.asset_key == INPUT} >= {
        "contract",
        "maximum_amount",
    }


def test_code_versions_follow_the_code_alone(project: TestProject) -> None:
    folder = write_orders(project)
    before = specs(load_product(folder))
    (folder / "transforms/large.sql").write_text(LARGE_CHANGED)
    (folder / "data/orders.csv").write_text("order_id,customer,amount\n")
    after = specs(load_product(folder))
    assert before[LARGE].code_version
    assert before[LARGE].code_version != after[LARGE].code_version
    assert before[KEPT].code_version == after[KEPT].code_version


LARGE_CHANGED = "select order_id, customer, amount from orders where amount >= 5\n"


def test_the_bare_sample_loads_and_says_what_is_not_there(project: TestProject) -> None:
    folder = project.root / "products" / "bare"
    write(folder, {"product.json": SAMPLE})
    definitions = load_product(folder)
    ports = specs(definitions)
    assert {key.to_user_string() for key in ports} == {
        "customer_360/v1/port/vw_customers",
        "customer_360/v1/port/customers",
    }
    graph = definitions.resolve_asset_graph()
    for key, spec in ports.items():
        assert not graph.get(key).is_executable
        assert spec.tags["dp/state"] in {"not_installed", "not_evaluated"}
        assert "State" in (spec.description or "")
    sql = ports[dg.AssetKey(["customer_360", "v1", "port", "vw_customers"])]
    assert "no datasets" in (sql.description or "")
    assert "not evaluated" in (sql.description or "")
    assert not definitions.schedules
    # What it promises is watched, and told to be not evaluated.
    assert {sensor.name for sensor in definitions.sensors or []} == {"customer_360_alerts"}


def test_what_dagster_would_refuse_does_not_stop_a_product(project: TestProject) -> None:
    folder = write_orders(project)
    text = (folder / "product.yaml").read_text()
    text = text.replace("shop@example.com", "o'hara@example.com").replace(
        "domain: sales", "domain: Verkauf & Handel"
    )
    write(folder, {"product.yaml": text})
    spec = specs(load_product(folder))[PORT]
    assert list(spec.owners) == ["team:shop-data"]
    assert "domain" not in spec.tags


def test_freshness_policies_are_windows(project: TestProject) -> None:
    from datetime import timedelta

    from dagster import FreshnessPolicy

    def policy(refresh: str) -> object:
        return specs(load_product(write_orders(project, refresh=refresh)))[PORT].freshness_policy

    def window(fail: timedelta, warn: timedelta) -> FreshnessPolicy:
        return FreshnessPolicy.time_window(fail_window=fail, warn_window=warn)

    hour, day = timedelta(hours=1), timedelta(days=1)
    assert policy("daily") == window(day * 1.5, day * 1.25)
    assert policy("hourly") == window(hour * 1.5, hour * 1.25)
    assert policy("weekly") == window(day * 10.5, day * 8.75)
    assert policy("PT30M") == window(hour * 0.75, hour * 0.625)
    assert policy('"0 6 * * 1-5"') == window(day * 4.5, day * 3.75), "the weekend is the longest pause"
    assert policy("{every: daily, maximum_lag: PT2H, warn_lag: PT1H}") == window(day + 2 * hour, day + hour)
    assert policy("{every: PT1M, maximum_lag: PT2M, warn_lag: PT1M}") == window(
        timedelta(minutes=3), timedelta(minutes=2)
    )
    assert policy("real-time") is None, "a quiet source must not breach for ever"
