"""GraphQL over HTTP: media types, status codes, methods, and what is no request at all."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dp_dagster.errors import NotPublishedError, StoreError

RESPONSE = "application/graphql-response+json"
QUERY = "{customers(first: 1) {nodes {id}}}"
DATA = {"customers": {"nodes": [{"id": 0}]}}


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, RESPONSE),
        ("*/*", RESPONSE),
        ("application/*", RESPONSE),
        (RESPONSE, RESPONSE),
        ("application/json", "application/json"),
        (f"application/json, {RESPONSE}", RESPONSE),
        (f"{RESPONSE};q=0.5, application/json;q=0.9", "application/json"),
        (f"{RESPONSE};q=0, */*", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
    ],
)
def test_the_answer_is_of_the_type_that_is_accepted(shop, accept, kind):
    headers = {"accept": accept} if accept else {}
    answer = shop.get(QUERY, headers)
    assert (answer.status, answer.data) == (200, DATA)
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    body = json.dumps({"query": QUERY}).encode()
    assert shop.send(body=body, headers=headers).headers["content-type"] == answer.headers["content-type"]


@pytest.mark.parametrize(
    "accept", ["image/png", f"{RESPONSE};q=0", "application/json;q=x", "application/json; charset=latin-1"]
)
def test_another_type_is_not_acceptable(shop, accept):
    assert shop.get(QUERY, {"accept": accept}).status == 406


def test_a_request_that_cannot_be_executed_is_400_unless_plain_json_is_spoken(shop):
    for document in (
        "{",
        "{nothing}",
        "query a {datasetVersion {version}} query b {datasetVersion {version}}",
    ):
        answer = shop.get(document, {"accept": RESPONSE})
        assert (answer.status, set(answer.json)) == (400, {"errors"})
        answer = shop.get(document, {"accept": "application/json"})
        assert (answer.status, set(answer.json)) == (200, {"errors"})


def test_get_takes_variables_and_the_name_of_an_operation(shop):
    document = "query a($n: Int) {customers(first: $n) {nodes {id}}} query b {datasetVersion {version}}"
    answer = shop.get(document, variables='{"n": 1}', operationName="a", extensions="{}")
    assert answer.data == DATA
    assert shop.get(document, operationName="c").status == 400


def test_head_and_options(shop):
    answer = shop.send("HEAD", query=b"query=%7BdatasetVersion%7Bversion%7D%7D")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0
    answer = shop.send("OPTIONS")
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, POST, OPTIONS")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods(shop, method):
    answer = shop.send(method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST, OPTIONS")


@pytest.mark.parametrize(
    "document", ["mutation {x}", "subscription {x}", "query a {__typename} mutation b {x}"]
)
def test_there_are_queries_only(shop, document):
    answer = shop.ask(document)
    assert answer.status == 400
    assert answer.message.startswith("only queries are answered: there is no ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "body: is not JSON"),
        (b"{", "body: is not JSON"),
        (b"\xff", "body: is not JSON"),
        (b"[" * 100_00, "body: is not JSON"),
        (b"5", "the body is no request"),
        (b"[]", "several requests in one are not answered"),
        (b'[{"query": "{__typename}"}]', "several requests in one are not answered"),
        (b"{}", "query: is missing"),
        (b'{"query": " "}', "query: is missing"),
        (b'{"query": 5}', "query: is missing"),
        (
            b'{"extensions": {"persistedQuery": {"version": 1}}}',
            "query: is missing; it is the document to execute, as",
        ),
        (b'{"query": "{__typename}", "variables": []}', "variables: is no object"),
        (b'{"query": "{__typename}", "operationName": 1}', "operationName: is no text"),
        (b'{"query": "{__typename}", "extensions": 1}', "extensions: is no object"),
    ],
)
def test_what_is_no_request_is_400_in_either_type(shop, body, said):
    for accept in (RESPONSE, "application/json"):
        answer = shop.send(body=body, headers={"accept": accept})
        assert (answer.status, answer.message[: len(said)]) == (400, said)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": ""},
        {"content-type": "application/json; charset=utf-16"},
        {"content-encoding": "gzip"},
    ],
)
def test_bodies_of_other_types(shop, headers):
    assert shop.send(body=b"{}", headers=headers).status == 415


def test_requests_have_a_size(make_shop):
    shop = make_shop(limits={"request_bytes": 100})
    assert shop.send(body=b" " * 101).status == 413
    assert shop.send(body=b" " * 10, headers={"content-length": "101"}).status == 413
    assert shop.get("{__typename}" + " " * 100).status == 414
    assert shop.ask("{__typename}").data == {"__typename": "Query"}


@pytest.mark.parametrize(
    "query", [b"query=%ff", b"query=%7B__typename%7D&variables=%5B", b"", b"&=&", b"\xff"]
)
def test_query_strings_that_are_no_request(shop, query):
    assert shop.send("GET", query=query).status == 400


def test_the_schema_is_a_document_and_a_page(shop):
    answer = shop.send("GET", "/schema.graphql")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert "type Customers {" in answer.body.decode()
    answer = shop.send("GET", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = answer.body.decode()
    assert "customers(first: 3)" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    assert shop.send("POST", "/schema.graphql").status == 405
    assert shop.send("GET", "/other").status == 404


def test_what_authors_wrote_cannot_break_the_page(make_shop):
    shop = make_shop()
    shop.context = replace(shop.context, description='<script>alert(1)</script>\n"""\'')
    assert "<script>" not in shop.send("GET", headers={"accept": "text/html"}).body.decode()
    assert shop.send("GET", "/schema.graphql").status == 200


def test_introspection_can_be_switched_off(make_shop):
    shop = make_shop(introspection=False)
    for document in ("{__schema {types {name}}}", '{__type(name: "Customers") {name}}'):
        assert shop.ask(document).status == 400
    assert shop.send("GET", "/schema.graphql").status == 403
    assert shop.send("GET", headers={"accept": "text/html"}).status == 403
    assert shop.ask("{customers(first: 1) {nodes {id __typename}}}").status == 200
    assert "Did you mean" not in shop.ask("{customer {nodes {id}}}").message
    assert "Did you mean" in make_shop().ask("{customer {nodes {id}}}").message


def test_introspection_tells_the_schema(shop):
    from graphql import build_client_schema, get_introspection_query, print_schema

    told = shop.ask(get_introspection_query(descriptions=True, schema_description=True)).data
    assert print_schema(build_client_schema(told)) + "\n" == shop.send("GET", "/schema.graphql").body.decode()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreError("/secret/place is broken"), "the port cannot read its data; try again later"),
        (NotPublishedError("/secret/place"), "nothing has been published yet; try again later"),
    ],
)
def test_what_cannot_be_read_is_503_and_says_nothing_of_the_inside(shop, error, said):
    shop.customers.fault = error
    answer = shop.ask(QUERY)
    assert (answer.status, answer.headers["retry-after"], answer.message) == (503, "5", said)


def test_messages_are_short_however_long_the_question_was(shop):
    answer = shop.ask("query ($n: Int) {customers(first: $n) {nodes {id}}}", n="x" * 10_000)
    assert answer.status == 400
    assert len(answer.message) == 501


def test_answers_have_a_size(make_shop):
    shop = make_shop(limits={"response_bytes": 200})
    assert shop.ask(QUERY).status == 200
    answer = shop.ask("{customers {nodes {id name email address {zip}}}}")
    assert (answer.status, answer.message) == (
        400,
        "the answer has more than 200 bytes, which are allowed; ask for less at once",
    )


def test_where_it_is_and_how_to_get_in(make_shop):
    shop = make_shop(auth="api_key")
    kind, config, context = shop.kind, shop.config, shop.context
    assert kind.path(config, context) == "/shop/v1/customers_graphql"
    assert kind.address(config, context) == "http://127.0.0.1:8700/shop/v1/customers_graphql"
    assert "X-API-Key" in kind.access(config, context)
    shell, python = kind.examples(config, context)
    assert '-H "X-API-Key: $API_KEY"' in shell.text
    assert 'headers={"X-API-Key": os.environ["API_KEY"]}' in python.text
    compile(python.text, "example", "exec")
    config = make_shop(endpoint="https://api.example.com/v1/graphql/", auth="OAuth2").config
    assert kind.path(config, context) == "/v1/graphql"
    assert kind.address(config, context) == "https://api.example.com/v1/graphql"
    older = replace(context, major=0, is_current=False)
    assert kind.address(config, older) == "https://api.example.com/v0/graphql"
    assert "'Bearer ' + os.environ" in kind.examples(config, context)[1].text


@pytest.mark.parametrize(
    "endpoint",
    [
        "ftp://a/b",
        "https://",
        "https://a:x/b",
        "https://me:secret@a/b",
        "https://a/b?c",
        "https://a",
        "https://a/b%20c",
    ],
)
def test_endpoints_that_cannot_be_served(make_shop, endpoint):
    shop = make_shop(endpoint=endpoint)
    (fault,) = shop.kind.check(shop.config, shop.context.product_root)
    assert fault.field == "endpoint"
    assert "secret" not in fault.message + fault.fix
