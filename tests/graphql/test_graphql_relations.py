"""Relationships of the contract as fields: both ways, in batches, and only where both ends may be read."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from graphql_shop import CUSTOMERS, ORDERS, whole

from dp_dagster.access.view import DatasetView
from dp_dagster.errors import NotPublishedError
from dp_dagster.ports.base import Relationship
from dp_dagster.predicates.model import Condition


def test_rows_lead_to_the_rows_that_refer_to_them_and_back(shop):
    document = """{customers {nodes {
      id orders(first: 2) {number amount customers {name orders(first: 1) {number}}}}}}"""
    rows = shop.ask(document).data["customers"]["nodes"]
    assert [[order["number"] for order in row["orders"]] for row in rows] == [
        [0, 5],
        [1, 6],
        [2, 7],
        [],
        [],
        [],
    ]
    assert rows[1]["orders"][1] == {
        "number": 6,
        "amount": "6.00",
        "customers": {"name": "name 1", "orders": [{"number": 1}]},
    }


def test_each_level_is_one_read_however_many_rows_there_are(shop):
    orders, customers = shop.orders.versions[0], shop.customers.versions[-1]
    shop.ask("{customers(first: 6) {nodes {id a: orders {number} orders {customers {orders {number}}}}}}")
    assert orders.calls == ["related", "related", "related"]
    assert customers.calls == ["page", "related"]


def test_nothing_is_read_where_nothing_is_referred_to(shop):
    shop.ask("{customers(where: {id: {gt: 100}}) {nodes {orders {number}}}}")
    shop.ask("{customers {nodes {orders(first: 0) {number}}}}")
    assert shop.orders.versions[0].calls == []


@pytest.fixture
def orders_shop(shop):
    """A port on the orders, which lead to customers."""
    shop.context = replace(shop.context, dataset="orders", port_name="orders_graphql")
    shop.customers, shop.orders = shop.orders, shop.customers
    shop.customers.others = {"customers": (shop.orders, whole("customers", CUSTOMERS))}
    shop.view = whole("orders", ORDERS)
    return shop


def test_a_row_that_refers_to_nothing_or_to_nobody_has_null(orders_shop):
    rows = orders_shop.ask("{orders(first: 5) {nodes {number customers {name}}}}").data["orders"]["nodes"]
    assert [row["customers"] for row in rows] == [
        {"name": "name 0"},
        {"name": "name 1"},
        {"name": "nobody"},
        None,
        None,
    ]


def test_other_datasets_keep_their_own_views(orders_shop):
    masked = replace(whole("customers", CUSTOMERS, email="redact"), rows=Condition("id", "ne", 0))
    orders_shop.customers.others = {"customers": (orders_shop.orders, masked)}
    rows = orders_shop.ask("{orders(first: 2) {nodes {customers {email}}}}").data["orders"]["nodes"]
    assert rows == [{"customers": None}, {"customers": {"email": "•••"}}]


@pytest.mark.parametrize(
    "view",
    [
        None,
        DatasetView("customers", ("name",)),
        DatasetView("customers", ("id", "name"), {"id": "hash"}),
    ],
)
def test_a_relationship_is_not_there_where_its_other_end_may_not_be_read(orders_shop, view):
    orders_shop.customers.others = {"customers": (orders_shop.orders, view)} if view else {}
    assert "Customers" not in orders_shop.send("GET", "/schema.graphql").body.decode().replace(
        "CustomersF", ""
    )
    assert orders_shop.ask("{orders {nodes {customers {name}}}}").status == 400


def test_nor_where_our_own_end_may_not_be_read(orders_shop):
    orders_shop.view = DatasetView("orders", ("number", "amount"))
    assert orders_shop.ask("{orders {nodes {customers {name}}}}").status == 400
    orders_shop.view = whole("orders", ORDERS, customer="null")
    assert orders_shop.ask("{orders {nodes {customers {name}}}}").status == 400


def test_a_dataset_that_has_published_nothing_is_not_there_yet(shop):
    version = shop.orders.versions.pop()
    assert shop.ask("{customers {nodes {orders {number}}}}").status == 400
    shop.orders.versions.append(version)
    assert shop.ask("{customers(first: 1) {nodes {orders(first: 1) {number}}}}").data["customers"][
        "nodes"
    ] == [{"orders": [{"number": 0}]}]
    shop.orders.fault = NotPublishedError("gone")
    assert shop.ask("{customers {nodes {orders {number}}}}").status == 400


def test_as_of_reads_other_datasets_as_they_were_then(shop):
    shop.orders.versions.append(shop.version(8, ORDERS, ("number",), [(1, 0, Decimal(99))]))
    document = "{customers(first: 1, asOf: %s) {nodes {orders {number}}}}"
    then = '{time: "2024-01-07T00:00:00Z"}'
    rows = shop.ask(document % then).data["customers"]["nodes"]
    assert [order["number"] for order in rows[0]["orders"]] == [0, 5, 10, 15]
    answer = shop.ask(document % "{version: 2}")
    assert answer.json["data"] == {"customers": None}
    assert answer.json["errors"][0]["extensions"] == {"code": "VERSION_GONE"}
    rows = shop.ask("{customers(first: 1) {nodes {orders {number}}}}").data["customers"]["nodes"]
    assert rows == [{"orders": [{"number": 1}]}]


def test_a_dataset_may_refer_to_itself_and_twice_to_another(shop):
    shop.context = replace(
        shop.context,
        relationships=(
            Relationship("customers", ("small",), "customers", ("id",), to_one=True, from_one=True),
            Relationship("orders", ("customer",), "customers", ("id",), to_one=True, from_one=False),
            Relationship("orders", ("number",), "customers", ("id",), to_one=True, from_one=True),
        ),
    )
    text = shop.send("GET", "/schema.graphql").body.decode()
    names = {"customers_by_small", "customers_by_small_", "orders_by_customer", "orders_by_number"}
    assert all(f"  {name}" in text for name in names)
    (row,) = shop.ask(
        "{customers(where: {id: {eq: 1}}) {nodes {orders_by_number {amount} orders_by_customer {number} "
        "customers_by_small {id}}}}"
    ).data["customers"]["nodes"]
    assert row == {
        "orders_by_number": {"amount": "1.00"},
        "orders_by_customer": [{"number": number} for number in (1, 6, 11, 16)],
        "customers_by_small": None,
    }
    # The version that was asked for stays the one that rows of the same dataset come from.
    row = shop.ask("{customersByKey(id: 0, asOf: {version: 1}) {customers_by_small {counts {value}}}}").data
    assert row["customersByKey"] == {"customers_by_small": {"counts": [{"value": 1}]}}
