"""Random queries: graphql-core's own executor, an oracle, says the same; and nothing that is asked breaks the port."""

from __future__ import annotations

import json
import random

import pytest
from graphql import (
    GraphQLObjectType,
    execute_sync,
    get_named_type,
    parse,
    specified_rules,
    validate,
)
from graphql_shop import Shop, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import nodes, queries

from dp_dagster.ports.outputs.graphql.names import field_names, type_name

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, versions):
    made = Shop(tmp_path_factory.mktemp("shop"), versions)
    made.ask("{__typename}")
    return made


def schema_of(shop):
    (ready,) = shop.application._ready.values()
    return ready.schema.graphql


USED = "a: __typename @skip(if: $yes) b: __typename @skip(if: $no)"


class Writer:
    """Writes random selections: aliases, fragments of both sorts, repeated fields, ``@skip`` and ``@include``."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.fragments: list[str] = []
        self.left = 60

    def selection(self, kind, depth):
        chosen = [self.field(kind, depth) for _ in range(self.random.randint(1, 5))]
        return "{" + " ".join(chosen) + "}"

    def field(self, kind, depth):
        self.left -= 1
        among = self.random.random()
        if among < 0.1:
            return f"{self.alias()}__typename {self.switch()}"
        if among < 0.25 and depth > 0:
            condition = self.random.choice(["", f"on {kind.name} "])
            return f"... {condition}{self.switch()} {self.selection(kind, depth - 1)}"
        if among < 0.4 and depth > 0:
            inner = self.selection(kind, depth - 1)
            self.fragments.append(f"fragment f{len(self.fragments)} on {kind.name} {inner}")
            return f"...f{len(self.fragments) - 1} {self.switch()}"
        may_nest = depth > 0 and self.left > 0
        names = [
            name
            for name, field in kind.fields.items()
            # No cursor is ever written twice in the same way; the oracle's rows end with the orders.
            if "ursor" not in name
            and (kind.name, name) != ("Orders", "customers")
            and (may_nest or not isinstance(get_named_type(field.type), GraphQLObjectType))
        ]
        if not names:
            return "__typename"
        name = self.random.choice(names)
        inner = get_named_type(kind.fields[name].type)
        below = self.selection(inner, depth - 1) if isinstance(inner, GraphQLObjectType) else ""
        return f"{self.alias(name)}{name} {self.switch()} {below}"

    def alias(self, name="t"):
        return self.random.choice(["", "", f"{name}_{self.random.randint(0, 1)}: "])

    def switch(self):
        return self.random.choice(
            ["", "", "", "@skip(if: $yes)", "@include(if: $yes)", "@include(if: $no)", "@skip(if: true)"]
        )


@SETTINGS
@given(st.integers(0, 2**32))
def test_an_answer_is_what_graphql_core_makes_of_the_same_rows(shop, seed):
    schema = schema_of(shop)
    everything = shop.ask(EVERYTHING).json["data"]
    kind = get_named_type(schema.query_type.fields["customers"].type)
    writer = Writer(seed)
    body = writer.selection(kind, 6)
    document = " ".join(
        [
            "query ($yes: Boolean!, $no: Boolean!) {%s customers(first: 4) %s}" % (USED, body),
            *writer.fragments,
        ]
    )
    errors = validate(schema, parse(document), specified_rules)
    answer = shop.send(body=json.dumps({"query": document, "variables": {"yes": True, "no": False}}).encode())
    if errors:
        assert answer.status == 400, (document, [error.message for error in errors])
        return
    if answer.status == 400:
        assert "are allowed" in answer.json["errors"][0]["message"], (document, answer.body)
        return
    told = execute_sync(
        schema, parse(document), root_value=everything, variable_values={"yes": True, "no": False}
    )
    assert told.errors is None
    # As text: the order of the fields counts, too.
    assert json.dumps(answer.json["data"]) == json.dumps(told.data), document


ROW = """id name email score spent since seen local vip photo small tags odd_name address {zip geo {lat lon}}
  counts {key value} moves {to at}"""
EVERYTHING = """{customers(first: 4) {version publishedAt totalCount pageInfo {hasNextPage hasPreviousPage}
  edges {node {%s orders {number customer amount}}} nodes {%s orders {number customer amount}}}}""" % (
    ROW,
    ROW,
)

TEXT = st.text(max_size=20) | st.sampled_from(
    ["2024-01-01", "2024-01-01T00:00:00Z", "00ff", "1.50", "' or 1=1 --", "\0"]
)
SCALARS = {
    "Long": st.integers(-(2**70), 2**70).map(nodes.Int) | TEXT.map(nodes.String),
    "Decimal": st.floats(allow_nan=False, allow_infinity=False).map(nodes.Float) | TEXT.map(nodes.String),
    **{
        name: TEXT.map(nodes.String)
        for name in ("Date", "DateTime", "LocalDateTime", "Bytes", "Customers_email_masked")
    },
}


@pytest.fixture(scope="module")
def masked_shop(tmp_path_factory, versions):
    made = Shop(tmp_path_factory.mktemp("masked"), versions)
    made.view = whole("customers", made.context.contract.columns, email="redact")
    return made


def test_random_queries_of_the_schema_break_nothing(masked_shop):
    text = masked_shop.send("GET", "/schema.graphql").body.decode()

    @SETTINGS
    @given(queries(text, custom_scalars=SCALARS))
    def run(document):
        answer = masked_shop.ask(document)
        assert answer.status in (200, 400)
        assert answer.json.keys() <= {"data", "errors", "extensions"}
        assert "data" in answer.json or answer.json["errors"]

    run()


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
PIECES = [
    "{",
    "}",
    "(",
    ")",
    "...",
    "customers",
    "nodes",
    "id",
    "where:",
    "eq:",
    "$a",
    '"',
    '"""',
    "[",
    "]",
    "on",
    "#",
    ":",
    "query",
    "fragment",
    "@skip",
    "é",
    "\0",
    "1e400",
    "-",
    "null",
    "&",
]


@SETTINGS
@given(
    st.lists(st.sampled_from(PIECES), max_size=30).map(" ".join) | st.text(max_size=50),
    ANY_JSON,
    st.sampled_from(["POST", "GET"]),
)
def test_random_documents_and_variables_break_nothing(shop, document, variables, method):
    body = json.dumps({"query": document, "variables": variables}).encode()
    answer = shop.send(body=body) if method == "POST" else shop.get(document, variables=json.dumps(variables))
    assert answer.status in (200, 400)
    document = """query ($w: CustomersFilter, $o: [CustomersOrder!], $a: AsOf, $n: Int, $c: String) {
      customers(where: $w, orderBy: $o, asOf: $a, first: $n, after: $c) {totalCount}}"""
    for name in "woanc":
        assert shop.ask(document, **{name: variables}).status in (200, 400)


@SETTINGS
@given(
    st.binary(max_size=200),
    st.dictionaries(
        st.sampled_from(["accept", "content-type", "content-length", "x"]),
        st.text(st.characters(codec="latin-1"), max_size=30),
    ),
)
def test_random_bytes_break_nothing(shop, body, headers):
    encodable = {name: value for name, value in headers.items() if value.isascii()}
    for method in ("POST", "GET", "HEAD"):
        assert shop.send(method, body=body, query=body, headers=encodable).status < 500


@given(
    st.lists(st.text(max_size=6) | st.sampled_from(["a b", "a_b", "a_b_2", "__x", "1", "and", "true", "é"]))
)
def test_names_are_what_graphql_can_say_each_another_and_plain_ones_themselves(names):
    found = field_names(names)
    assert set(found) == set(names)
    assert len(set(found.values())) == len(found)
    for name, said in found.items():
        assert said.isascii()
        assert said.isidentifier()
        assert not said.startswith("__")
        assert said not in {"and", "or", "not", "true", "false", "null"}
        if (
            name.isascii()
            and name.isidentifier()
            and not name.startswith("__")
            and name not in {"and", "or", "not", "true", "false", "null"}
        ):
            assert said == name
    assert field_names(list(found)) == found


def test_names_of_types():
    assert type_name("customers", "Filter") == "CustomersFilter"
    assert type_name("top_10", "") == "Top10"
    assert type_name("10 é") == "T10"
    assert type_name("é") == "Dataset"
