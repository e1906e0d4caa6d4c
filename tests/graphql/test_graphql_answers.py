"""Rows, pages, filters and versions over GraphQL."""

from __future__ import annotations

from dataclasses import replace

import pytest
from graphql_shop import CUSTOMERS, customer, whole

from dp_dagster.predicates.model import Condition


def ids(answer):
    return [row["id"] for row in answer.data["customers"]["nodes"]]


def test_values_have_the_form_that_they_have_everywhere(shop):
    fields = "id name score spent since seen local vip photo small tags odd_name"
    found = shop.ask(
        "{customers(first: 2) {nodes {%s address {zip geo {lat lon}} counts {key value} moves {to at}}}}"
        % fields
    ).data["customers"]["nodes"]
    assert found[1] == {
        "id": 1,
        "name": "name 1",
        "score": 0.5,
        "spent": "1.50",
        "since": "2024-02-29",
        "seen": "2024-02-29T23:59:59.000005+00:00",
        "local": "2024-02-29T00:00:00.000000",
        "vip": False,
        "photo": "01ff",
        "small": -1,
        "tags": ["a", None],
        "odd_name": "odd",
        "address": {"zip": "z1", "geo": {"lat": 1.5, "lon": 2.5}},
        "counts": [{"key": "k", "value": 2}],
        "moves": [{"to": "x", "at": "2024-01-01"}],
    }


@pytest.mark.parametrize("first", [2, 4])
def test_rows_that_are_answered_as_texts_say_the_same(shop, first):
    """A selection that is the form of values already is not taken apart; but for NaN, which the third row has."""
    fields = "id name score spent since seen local vip photo small"
    whole = shop.ask("{customers(first: %d) {nodes {%s}}}" % (first, fields))
    parts = shop.ask("{customers(first: %d) {nodes {%s last: id}}}" % (first, fields))
    made = parts.json["data"]["customers"]["nodes"]
    rows = [{key: row[key] for key in fields.split()} for row in made]
    assert whole.json["data"]["customers"]["nodes"] == rows
    codes = [[error["extensions"]["code"] for error in one.json.get("errors", ())] for one in (whole, parts)]
    assert codes[0] == codes[1] == (["NOT_FINITE"] if first > 2 else [])


def test_fields_come_in_the_order_in_which_they_were_asked(shop):
    document = (
        "{b: customers(first: 1) {version nodes {name __typename id address {z: zip __typename}}} __typename}"
    )
    answer = shop.ask(document)
    assert answer.body.startswith(
        b'{"data":{"b":{"version":2,"nodes":[{"name":"name 0","__typename":"Customers","id":0,"address":'
        b'{"z":"z0","__typename":"CustomersAddress"}}]},"__typename":"Query"}'
    )


@pytest.mark.parametrize("fields", ["id", "__typename", "a: id b: id", "id id", "orders {number}"])
def test_selections_of_one_field_and_of_the_same_field_twice(shop, fields):
    (row, _) = shop.ask("{customers(first: 2) {nodes {%s}}}" % fields).data["customers"]["nodes"]
    wanted = {"id": {"id": 0}, "__typename": {"__typename": "Customers"}, "a: id b: id": {"a": 0, "b": 0}}
    orders = {"orders": [{"number": number} for number in (0, 5, 10, 15)]}
    assert row == wanted.get(fields, orders if "orders" in fields else {"id": 0})


def test_numbers_that_json_lacks_are_null_with_an_error(shop):
    answer = shop.ask("{customers {nodes {id score address {geo {lon}}}}}").json
    assert [row["score"] for row in answer["data"]["customers"]["nodes"]] == [0, 0.5, None, 1.5, 2, 2.5]
    assert [error["message"].partition(":")[0] for error in answer["errors"]] == ["score", "address"]
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"NOT_FINITE"}


FILTERS = {
    "id: {eq: 3}": [3],
    'id: {eq: "3"}': [3],
    "id: {in: [1, 2, 9]}": [1, 2],
    "id: {in: []}": [],
    "id: {gte: 1, lt: 3}": [1, 2],
    "id: {not_in: [0, 1]}": [2, 3, 4, 5],
    'name: {starts_with: "name"}': [0, 1, 3, 4, 5],
    'name: {contains: "e 4"}': [4],
    'spent: {gt: "4.49"}': [4, 5],
    "spent: {gt: 4.49}": [4, 5],
    'since: {eq: "2024-02-29"}, small: {lte: -4}': [4, 5],
    'seen: {gt: "2024-02-29T23:59:59Z"}': [0, 1, 3, 4, 5],
    'local: {eq: "2024-02-29T00:00:00"}': [0, 1, 3, 4, 5],
    'photo: {eq: "04ff"}': [4],
    "vip: {eq: true}": [0, 4],
    "vip: {is_null: true}": [2],
    "address: {is_null: false}": [0, 1, 3, 4, 5],
    "or: [{id: {eq: 1}}, {id: {eq: 4}}]": [1, 4],
    "or: []": [],
    "and: [{id: {gt: 1}}, {not: {id: {eq: 3}}}]": [2, 4, 5],
    "not: {or: [{id: {lt: 4}}, {name: {eq: null}}]}": None,
    "": [0, 1, 2, 3, 4, 5],
}


@pytest.mark.parametrize("where", [where for where, wanted in FILTERS.items() if wanted is not None])
def test_filters(shop, where):
    answer = shop.ask("{customers(where: {%s}) {totalCount nodes {id}}}" % where)
    assert ids(answer) == FILTERS[where]
    assert answer.data["customers"]["totalCount"] == len(FILTERS[where])


def test_filters_may_be_variables(shop):
    document = """query ($where: CustomersFilter!, $ids: [Long!]) {
      customers(where: {and: [$where, {id: {in: $ids}}]}) {nodes {id}}}"""
    assert ids(shop.ask(document, ids=[1, "3", 4], where={"not": {"id": {"eq": 1}}})) == [3, 4]
    document = "query ($where: CustomersFilter) {customers(where: $where) {nodes {id}}}"
    assert ids(shop.ask(document, where={"or": [{"id": {"eq": 2}}, {"name": {"ends_with": "5"}}]})) == [2, 5]
    assert ids(shop.ask(document, where=None)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("name: {eq: null}", "where.name.eq: is null, and nothing compares with null; write {is_null: true}"),
        ("name: null", "where.name: is null; write {is_null: true}"),
        ("and: null", "where.and: is null; give a list"),
        ("not: null", "where.not: is null; give a filter"),
        ('since: {eq: "yesterday"}', "where.since.eq: 'yesterday' is not a date"),
        ("small: {eq: 40000}", "where.small.eq: 40000 is out of the range of int16"),
        ('photo: {eq: "xyz"}', "where.photo.eq: "),
        ('local: {eq: "2024-02-29T00:00:00Z"}', "where.local.eq: "),
    ],
)
def test_a_filter_that_cannot_be_is_refused_with_its_place(shop, where, said):
    answer = shop.ask("{customers(where: {%s}) {nodes {id}}}" % where)
    assert answer.message.startswith(said)
    assert answer.json["data"] == {"customers": None}


def test_sorting(shop):
    document = (
        "{customers(orderBy: [{column: vip, direction: DESC}, {column: name, direction: DESC}]) {nodes {id}}}"
    )
    assert ids(shop.ask(document)) == [4, 0, 5, 3, 1, 2]
    said = shop.ask("{customers(orderBy: [{column: id}, {column: id}]) {nodes {id}}}").message
    assert said == "orderBy: id is named twice; name it once"


@pytest.mark.parametrize("size", [1, 2, 4, 6, 7])
def test_pages_forward_and_backward_give_every_row_once(shop, size):
    document = """query ($first: Int, $after: String, $last: Int, $before: String) {
      customers(first: $first, after: $after, last: $last, before: $before, orderBy: [{column: vip}]) {
        edges {cursor node {id}} pageInfo {hasNextPage hasPreviousPage startCursor endCursor}}}"""
    every = [1, 3, 5, 0, 4, 2]

    def walk(step, cursor, more, end):
        found, given = [], {step: size}
        while True:
            page = shop.ask(document, **given).data["customers"]
            rows = [edge["node"]["id"] for edge in page["edges"]]
            found = found + rows if step == "first" else rows + found
            info = page["pageInfo"]
            assert [info["startCursor"] is None, info["endCursor"] is None] == [not rows, not rows]
            if not info[more]:
                return found
            given[cursor] = info[end]

    assert walk("first", "after", "hasNextPage", "endCursor") == every
    assert walk("last", "before", "hasPreviousPage", "startCursor") == every
    edges = shop.ask(document, first=6).data["customers"]["edges"]
    for place, edge in enumerate(edges):
        page = shop.ask(document, first=1, after=edge["cursor"]).data["customers"]
        assert [one["node"]["id"] for one in page["edges"]] == every[place + 1 : place + 2]
        assert page["pageInfo"]["hasPreviousPage"] is True


def test_cursors_stay_on_their_version(shop):
    document = "query ($after: String) {customers(first: 1, after: $after) {version nodes {id} pageInfo {endCursor}}}"
    cursor = shop.ask(document).data["customers"]["pageInfo"]["endCursor"]
    shop.customers.versions.append(shop.version(3, CUSTOMERS, ("id",), [customer(7, 3)]))
    page = shop.ask(document, after=cursor).data["customers"]
    assert (page["version"], page["nodes"]) == (2, [{"id": 1}])
    assert shop.ask(document).data["customers"]["version"] == 3
    del shop.customers.versions[1]
    answer = shop.ask(document, after=cursor)
    assert answer.message == "version 2 is not kept; ask for the newest"
    assert answer.json["errors"][0]["extensions"] == {"code": "VERSION_GONE"}


def test_cursors_of_another_query_view_or_hand_are_refused(shop):
    document = "{customers(first: 1, where: {id: {gt: 0}}) {pageInfo {endCursor}}}"
    cursor = shop.ask(document).data["customers"]["pageInfo"]["endCursor"]
    ask = "query ($after: String) {customers(after: $after, where: {id: {gt: %s}}) {nodes {id}}}"
    assert ids(shop.ask(ask % 0, after=cursor)) == [2, 3, 4, 5]
    refused = "after: is no cursor of these rows"
    assert shop.ask(ask % 1, after=cursor).message.startswith(refused)
    for forged in ("", "x", cursor[:-1], cursor.swapcase(), "é", "A" * 10_000):
        assert shop.ask(ask % 0, after=forged).message.startswith(refused)
    shop.view = whole("customers", CUSTOMERS, email="redact")
    assert shop.ask(ask % 0, after=cursor).message.startswith(refused)
    shop.view = whole("customers", CUSTOMERS)
    said = shop.ask(
        "{customers(after: %s, asOf: {version: 1}, where: {id: {gt: 0}}) {nodes {id}}}" % f'"{cursor}"'
    )
    assert said.message.startswith("asOf: the cursor is of another version")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("first: 1, last: 1", "first and last exclude each other"),
        ("first: -1", "first: -1 is not between 0 and 1,000"),
        ("first: 1001", "first: 1001 is not between 0 and 1,000; ask for further rows by their cursor"),
        ("last: -1", "last: -1 is not between"),
        ('after: "x", before: "y"', "after and before exclude each other"),
        ('first: 1, before: "y"', "before goes with last"),
        ('last: 1, after: "y"', "after goes with first"),
        ("asOf: {}", "asOf: give either version or time"),
        ('asOf: {version: 1, time: "2024-01-01T00:00:00Z"}', "asOf: give either version or time"),
        ('asOf: {time: "2024-01-01"}', "asOf.time: "),
        ("asOf: {version: 9}", "version 9 is not kept"),
    ],
)
def test_arguments_that_cannot_be(shop, arguments, said):
    assert shop.ask("{customers(%s) {nodes {id}}}" % arguments).message.startswith(said)


def test_versions(shop):
    document = """{one: customers(first: 2, asOf: {version: 1}) {version publishedAt nodes {counts {value}}}
      time: customers(first: 1, asOf: {time: "2024-01-02T23:00:00Z"}) {version}
      newest: customersByKey(id: 1) {counts {value}} old: customersByKey(id: 1, asOf: {version: 1}) {counts {value}}
      datasetVersion {version publishedAt dataset __typename}}"""
    answer = shop.ask(document)
    assert answer.data["one"]["version"] == answer.data["time"]["version"] == 1
    assert answer.data["one"]["publishedAt"] == "2024-01-02T00:00:00.000000+00:00"
    assert answer.data["one"]["nodes"][0] == {"counts": [{"value": 1}]}
    assert (answer.data["newest"], answer.data["old"]) == (
        {"counts": [{"value": 2}]},
        {"counts": [{"value": 1}]},
    )
    assert answer.data["datasetVersion"] == {
        "version": 2,
        "publishedAt": "2024-01-03T00:00:00.000000+00:00",
        "dataset": "customers",
        "__typename": "DatasetVersion",
    }
    assert answer.json["extensions"] == {"versions": {"customers": [1, 2]}}


def test_an_older_version_with_fewer_columns_or_with_nulls_says_so(shop):
    names = [column.name for column in CUSTOMERS]
    older = tuple(column for column in CUSTOMERS if column.name != "vip")
    row = [value for name, value in zip(names, customer(1, 0), strict=True) if name != "vip"]
    shop.customers.versions.insert(0, shop.version(0, older, ("id",), [row]))
    assert ids(shop.ask("{customers(asOf: {version: 0}) {nodes {id}}}")) == [1]
    said = shop.ask("{customers(asOf: {version: 0}) {nodes {id vip}}}").message
    assert said == "version 0 has no vip; ask for other fields, or for a newer version"
    loose = tuple(with_nulls(column) for column in CUSTOMERS)
    shop.customers.versions.insert(0, shop.version(-1, loose, ("id",), [(1, *[None] * 15)]))
    said = shop.ask("{customers(asOf: {version: -1}) {nodes {id name}}}").message
    assert said.startswith("version -1 of customers has rows without name, which the contract allowed then")


def with_nulls(column):
    return replace(column, nullable=True)


def test_one_row_by_its_key(shop):
    document = 'query ($id: Long!) {customersByKey(id: $id) {name} none: customersByKey(id: "77") {name}}'
    assert shop.ask(document, id=3).data == {"customersByKey": {"name": "name 3"}, "none": None}
    assert shop.ask("{customersByKey {name}}").status == 400
    assert shop.ask('{customersByKey(id: "x") {name}}').status == 400


def test_counts_are_made_only_when_asked(shop):
    (version,) = shop.customers.versions[1:]
    shop.ask("{customers {nodes {id}}}")
    assert version.calls == ["page"]
    shop.ask("{customers {totalCount}}")
    assert version.calls == ["page", "count"]
    shop.ask("{customers {totalCount @skip(if: true) version}}")
    assert version.calls == ["page", "count"]
    assert shop.ask("{customers(first: 0) {nodes {id} edges {node {id}}}}").data == {
        "customers": {"nodes": [], "edges": []}
    }


def test_rows_that_a_view_hides_are_not_there(shop):
    shop.view = type(shop.view)("customers", ("id", "name"), rows=Condition("id", "gt", 3))
    answer = shop.ask("{customers {totalCount nodes {id}} customersByKey(id: 1) {id}}")
    assert answer.data["customers"] == {"totalCount": 2, "nodes": [{"id": 4}, {"id": 5}]}
    assert answer.data["customersByKey"] is None
    assert "email" not in shop.send("GET", "/schema.graphql").body.decode()
    unknown = shop.ask("{customers {nodes {nothing}}}").message.replace("nothing", "email")
    assert shop.ask("{customers {nodes {email}}}").message == unknown


def test_masked_columns_show_the_mask_and_can_be_asked_for_in_no_other_way(shop):
    shop.view = whole("customers", CUSTOMERS, email="redact")
    assert shop.ask("{customers(first: 1) {nodes {email}}}").data["customers"]["nodes"] == [{"email": "•••"}]
    refused = "email is masked for you: it can be neither filtered nor sorted by"
    for condition in ('{eq: "x"}', "{is_null: true}", '"x"', "true", "[]"):
        answer = shop.ask("{customers(where: {not: {email: %s}}) {totalCount}}" % condition)
        assert (answer.status, refused in answer.message) == (400, True)
    document = "query ($where: CustomersFilter) {customers(where: $where) {totalCount}}"
    for condition in ({"eq": "x"}, "x", 1, []):
        answer = shop.ask(document, where={"email": condition})
        assert (answer.status, answer.message) == (400, refused)
    assert refused in shop.ask("{customers(orderBy: {column: email}) {nodes {id}}}").message
    assert shop.customers.versions[-1].calls == ["page"]


def test_what_was_read_is_told_to_the_shell(shop):
    exchange = shop.ask(
        "{customers(first: 2, where: {vip: {is_null: false}}) {nodes {name orders {amount}}}}"
    ).exchange
    assert exchange.version == 2
    assert exchange.rows == 2 + 8
    assert exchange.columns == ("vip", "id", "name", "orders.amount")
