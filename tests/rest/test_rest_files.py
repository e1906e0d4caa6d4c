"""Whole answers over HTTP: the same rows in each format, and Parquet by parts, as readers of its end ask for it."""

from __future__ import annotations

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from rest_helpers import COUNT, PRODUCT, THINGS, Shop, problem, thing

from dp_dagster.testing.asgi import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_dagster.testing.asgi import Response

ROWS = [thing(number, 1) for number in range(COUNT)]
#: What a visitor sees: names masked, the flagged rows, four columns.
SEEN = [
    {"id": row["id"], "name": "•••", "price": row["price"], "flag": row["flag"]}
    for row in ROWS
    if row["flag"]
]


def _of_arrow(table: pa.Table) -> list[dict[str, Any]]:
    """Columns that Arrow and JSON write alike, and the price by its digits."""
    return [
        {
            name: str(value) if name == "price" and value is not None else value
            for name, value in row.items()
            if name in {"id", "name", "price", "flag"}
        }
        for row in table.to_pylist()
    ]


def _of_csv(body: bytes) -> list[dict[str, Any]]:
    return [
        {
            "id": int(row["id"]),
            "name": row["name"],
            "price": row["price"] or None,
            "flag": row["flag"] == "true",
        }
        for row in csv.DictReader(io.StringIO(body.decode(), newline=""))
    ]


READERS: dict[str, Callable[[bytes], list[dict[str, Any]]]] = {
    "json": lambda body: json.loads(body)["data"],
    "ndjson": lambda body: [json.loads(line) for line in body.splitlines()],
    "csv": _of_csv,
    "arrow": lambda body: _of_arrow(pa.ipc.open_stream(body).read_all()),
    "parquet": lambda body: _of_arrow(parquet.read_table(io.BytesIO(body))),
}


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize(
    ("query", "consumer", "expected"),
    [
        ("", "owner", ROWS),
        ("&id[gte]=100&sort=-id", "owner", ROWS[:99:-1]),
        ("", "visitor", SEEN),
        (
            "&price[gt]=20&fields=id,name,price,flag",
            "visitor",
            [r for r in SEEN if float(r["price"] or 0) > 20],
        ),
        ("&id=-1", "owner", []),
    ],
)
def test_every_format_holds_the_same_rows(
    client: Client, form: str, query: str, consumer: str, expected: list[dict[str, Any]]
) -> None:
    """Exact, in order; masks and row filters are the same in each."""
    response = client.get(f"{THINGS}?format={form}&limit=all{query}", x_consumer=consumer)
    assert response.status == 200, response.body
    names = ("id", "name", "price", "flag")
    wanted = [{name: row[name] for name in names} for row in expected]
    found = READERS[form](response.body)
    assert [{name: row[name] for name in names} for row in found] == wanted
    by_accept = client.get(
        f"{THINGS}?limit=all{query}", accept=response.headers["content-type"], x_consumer=consumer
    )
    assert (by_accept.status, by_accept.body) == (200, response.body)


@pytest.fixture(params=["owner", "visitor"])
def whole(request: pytest.FixtureRequest, client: Client) -> tuple[str, Response]:
    """Parquet of all rows: the published file itself, and one made for a consumer who sees less."""
    response = client.get(f"{THINGS}?format=parquet", x_consumer=request.param)
    assert response.status == 200
    assert response.headers["accept-ranges"] == "bytes"
    return request.param, response


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-3", slice(0, 4)),
        ("bytes=4-", slice(4, None)),
        ("bytes=-8", slice(-8, None)),
        ("bytes=10-99999999", slice(10, None)),
    ],
)
def test_a_part_of_parquet(client: Client, whole: tuple[str, Response], header: str, part: slice) -> None:
    consumer, all_of_it = whole
    response = client.get(f"{THINGS}?format=parquet", x_consumer=consumer, range=header)
    assert response.status == 206
    assert response.body == all_of_it.body[part]
    start, end, _ = part.indices(len(all_of_it.body))
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/{len(all_of_it.body)}"
    assert response.headers["content-length"] == str(len(response.body))
    assert response.headers["etag"] == all_of_it.headers["etag"]


def test_parts_that_cannot_be(client: Client, whole: tuple[str, Response]) -> None:
    """Behind the end, or several at once; the size is told, so that the next request can be right."""
    consumer, all_of_it = whole
    for header in (f"bytes={len(all_of_it.body)}-", "bytes=-0", "bytes=0-1,4-5"):
        response = client.get(f"{THINGS}?format=parquet", x_consumer=consumer, range=header)
        assert response.status == 416
        assert response.headers["content-range"] == f"bytes */{len(all_of_it.body)}"
        assert problem(response)["parameter"] == "Range"


def test_going_on_in_the_middle(client: Client, whole: tuple[str, Response]) -> None:
    """Only of the same version; who has begun with another gets the whole of this one."""
    consumer, all_of_it = whole
    asked = {"x_consumer": consumer, "range": "bytes=100-"}
    same = client.get(f"{THINGS}?format=parquet", if_range=all_of_it.headers["etag"], **asked)
    assert (same.status, same.body) == (206, all_of_it.body[100:])
    for other in ('"0-file0"', f"W/{all_of_it.headers['etag']}", "Wed, 21 Oct 2015 07:28:00 GMT"):
        response = client.get(f"{THINGS}?format=parquet", if_range=other, **asked)
        assert (response.status, response.body) == (200, all_of_it.body)
    ignored = client.get(f"{THINGS}?format=parquet", x_consumer=consumer, range="rows=1-2")
    assert (ignored.status, ignored.body) == (200, all_of_it.body)


def test_the_length_comes_before_the_file(client: Client, whole: tuple[str, Response]) -> None:
    """HEAD tells it, and takes nothing for a part."""
    consumer, all_of_it = whole
    head = client.request(
        "HEAD", f"{THINGS}?format=parquet", headers={"x-consumer": consumer, "range": "bytes=0-3"}
    )
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(all_of_it.body))
    assert head.headers["accept-ranges"] == "bytes"
    known = client.get(f"{THINGS}?format=parquet", x_consumer=consumer, if_none_match=head.headers["etag"])
    assert known.status == 304


def test_parts_are_counted_as_parts(shop: Shop, client: Client) -> None:
    """Who reads a file in ten parts has not taken its rows ten times."""
    size = len(client.get(f"{THINGS}?format=parquet").body)
    shop.served.clear()
    for part in range(10):
        client.get(
            f"{THINGS}?format=parquet", range=f"bytes={part * size // 10}-{(part + 1) * size // 10 - 1}"
        )
    client.request("HEAD", f"{THINGS}?format=parquet")
    counted = [served.exchange.rows for served in shop.served if served.exchange is not None]
    assert len(counted) == 11
    assert counted[-1] == 0
    assert COUNT <= sum(counted) <= COUNT + 10


def test_files_of_several(client: Client) -> None:
    """Version 0 has two files; each is given by parts as well."""
    listed = client.get(f"{THINGS}/files?as_of=0").json()["files"]
    assert len(listed) == 2
    tables = []
    for one in listed:
        whole = client.get(one["href"])
        assert (whole.status, len(whole.body)) == (200, one["bytes"])
        end = client.get(one["href"], range="bytes=-4")
        assert (end.status, end.body) == (206, b"PAR1")
        tables.append(parquet.read_table(io.BytesIO(whole.body)))
    assert sorted(pa.concat_tables(tables)["id"].to_pylist()) == list(range(COUNT))


def test_who_leaves_an_answer_spoils_it_for_nobody(client: Client) -> None:
    """HEAD begins an answer and leaves it at once, while others begin to read the same."""

    def ask(number: int) -> Response:
        # Each turn asks what nobody asked before, so that it is not there already.
        target = f"{THINGS}?format=csv&fields=id,price&price[lt]={1000 + number // 4}"
        return client.request("HEAD" if number % 4 in {0, 2} else "GET", target)

    with ThreadPoolExecutor(4) as many:
        responses = list(many.map(ask, range(160)))
    assert {response.status for response in responses} == {200}
    assert [response.broke_off for response in responses] == [None] * len(responses)
    assert {len(response.body) for response in responses[1::2]} == {len(responses[1].body)}


def test_an_answer_that_is_too_large_is_refused_in_words(tmp_path_factory: pytest.TempPathFactory) -> None:
    """In every format, before its first byte; what fits goes out whole."""
    text = PRODUCT.replace("limits: {page_size: 100}", "limits: {page_size: 100, response_bytes: 4000}")
    made = Shop(tmp_path_factory.mktemp("small"), text)
    made.publish(0, files=2)
    with Client(made.serve()) as client:
        for form in READERS:
            for query in ("", "&id[gte]=0"):
                response = client.get(f"{THINGS}?format={form}&limit=all{query}")
                assert (response.status, response.broke_off) == (422, None), form
                assert (
                    "larger than 4,000 bytes; filter, or select fewer columns" in problem(response)["detail"]
                )
            fits = client.get(f"{THINGS}?format={form}&limit=all&fields=id&id[lt]=5")
            assert fits.status == 200
            if form == "csv":
                assert fits.text == "id\r\n0\r\n1\r\n2\r\n3\r\n4\r\n"


@pytest.mark.parametrize("form", READERS)
def test_head_takes_no_rows(shop: Shop, client: Client, form: str) -> None:
    shop.served.clear()
    head = client.request("HEAD", f"{THINGS}?format={form}&limit=all&id[lt]=50")
    assert (head.status, head.body) == (200, b"")
    exchange = shop.served[-1].exchange
    assert exchange is not None
    assert exchange.rows == 0
