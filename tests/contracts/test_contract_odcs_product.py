"""A product whose contracts are one ODCS document: resolved, refused with places, run and published."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import pytest

from dp_dagster.errors import DescriptorError
from dp_dagster.ports.base import Relationship
from dp_dagster.resolve import resolve
from dp_dagster.resolve.relationships import relationships_of
from dp_dagster.settings import Settings

DESCRIPTOR = """\
product_id: shop
name: A shop
version: 1.0.0
owner: {team: shop}
description: Customers and their orders.
input_ports:
  - {name: raw_customers, type: FILES, path: inputs/customers.csv}
  - {name: raw_orders, type: FILES, path: inputs/orders.csv}
datasets:
  - {name: orders, from: raw_orders, contract: "contracts/shop.odcs.yaml:orders", quarantine: {max_invalid: 50%}}
  - {name: buyers, from: raw_customers, contract: "contracts/shop.odcs.yaml:customers"}
output_ports:
  - {name: vw_orders, type: SQL, dataset: orders, description: All orders}
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
      - {name: id, logicalType: integer, primaryKey: true}
      - name: email
        logicalType: string
        classification: pii
        logicalTypeOptions: {format: email}
  - name: orders
    properties:
      - {name: id, logicalType: integer, primaryKey: true}
      - name: customer
        logicalType: integer
        required: true
        relationships: [{to: customers.id}]
      - name: amount
        logicalType: number
        logicalTypeOptions: {minimum: 0}
        quality:
          - {type: text, description: Amounts are plausible}
    quality:
      - {metric: rowCount, mustBeGreaterThan: 0}
"""


@pytest.fixture
def shop(make_project):
    project = make_project()
    folder = project.root / "products" / "shop"
    for relative, text in {
        "product.yaml": DESCRIPTOR,
        "contracts/shop.odcs.yaml": CONTRACTS,
        "inputs/customers.csv": "id,email\n1,a@example.com\n2,b@example.com\n",
        "inputs/orders.csv": "id,customer,amount\n1,1,10.5\n2,2,3\n3,9,1\n",
    }.items():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_text(text)
    return project


def resolved(project):
    return resolve(project.root / "products" / "shop", Settings.load(project.root))


def problems(project):
    with pytest.raises(DescriptorError) as caught:
        resolved(project)
    return [str(problem).rpartition("products/shop/")[2] for problem in caught.value.problems]


def edit(project, file, old, new):
    path = project.root / "products" / "shop" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_dataset_knows_which_datasets_its_contract_refers_to(shop):
    product = resolved(shop)
    assert product.dataset("orders").references == {"customers": "buyers"}
    assert product.dataset("orders").key == ("id",)
    assert product.dataset("buyers").references == {}


def test_ports_are_told_of_relationships_and_of_what_is_unique(shop):
    product = resolved(shop)
    to_one = Relationship("orders", ("customer",), "buyers", ("id",), to_one=True, from_one=False)
    assert relationships_of(product, 1) == (to_one,)
    assert relationships_of(product, 2) == ()
    edit(
        shop,
        "contracts/shop.odcs.yaml",
        "classification: pii",
        "classification: pii\n        primaryKey: true",
    )
    assert relationships_of(resolved(shop), 1) == (replace(to_one, to_one=False),)
    edit(
        shop,
        "contracts/shop.odcs.yaml",
        "logicalType: integer\n        required",
        "logicalType: integer\n        unique: true\n        required",
    )
    assert relationships_of(resolved(shop), 1) == (replace(to_one, to_one=False, from_one=True),)


def test_a_dataset_may_refer_to_its_own_rows(shop):
    edit(shop, "contracts/shop.odcs.yaml", "{to: customers.id}", "{to: orders.id}")
    assert relationships_of(resolved(shop), 1) == (
        Relationship("orders", ("customer",), "orders", ("id",), to_one=True, from_one=False),
    )


def test_a_relationship_to_a_missing_dataset_is_refused(shop):
    edit(shop, "product.yaml", "contracts/shop.odcs.yaml:customers", "contracts/shop.odcs.yaml:orders")
    edit(shop, "product.yaml", "name: buyers", "name: copies")
    said = "contracts/shop.odcs.yaml:orders refers to customers, which no dataset of the product is"
    assert problems(shop) == [
        f"product.yaml:10: datasets[0].contract: {said}; choices: copies",
        f"product.yaml:11: datasets[1].contract: {said}; choices: orders",
    ]


def test_a_circle_of_relationships_is_refused(shop):
    edit(
        shop,
        "contracts/shop.odcs.yaml",
        "logicalType: integer, primaryKey: true}\n      - name: email",
        "logicalType: integer, primaryKey: true, relationships: [{to: orders.id}]}\n      - name: email",
    )
    (said,) = problems(shop)
    assert said.startswith(
        "product.yaml:10: datasets[0].contract: datasets refer to each other in a circle: orders -> buyers -> orders"
    )


def test_an_input_is_judged_by_itself(shop):
    edit(
        shop,
        "product.yaml",
        "path: inputs/orders.csv}",
        'path: inputs/orders.csv, contract: "contracts/shop.odcs.yaml:orders"}',
    )
    (said,) = problems(shop)
    assert said.startswith(
        "product.yaml:8: input_ports[1].contract: contracts/shop.odcs.yaml:orders refers to customers"
    )
    assert said.endswith("move the relationship to the contract of a dataset")


def test_faults_of_the_document_are_told_with_their_places_all_at_once(shop):
    edit(shop, "contracts/shop.odcs.yaml", "minimum: 0}", "minimum: 3, maximum: 2}")
    edit(shop, "contracts/shop.odcs.yaml", "{to: customers.id}", "{to: customers.number}")
    first, second = problems(shop)
    place = "contracts/shop.odcs.yaml:20: schema[1].properties[1].relationships[0].to"
    assert first == f"{place}: number is no property of customers; choices: email, id"
    place = "contracts/shop.odcs.yaml:23: schema[1].properties[2].logicalTypeOptions.maximum"
    assert second == f"{place}: no value can lie above 3.0 and below 2.0; correct one of them"


@pytest.mark.slow
def test_a_run_publishes_what_keeps_the_document(shop):
    run = subprocess.run(
        ["dp", "run", "shop"],
        cwd=shop.root,
        env=shop.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    shown = subprocess.run(
        ["dp", "sql", "select id from shop.v1.vw_orders order by id", "--json"],
        cwd=shop.root,
        env=shop.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert [row["id"] for row in json.loads(shown.stdout)] == [1, 2], shown.stdout + shown.stderr
    quarantine = subprocess.run(
        ["dp", "quarantine", "shop.orders", "--json"],
        cwd=shop.root,
        env=shop.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "reference_customer" in quarantine.stdout
