"""The schema of a port: from the contract's columns, one for each view and each state of the columns."""

from __future__ import annotations

from dataclasses import replace

from graphql import build_schema
from graphql_shop import CUSTOMERS, customer, whole

from dp_dagster.access.view import DatasetView
from dp_dagster.contracts.model import Column


def text_of(shop):
    return shop.send("GET", "/schema.graphql").body.decode()


def fields_of(shop, kind):
    return {
        name: str(field.type) for name, field in build_schema(text_of(shop)).type_map[kind].fields.items()
    }


def test_types_are_those_of_the_contract(shop):
    assert fields_of(shop, "Customers") == {
        "id": "Long!",
        "name": "String!",
        "email": "String",
        "score": "Float",
        "spent": "Decimal",
        "since": "Date",
        "seen": "DateTime",
        "local": "LocalDateTime",
        "vip": "Boolean",
        "photo": "Bytes",
        "small": "Int",
        "address": "CustomersAddress",
        "tags": "[String]",
        "counts": "[CustomersCountsEntry!]",
        "moves": "[CustomersMovesItem]",
        "odd_name": "String",
        "orders": "[Orders!]",
    }
    assert fields_of(shop, "CustomersAddress") == {"zip": "String", "geo": "CustomersAddressGeo"}
    assert fields_of(shop, "Orders")["customers"] == "Customers"
    columns = build_schema(text_of(shop)).type_map["CustomersColumn"].values
    assert set(columns) == {
        "id",
        "name",
        "email",
        "score",
        "spent",
        "since",
        "seen",
        "local",
        "vip",
        "photo",
        "small",
        "odd_name",
    }


def test_descriptions_say_what_the_contract_says(shop):
    fields = build_schema(text_of(shop)).type_map["Customers"].fields
    assert fields["id"].description == "Number of the customer."
    assert fields["score"].description == "Unit: points."
    assert fields["email"].description == "Classified as pii."
    assert fields["odd_name"].description == "The column 'odd name'."
    shop.view = whole("customers", CUSTOMERS, name="redact")
    name = build_schema(text_of(shop)).type_map["Customers"].fields["name"]
    assert str(name.type) == "String"
    assert name.description == "Masked for you (redact): can be neither filtered nor sorted by."


def test_a_deprecated_version_says_so_in_its_fields(shop):
    shop.context = replace(shop.context, deprecation="deprecated, kept up until 2027-03-31: use v2")
    query = build_schema(text_of(shop)).query_type.fields
    assert query["customers"].deprecation_reason == "deprecated, kept up until 2027-03-31: use v2"
    assert query["customersByKey"].deprecation_reason == query["customers"].deprecation_reason


def test_each_view_has_its_own_schema_and_equal_views_share_one(shop):
    shop.view = DatasetView("customers", ("id", "name"))
    assert set(fields_of(shop, "Customers")) == {"id", "name", "orders"}
    shop.view = DatasetView("customers", ("id", "name"))
    text_of(shop)
    assert len(shop.application._ready) == 1
    shop.show_orders(None)
    assert set(fields_of(shop, "Customers")) == {"id", "name"}
    assert len(shop.application._ready) == 2


def test_a_new_version_of_the_same_columns_keeps_the_schema_another_one_does_not(shop):
    text_of(shop)
    (before,) = shop.application._ready.values()
    shop.customers.versions.append(shop.version(3, CUSTOMERS, ("id",), [customer(1, 3)]))
    text_of(shop)
    assert [*shop.application._ready.values()] == [before]
    wider = (*CUSTOMERS, Column("new", "date"))
    shop.customers.versions.append(shop.version(4, wider, ("id",), [(*customer(1, 4), None)]))
    shop.view = whole("customers", wider)
    assert fields_of(shop, "Customers")["new"] == "Date"
    # What was asked of the old schema is still answered, cursors of old versions go on.
    assert shop.ask("{customers {nodes {id new}}}").data["customers"]["nodes"] == [{"id": 1, "new": None}]
    assert shop.ask("{customers(asOf: {version: 3}) {nodes {id}}}").data["customers"]["nodes"] == [{"id": 1}]


def test_memory_is_bounded_however_many_views_and_documents_there_are(shop):
    for number in range(70):
        shop.view = whole(
            "customers", CUSTOMERS[: 2 + number % 14], **({"name": "null"} if number > 14 else {})
        )
        shop.view = replace(shop.view, rows=type(shop.view.rows)((shop.view.rows,) * number))
        assert shop.ask("{__typename}").status == 200
    assert len(shop.application._ready) == 64
    for number in range(300):
        shop.ask("{%s: __typename}" % f"a{number}")
    (*_, ready) = shop.application._ready.values()
    assert len(ready.documents._known) == 256


def test_names_that_graphql_cannot_say_and_names_that_meet(shop):
    columns = tuple(Column(name, "int64") for name in ("and", "a b", "a_b", "1st", "__x", "orders", "é"))
    shop.customers.versions = [shop.version(1, columns, ("a b",), [tuple(range(7))])]
    shop.view = whole("customers", columns)
    row = shop.ask(
        "{customers(where: {and_: {eq: 0}}, orderBy: [{column: _1st}]) {nodes {and_ a_b_2 a_b _1st x__x orders x}}}"
    )
    assert row.data["customers"]["nodes"] == [
        {"and_": 0, "a_b_2": 1, "a_b": 2, "_1st": 3, "x__x": 4, "orders": 5, "x": 6}
    ]
    assert shop.ask("{customersByKey(a_b_2: 1) {x}}").data["customersByKey"] == {"x": 6}


def test_a_dataset_named_like_a_type_of_ours(shop):
    shop.context = replace(shop.context, dataset="page_info")
    shop.view = whole("page_info", CUSTOMERS)
    assert shop.ask("{page_info(first: 1) {nodes {id} pageInfo {hasNextPage}}}").data["page_info"] == {
        "nodes": [{"id": 0}],
        "pageInfo": {"hasNextPage": True},
    }


def test_without_a_key_there_are_pages_only(shop):
    shop.customers.versions = [shop.version(1, CUSTOMERS, (), [customer(1, 1)])]
    assert "ByKey" not in text_of(shop)
    assert shop.ask("{customers {nodes {id}}}").data["customers"]["nodes"] == [{"id": 1}]


def test_a_key_named_like_an_argument_of_ours(shop):
    columns = (Column("asOf", "int64", nullable=False), Column("where", "string"))
    shop.customers.versions = [
        shop.version(one, columns, ("asOf",), [(7, f"version {one}")]) for one in (1, 2)
    ]
    shop.view = whole("customers", columns)
    row = shop.ask(
        "{customersByKey(asOf: 7, asOf_: {version: 1}) {where} new: customersByKey(asOf: 7) {where}}"
    ).data
    assert row == {"customersByKey": {"where": "version 1"}, "new": {"where": "version 2"}}
