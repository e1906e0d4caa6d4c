"""GRAPHQL ports of a product whose datasets refer to each other, served by a real ``dp serve``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import end_group

pytestmark = pytest.mark.slow

PRODUCT = """\
product_id: shop
name: A shop
version: 1.0.0
owner: {team: shop}
description: Customers and their orders.
access:
  - anyone: true
input_ports:
  - {name: raw_customers, type: FILES, path: inputs/customers.csv}
  - {name: raw_orders, type: FILES, path: inputs/orders.csv}
datasets:
  - {name: customers, from: raw_customers, contract: "contracts/shop.odcs.yaml:customers"}
  - {name: orders, from: raw_orders, contract: "contracts/shop.odcs.yaml:orders"}
output_ports:
  - {name: orders_graphql, type: GRAPHQL, dataset: orders, auth: none}
"""
CONTRACTS = """\
apiVersion: v3.1.0
kind: DataContract
id: shop
version: 1.0.0
status: active
schema:
  - name: customers
    properties:
      - {name: id, logicalType: integer, primaryKey: true, description: Number of the customer}
      - {name: email, logicalType: string, classification: pii}
  - name: orders
    properties:
      - {name: id, logicalType: integer, primaryKey: true}
      - {name: customer, logicalType: integer, required: true, relationships: [{to: customers.id}]}
      - {name: amount, logicalType: number, logicalTypeOptions: {minimum: 0}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("graphql")
    files = {
        "dp_dagster.toml": 'products = ["products/*"]\nstorage = "data"\n',
        "products/shop/product.yaml": PRODUCT,
        "products/shop/contracts/shop.odcs.yaml": CONTRACTS,
        "products/shop/inputs/customers.csv": "id,email\n1,a@example.com\n2,b@example.com\n",
        "products/shop/inputs/orders.csv": "id,customer,amount\n1,1,10.5\n2,2,3\n3,1,1\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def run_dp(project, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DP_")}
    environment["DAGSTER_HOME"] = str(project / ".dp" / "dagster")
    return subprocess.run(
        [Path(sys.executable).with_name("dp"), *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture(scope="module")
def server(project):
    run_dp(project, "run", "shop")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [Path(sys.executable).with_name("dp"), "serve", "--port", str(port)],
        cwd=project,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}/shop/v1/orders_graphql"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx.post(address, json={"query": "{__typename}"}).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield address
    finally:
        end_group(process)


def ask(server, document):
    answer = httpx.post(server, json={"query": document})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_rows_behind_rows_masked_as_their_own_dataset_says(server):
    answer = ask(server, "{orders(orderBy: {column: amount}) {nodes {id customers {email orders {id}}}}}")
    assert "errors" not in answer
    both = {"email": "•••", "orders": [{"id": 1}, {"id": 3}]}
    assert answer["data"]["orders"]["nodes"] == [
        {"id": 3, "customers": both},
        {"id": 2, "customers": {"email": "•••", "orders": [{"id": 2}]}},
        {"id": 1, "customers": both},
    ]
    assert answer["extensions"]["versions"] == {"orders": [0], "customers": [0]}


def test_a_new_version_is_shown_and_cursors_stay_on_theirs(server, project):
    document = """query ($after: String) {
      orders(first: 1, after: $after) {version nodes {id amount} pageInfo {endCursor}}}"""
    first = httpx.post(server, json={"query": document}).json()["data"]["orders"]
    cursor = first["pageInfo"]["endCursor"]
    with (project / "products/shop/inputs/orders.csv").open("a") as file:
        file.write("0,2,7\n")
    run_dp(project, "run", "shop")
    deadline = time.monotonic() + 60
    while ask(server, "{datasetVersion {version}}")["data"]["datasetVersion"]["version"] == first["version"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert ask(server, "{orders(first: 1) {nodes {id}}}")["data"]["orders"]["nodes"] == [{"id": 0}]
    held = httpx.post(server, json={"query": document, "variables": {"after": cursor}}).json()["data"][
        "orders"
    ]
    assert (held["version"], held["nodes"][0]["id"]) == (first["version"], 2)


def test_schemathesis_finds_no_server_error(server):
    for name in ("Long", "Decimal", "Customers_email_masked"):
        values = st.integers(-(2**65), 2**65).map(schemathesis.graphql.nodes.Int)
        schemathesis.graphql.scalar(name, values | st.text(max_size=9).map(schemathesis.graphql.nodes.String))
    moments = st.sampled_from(["2024-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "x", ""])
    schemathesis.graphql.scalar("DateTime", moments.map(schemathesis.graphql.nodes.String))
    schema = schemathesis.graphql.from_url(server)
    operations = [operation.ok() for operation in schema.get_all_operations()]
    assert {operation.label for operation in operations} == {
        "Query.orders",
        "Query.ordersByKey",
        "Query.datasetVersion",
    }
    for operation in operations:

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy())
        def attack(case):
            response = case.call()
            assert response.status_code in (200, 400), case.body
            assert response.json().keys() <= {"data", "errors", "extensions"}

        attack()
