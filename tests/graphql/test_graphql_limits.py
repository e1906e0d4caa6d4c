"""Queries that were made to hurt: each is refused with what is allowed, and refusing is quick."""

from __future__ import annotations

import json
import time

import pytest

DEEP = "{customers {nodes {orders {customers {orders {customers {orders {customers {orders {customers {id}}}}}}}}}}}"


def aliases(number):
    return "{customers {nodes {%s}}}" % " ".join(f"a{one}: id" for one in range(number))


def fragment_bomb(levels, width=4):
    parts = [f"fragment f{levels} on Customers {{id}}"]
    for level in range(levels):
        fields = " ".join("x%d: orders {customers {...f%d}}" % (one, level + 1) for one in range(width))
        parts.append("fragment f%d on Customers {%s}" % (level, fields))
    return "{customers {nodes {...f0}}} %s" % " ".join(parts)


def introspection_bomb(levels):
    inner = "name"
    for _ in range(levels):
        inner = "fields {type {%s}}" % inner
    return "{__schema {types {%s}}}" % inner


ATTACKS = {
    "deep": (DEEP.replace("{id}", "{orders {customers {id}}}"), "levels; 12 are allowed"),
    "many aliases": (aliases(600), "the query has 602 fields; 500 are allowed"),
    "fragment bomb": (fragment_bomb(8), "are allowed"),
    "giant bomb": (fragment_bomb(20, 6), "more than 1,000,000 fields; 500 are allowed"),
    "same field": ("{customers {nodes {%s}}}" % ("id " * 490), None),
    "same deep field": ("{%s}" % ("customers {nodes {id}} " * 160), None),
    "conflicting": (
        "{customers {nodes {%s id: name}}}" % ("id " * 400),
        "'id' is asked for as id and as name",
    ),
    "tokens": ("{%s}" % ("a " * 8_000), "5000 tokens"),
    "braces": ("{a" * 2_400, "Syntax Error"),
    "inline fragments": ("{" + "...{" * 1_200 + "__typename" + "}" * 1_201, ""),
    "lists": ("{customers(where: {id: {in: %s1%s}}) {totalCount}}" % ("[" * 2_000, "]" * 2_000), ""),
    "filters": (
        "{customers(where: %s{id: {eq: 1}}%s) {totalCount}}" % ("{not: " * 30, "}" * 30),
        "nested more than 20",
    ),
    "conditions": (
        "{customers(where: {or: [%s]}) {totalCount}}" % ("{id: {eq: 1}} " * 101),
        "where: has more than 100 conditions",
    ),
    "cycle": (
        "{customers {nodes {...a}}} fragment a on Customers {orders {customers {...a}}}",
        "Cannot spread fragment",
    ),
    "introspection": (introspection_bomb(6), "introspection"),
    "introspection twice": (introspection_bomb(14), "levels of introspection; 25 are allowed"),
    "operations": (
        " ".join(f"query q{one} {{__typename}}" for one in range(21)),
        "21 operations; 20 are allowed",
    ),
    "directives": ("{__typename %s}" % ("@include(if: true) " * 400), ""),
    "errors": ("{%s}" % " ".join(f"a{one}" for one in range(400)), None),
    "cost": (
        "{customers(first: 1000) {nodes {orders(first: 10) {number}}}}",
        "the query may cost 11,010 rows; 10,000 are allowed",
    ),
    "counts": (
        "{%s}" % " ".join(f"a{one}: customers {{totalCount}}" for one in range(99)),
        "may cost 10,890 rows",
    ),
    "wide rows": (
        "{customers(first: 1000) {nodes {%s}}}" % " ".join(f"a{one}: id" for one in range(400)),
        "may cost 17,010 rows; 10,000 are allowed",
    ),
    "related": (
        "{customers {nodes {orders(first: 1001) {number}}}}",
        "first: 1001 is not between 0 and 1,000",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused_quickly(make_shop, name):
    document, said = ATTACKS[name]
    shop = make_shop(limits={"request_bytes": 100_000})
    shop.ask("{__typename}")
    began = time.process_time()
    answer = shop.ask(document)
    assert time.process_time() - began < 0.5
    text = "\n".join(error["message"] for error in answer.json.get("errors", []))
    assert said is None or said in text
    assert len(answer.body) < 100_000
    assert shop.customers.versions[-1].calls in ([], ["page"], ["page"] * 160)


def test_limits_can_be_set(make_shop):
    assert (
        "5 levels; 4 are allowed"
        in make_shop(limits={"depth": 4}).ask("{customers {nodes {address {geo {lat}}}}}").message
    )
    shop = make_shop(limits={"fields": 4, "cost": 20})
    assert shop.ask("{customers(first: 5) {nodes {id}}}").status == 200
    assert "5 fields; 4 are allowed" in shop.ask("{customers {nodes {address {geo {lat}}}}}").message
    assert "5 fields; 4 are allowed" in shop.ask("{customers {nodes {id name vip}}}").message
    assert "may cost 21 rows; 20 are allowed" in shop.ask("{customers(first: 11) {nodes {id}}}").message
    introspection = "{__schema {types {name fields {type {ofType {ofType {name}}}}}}}"
    assert "fields; 4 are allowed" in shop.ask(introspection).message


def test_variables_nested_deeply_are_refused(shop):
    where: dict = {"id": {"eq": 1}}
    for _ in range(240):
        where = {"not": where}
    body = json.dumps(
        {
            "query": "query ($w: CustomersFilter) {customers(where: $w) {totalCount}}",
            "variables": {"w": where},
        }
    )
    answer = shop.send(body=body.encode())
    assert answer.status in (200, 400)
    assert "nested" in answer.message


def test_a_document_is_read_once(shop):
    from dp_dagster.ports.outputs.graphql import documents

    document = "query ($n: Int) {customers(first: $n) {nodes {id}}}"
    shop.ask(document, n=1)
    calls = []
    original = documents.parse
    documents.parse = lambda *args, **more: calls.append(1) or original(*args, **more)
    try:
        assert len(shop.ask(document, n=2).data["customers"]["nodes"]) == 2
        shop.ask(document + " ", n=2)
    finally:
        documents.parse = original
    assert calls == [1]
