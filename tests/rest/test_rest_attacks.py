"""What nobody should ask: every parameter and header with what looks like SQL, and with noise.

Whatever it is, the answer is rows, or a problem document that says what is wrong; never more rows than a value that
matches nothing, never a word of an engine, never an error of the server.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_from_bytes, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_helpers import COUNT, PLACES, THINGS, problem, thing

from dp_dagster.ports.outputs.rest.asking import OPERATOR_NAMES, OPTIONS

if TYPE_CHECKING:
    from rest_helpers import Shop

    from dp_dagster.testing.asgi import Client, Response

INJECTIONS = (
    "' or '1'='1",
    "' or 1=1 --",
    "1 or 1=1",
    "1; drop table rows; --",
    "1) union select secret_margin, name, 1 from rows --",
    "' union select name from rows where '1'='1",
    "(select count(*) from rows)",
    "id); attach 'x.db' as x; --",
    '"id" desc, (select 1/0)',
    "case when 1=1 then id else name end",
    "0x31 /* */",
    "%' or name like '%",
    "\\' or 1=1 --",
    "1' || pg_sleep(10) || '",
    "read_csv('/etc/passwd')",
    "$1 ? :id",
    "\u02bc or 1=1",
)
#: What only an engine would say.
ENGINE_WORDS = (
    "syntax",
    "sqlite",
    "duckdb",
    "binder error",
    "parser error",
    "catalog",
    "traceback",
)
COLUMNS = tuple(thing(0))
EVERY_SIMPLE = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def harmless(response: Response, asked: str) -> None:
    """It is an answer, or a problem that does not repeat more than what was said."""
    assert response.status < 500, (asked, response.body)
    assert response.broke_off is None, asked
    if response.status >= 400:
        said = problem(response)
        detail = f"{said['detail']} {said.get('fix', '')}".lower()
        # A message may quote the value that is wrong, so what is asked is taken out of it.
        for word in ENGINE_WORDS:
            assert word not in detail.replace(asked.lower(), ""), (asked, said)


@pytest.mark.parametrize("injection", INJECTIONS)
def test_sql_in_a_filter_is_a_value(client: Client, injection: str) -> None:
    """Of every column, with every operator: rows that hold this text (there are none), or a refusal."""
    for column in COLUMNS:
        for operator in OPERATOR_NAMES:
            asked = urlencode({f"{column}[{operator}]": injection})
            response = client.get(f"{THINGS}?{asked}&limit=all")
            harmless(response, injection)
            if response.status == 200:
                assert column == "name", (column, operator)
                expected = [
                    row
                    for row in (thing(number, 1) for number in range(COUNT))
                    if _holds(row, operator, injection)
                ]
                assert response.json()["data"] == expected
            count = client.get(f"{THINGS}/count?{asked}")
            assert count.status == response.status
    assert client.get(f"{THINGS}/count").json()["count"] == COUNT


def _holds(row: dict[str, Any], operator: str, text: str) -> bool:
    name: str = row["name"]
    parts = text.split(",")
    return {
        "eq": name == text,
        "ne": name != text,
        "lt": name < text,
        "lte": name <= text,
        "gt": name > text,
        "gte": name >= text,
        "in": name in parts,
        "not_in": name not in parts,
        "contains": text in name,
        "starts_with": name.startswith(text),
        "ends_with": name.endswith(text),
    }[operator]


@pytest.mark.parametrize("injection", INJECTIONS)
def test_sql_in_any_other_place_is_refused(client: Client, injection: str) -> None:
    """As a column, an option, a part of the path."""
    encoded = quote(injection, safe="")
    places = [
        *(f"{THINGS}?{option}={encoded}" for option in OPTIONS),
        f"{THINGS}?{encoded}=1",
        f"{THINGS}?{encoded}[gte]=1",
        f"{THINGS}?id[{encoded}]=1",
        f"{THINGS}?sort=id,{encoded}",
        f"{THINGS}?fields=id,{encoded}",
        f"{THINGS}/count?{encoded}=1",
        f"{THINGS}/{encoded}",
        f"{THINGS}/files/{encoded}",
        f"{THINGS}/files?as_of={encoded}",
        f"{PLACES}/{encoded}/{encoded}/{encoded}",
    ]
    for place in places:
        response = client.get(place)
        assert 400 <= response.status < 500, (place, response.body)
        harmless(response, injection)
    # Texts of a key are texts: there is no such place.
    assert client.get(f"{PLACES}/{encoded}/{encoded}/1").status == 404


@pytest.mark.parametrize("injection", INJECTIONS)
def test_sql_in_a_header_changes_nothing(shop: Shop, client: Client, injection: str) -> None:
    text = injection.encode("ascii", "replace").decode()
    whole = client.get(f"{THINGS}/3")
    for name in (
        "accept-language",
        "if-none-match",
        "if-range",
        "range",
        "x-request-id",
        "user-agent",
        "cookie",
    ):
        response = client.request("GET", f"{THINGS}/3", headers={name: text})
        assert (response.status, response.body) == (200, whole.body), name
    harmless(client.request("GET", f"{THINGS}/3", headers={"accept": text}), injection)


# -- noise -------------------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.sampled_from([*COLUMNS, *OPTIONS, *INJECTIONS, "all", "-1", "1e9", "NaN", "inf", "null", "true", ""]),
    st.text(max_size=12),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.datetimes().map(lambda value: value.isoformat()),
)
NAMES = st.one_of(
    st.sampled_from([*OPTIONS, *COLUMNS]),
    st.builds("{}[{}]".format, st.sampled_from(COLUMNS), st.sampled_from([*OPERATOR_NAMES, "x", ""])),
    st.text(max_size=8),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["accept", "range", "if-range", "if-none-match", "accept-encoding", "x-request-id", "cookie"]
    ),
    st.one_of(
        st.sampled_from(
            ["*/*", "text/csv;q=0.1, */*;q=x", "bytes=0-", "bytes=-5", "bytes=9-2", 'W/"1-"', "gzip;q=NaN"]
        ),
        st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30),
    ),
    max_size=3,
)
PATHS = st.one_of(
    st.sampled_from(
        ["", "/", "/count", "/files", "/files/0.parquet", "/docs", "/openapi.json", "/3", "/%2e%2e", "//"]
    ),
    st.lists(st.binary(max_size=6).map(quote_from_bytes), max_size=3).map(
        lambda parts: "/" + "/".join(parts)
    ),
)


REQUESTS = st.fixed_dictionaries(
    {
        "path": PATHS,
        "query": st.lists(st.tuples(NAMES, TEXTS), max_size=4),
        "headers": HEADERS,
        "method": st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "DELETE", "OPTIONS", "TRACE"]),
        "consumer": st.sampled_from(["owner", "visitor"]),
    }
)


@EVERY_SIMPLE
@given(request=REQUESTS)
def test_any_request_has_an_answer(client: Client, request: dict[str, Any]) -> None:
    method, consumer = request["method"], request["consumer"]
    asked = urlencode(request["query"], errors="replace")
    target = f"{THINGS}{request['path']}?{asked}"
    response = client.request(method, target, headers={**request["headers"], "x-consumer": consumer})
    assert response.status < 500, response.body
    assert response.broke_off is None
    if response.status >= 400 and method != "HEAD":
        problem(response)
    if consumer == "visitor":
        # Names are masked and margins are hidden, whatever is asked.
        assert b"maker" not in response.body
        assert b"4611686018427" not in response.body
    if response.status == 200 and response.headers["content-type"] == "application/json" and method == "GET":
        json.loads(response.body)


@EVERY_SIMPLE
@given(data=st.data())
def test_any_cursor_is_read_or_refused(client: Client, data: st.DataObject) -> None:
    """Whole ones of another query, broken ones, and noise: nobody gets to a place that they were not led to."""
    sort = data.draw(st.sampled_from(["id", "-price", "name,-id"]))
    page = client.get(f"{THINGS}?sort={sort}&limit=3").json()
    cursor = page["links"]["next"].partition("cursor=")[2]
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    kind = data.draw(st.sampled_from(["changed", "cut", "noise", "other query", "other consumer"]))
    consumer, other = "owner", sort
    if kind == "changed":
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    elif kind == "noise":
        raw = bytearray(data.draw(st.binary(max_size=200)))
    elif kind == "other query":
        other = "-id"
    else:
        consumer, other = "visitor", "id"
    text = quote(base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("="))
    response = client.get(f"{THINGS}?sort={other}&cursor={text}", x_consumer=consumer)
    assert response.status == 400, response.body
    assert problem(response)["parameter"] == "cursor"
