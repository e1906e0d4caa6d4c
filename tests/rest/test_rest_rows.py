"""Rows over HTTP: one by key, pages, counts, versions, and what is said when a request is wrong."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from rest_helpers import COUNT, PLACES, STREETS, THINGS, all_pages, problem, thing

if TYPE_CHECKING:
    from rest_helpers import Shop

    from dp_dagster.testing.asgi import Client

ROWS = [thing(number, 1) for number in range(COUNT)]


# -- one row -----------------------------------------------------------------------------------------------


def test_a_row_by_key_is_exact(client: Client) -> None:
    """Every type in the form that `dp export` describes; no digit is lost."""
    for number in (0, 1, 2, 3, 4, 249):
        response = client.get(f"{THINGS}/{number}")
        assert response.status == 200
        assert response.headers["content-type"] == "application/json"
        assert response.headers["dataset-version"] == "1"
        assert response.json() == ROWS[number]
    assert b'"secret_margin":4611686018427387905' in client.get(f"{THINGS}/1").body


def test_some_columns_of_a_row(client: Client) -> None:
    assert client.get(f"{THINGS}/7?fields=price,id").text == '{"price":"2.75","id":7}'


@pytest.mark.parametrize("number", range(len(STREETS)))
def test_a_key_of_several_columns_is_several_parts_of_the_path(client: Client, number: int) -> None:
    """Each percent-encoded, whatever it holds."""
    parts = ["X", STREETS[number], str(number)]
    response = client.get(f"{PLACES}/{'/'.join(quote(part, safe='') for part in parts)}")
    assert response.json() == {"country": "X", "street": STREETS[number], "number": number}


def test_a_row_that_is_not_there(client: Client) -> None:
    response = client.get(f"{THINGS}/1000")
    assert response.status == 404
    assert problem(response)["detail"] == "no row has that id"


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        (f"{THINGS}/x", 400, "not a whole number"),
        (f"{THINGS}/1/2", 404, f"a row is at {THINGS}/{{id}}"),
        (f"{PLACES}/X/y", 404, f"a row is at {PLACES}/{{country}}/{{street}}/{{number}}"),
        (f"{THINGS}/1?name=x", 400, "by its key alone"),
        (f"{THINGS}/1?limit=1", 400, "no meaning here"),
        (f"{THINGS}/%ff", 400, "UTF-8"),
        (f"{THINGS}/count?limit=1", 400, "no meaning here"),
        (f"{THINGS}/count?nothing=1", 400, "no such column"),
        (f"{THINGS}?nothing=1", 400, "the columns are id, name"),
        (f"{THINGS}?limit=101", 400, "1 to 100 rows"),
        (f"{THINGS}?format=xml", 400, "json, ndjson, csv, arrow, parquet"),
        (f"{THINGS}?as_of=2", 410, "leave as_of out"),
        (f"{THINGS}?as_of=2001-01-01T00:00:00Z", 410, "leave as_of out"),
        (f"{THINGS}?cursor=abc", 400, "links of a page"),
        (f"{THINGS}?fields=", 400, "no such column"),
        (f"{THINGS}?fields=id,id", 400, "name it once"),
    ],
)
def test_a_wrong_request_is_told_what_would_be_right(
    client: Client, target: str, status: int, said: str
) -> None:
    response = client.get(target)
    assert response.status == status
    found = problem(response)
    assert said in f"{found['detail']} {found.get('fix', '')}"
    assert found["type"].startswith("urn:dp-dagster:problem:")
    assert response.headers["cache-control"] == "no-store"


# -- pages ---------------------------------------------------------------------------------------------------


def test_a_page_and_its_links(client: Client) -> None:
    response = client.get(THINGS)
    page = response.json()
    assert page["data"] == ROWS[:40]
    assert page["version"] == 1
    assert page["links"]["previous"] is None
    assert 'rel="next"' in response.headers["link"]
    assert 'rel="prev"' not in response.headers["link"]
    second = client.get(page["links"]["next"]).json()
    assert second["data"] == ROWS[40:80]
    first = client.get(second["links"]["previous"]).json()
    assert first["data"] == ROWS[:40]
    assert first["links"]["previous"] is None
    assert client.get(first["links"]["next"]).json()["data"] == ROWS[40:80]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("limit=100", ROWS),
        ("limit=7&sort=-id", ROWS[::-1]),
        (
            "limit=33&flag=true&sort=name",
            sorted((r for r in ROWS if r["flag"]), key=lambda r: (r["name"], r["id"])),
        ),
        (
            "limit=9&sort=-small",
            sorted((r for r in ROWS if r["small"] is not None), key=lambda r: -r["small"])
            # The key goes the way of what is sorted by last.
            + [r for r in ROWS[::-1] if r["small"] is None],
        ),
        ("limit=100&price[null]=true", [r for r in ROWS if r["price"] is None]),
        ("limit=100&name[in]=maker 1,maker 2&id[lt]=50", [r for r in ROWS[:50] if r["id"] % 7 in (1, 2)]),
        ("limit=100&sold_at[gte]=2024-01-11T00:00:00+00:00", ROWS[240:]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pages_hold_every_row_once_in_order(client: Client, query: str, expected: list[Any]) -> None:
    assert all_pages(client, f"{THINGS}?{query.replace(' ', '%20')}") == expected


def test_pages_go_backwards_too(client: Client) -> None:
    last = f"{THINGS}?sort=-price,name&limit=60"
    pages = []
    while last:
        page = client.get(last).json()
        pages.append(page["data"])
        if page["links"]["next"] is None:
            break
        last = page["links"]["next"]
    back, previous = [page["data"]], page["links"]["previous"]
    while previous:
        page = client.get(previous).json()
        back.append(page["data"])
        previous = page["links"]["previous"]
    assert back[::-1] == pages


def test_a_cursor_belongs_to_its_query_and_view(client: Client) -> None:
    following = client.get(f"{THINGS}?sort=price&limit=3").json()["links"]["next"]
    assert client.get(following.replace("sort=price", "sort=-price")).status == 400
    assert client.get(f"{following}&flag=true").status == 400
    assert client.get(following, x_consumer="visitor").status == 400
    assert client.get(following.replace(THINGS, PLACES)).status == 400
    assert client.get(f"{following}&as_of=1").status == 400
    assert (
        client.get(following.replace("limit=3", "limit=9")).json()["data"]
        == client.get(
            following.replace("limit=3", "limit=9&fields=id,name").replace("&fields=id,name", "")
        ).json()["data"]
    )


def test_counts(client: Client) -> None:
    assert client.get(f"{THINGS}/count").json()["count"] == COUNT
    assert client.get(f"{THINGS}/count?flag=true&id[lt]=10").json()["count"] == 4
    assert client.get(f"{THINGS}/count?as_of=0").json()["version"] == 0


def test_what_was_on_show_before(client: Client) -> None:
    before = client.get(f"{THINGS}?as_of=0&limit=5")
    assert before.json()["data"] == [thing(number, 0) for number in range(5)]
    assert before.headers["dataset-version"] == "0"
    now = client.get(THINGS).json()["published_at"]
    assert client.get(f"{THINGS}/3?as_of={now.replace('+', '%2B')}").json() == thing(3, 1)
    assert client.get(f"{THINGS}/3?as_of=2999-01-01T00:00:00%2B01:00").json() == thing(3, 1)


def test_the_very_moment_of_publication(client: Client) -> None:
    """What an answer told leads back to that version, also where the next one came within the same second."""
    for version in (0, 1):
        told = client.get(f"{THINGS}?as_of={version}&limit=1").json()["published_at"]
        assert client.get(f"{THINGS}?as_of={quote(told)}").json()["version"] == version
        before = (datetime.fromisoformat(told) - timedelta(microseconds=1)).isoformat(timespec="microseconds")
        response = client.get(f"{THINGS}?as_of={quote(before)}")
        if version == 0:
            assert response.status == 410
            assert "leave as_of out" in problem(response)["fix"]
        else:
            assert response.json()["version"] == 0


def test_pages_stay_on_their_version_until_it_is_gone(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever is published meanwhile; afterwards the consumer is told how to begin again."""
    import shutil
    import time

    from rest_helpers import Shop

    from dp_dagster.testing.asgi import Client

    shop = Shop(tmp_path_factory.mktemp("shop"))
    first = shop.publish(0)
    with Client(shop.serve()) as client:
        page = client.get(f"{THINGS}?limit=90").json()
        shop.publish(1)
        deadline = time.monotonic() + 30
        while client.get(THINGS).json()["version"] != 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        following = client.get(page["links"]["next"]).json()
        assert following["version"] == 0
        assert following["data"] == [thing(number, 0) for number in range(90, 180)]
    for file in first.files:
        shutil.os.remove(file)  # type: ignore[attr-defined]
    shutil.rmtree(shop.settings.state_directory / "rows", ignore_errors=True)
    with Client(shop.serve()) as client:
        response = client.get(page["links"]["next"])
        assert response.status == 410
        assert "begin again without the cursor" in problem(response)["fix"]
        assert client.get(THINGS).status == 200


# -- what HTTP asks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [f"{THINGS}/1", f"{THINGS}?limit=2", f"{THINGS}/count", f"{THINGS}/docs"])
def test_what_has_not_changed_is_not_sent_again(client: Client, target: str) -> None:
    response = client.get(target)
    tag = response.headers["etag"]
    assert response.headers["cache-control"] == "private, no-cache"
    assert {"accept", "authorization", "x-api-key"} <= {
        name.strip().lower() for name in response.headers["vary"].split(",")
    }
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}'):
        again = client.get(target, if_none_match=known)
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == tag
    assert client.get(target, if_none_match='"other"').status == 200
    separator = "&" if "?" in target else "?"
    if not target.endswith("docs"):
        assert client.get(f"{target}{separator}as_of=0", if_none_match=tag).status == 200
    if "1" not in target and not target.endswith("count"):
        assert client.get(target, x_consumer="visitor", if_none_match=tag).status == 200


def test_a_tag_of_a_hidden_row_is_that_of_one_that_is_not_there(client: Client) -> None:
    hidden, absent = (client.get(f"{THINGS}/{number}", x_consumer="visitor") for number in (1, 1000))
    assert hidden.status == absent.status == 404
    same = {"x-request-id"}
    assert {n: v for n, v in hidden.headers.items() if n not in same} == {
        n: v for n, v in absent.headers.items() if n not in same
    }


@pytest.mark.parametrize(
    "target", [f"{THINGS}/1", THINGS, f"{THINGS}?format=csv", f"{THINGS}/count", THINGS + "/x"]
)
def test_head_is_get_without_a_body(client: Client, target: str) -> None:
    get, head = client.get(target), client.request("HEAD", target)
    assert (head.status, head.body) == (get.status, b"")
    changing = {"x-request-id", "link"}
    # What is made for the first who asks has no length yet; what was kept of it has.
    lengths = {"content-length"} if get.status != 200 or "content-length" not in get.headers else set()
    assert {n: v for n, v in head.headers.items() if n not in changing | lengths} == {
        n: v for n, v in get.headers.items() if n not in changing | lengths
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_nothing_is_changed_over_http(client: Client, method: str) -> None:
    response = client.request(method, f"{THINGS}/1", body=b"{}")
    assert response.status == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"
    assert problem(response)["fix"] == "use GET, HEAD, OPTIONS"


def test_options(client: Client) -> None:
    response = client.request("OPTIONS", THINGS)
    assert (response.status, response.headers["allow"], response.body) == (204, "GET, HEAD, OPTIONS", b"")


def test_a_row_is_json(client: Client) -> None:
    response = client.get(f"{THINGS}/1", accept="text/csv")
    assert response.status == 406
    assert problem(response)["available"] == ["application/json"]


# -- who sees less -------------------------------------------------------------------------------------------


def test_a_view_holds_everywhere(client: Client) -> None:
    """Columns, masks and rows: of rows, pages, counts, exports, documents."""
    seen = [
        {"id": row["id"], "name": "•••", "price": row["price"], "flag": True} for row in ROWS if row["flag"]
    ]
    assert all_pages(client, THINGS, x_consumer="visitor") == seen
    assert client.get(f"{THINGS}/3", x_consumer="visitor").json() == seen[1]
    assert client.get(f"{THINGS}/count", x_consumer="visitor").json()["count"] == len(seen)
    exported = client.get(f"{THINGS}?format=ndjson", x_consumer="visitor").text.splitlines()
    assert [json.loads(line) for line in exported] == seen
    for target in (THINGS, f"{THINGS}/openapi.json", f"{THINGS}/docs", f"{THINGS}?nothing=1"):
        text = client.get(target, x_consumer="visitor").text
        assert "secret_margin" not in text
        assert "maker" not in text
    for target in (f"{THINGS}/files", f"{THINGS}/files/0.parquet"):
        assert client.get(target, x_consumer="visitor").status == 403


@pytest.mark.parametrize("query", ["name=maker 1", "name[null]=true", "sort=name", "sort=-name"])
def test_a_masked_column_is_not_asked_about(client: Client, query: str) -> None:
    for target in (THINGS, f"{THINGS}/count") if "sort" not in query else (THINGS,):
        response = client.get(f"{target}?{quote(query, safe='=[]-')}", x_consumer="visitor")
        assert response.status == 403
        assert "name is masked for you" in problem(response)["detail"]
        assert "maker" not in response.text


def test_who_is_granted_nothing_is_denied(client: Client) -> None:
    assert client.get(PLACES, x_consumer="visitor").status == 403


def test_what_is_written_down(shop: Shop, client: Client) -> None:
    """Version, rows and columns, also of exports and counts."""
    for target, rows, columns in (
        (f"{THINGS}/5?fields=id", 1, {"id"}),
        (f"{THINGS}?limit=3&fields=name&sort=price&flag=true", 3, {"name", "price", "flag"}),
        (f"{THINGS}?format=csv&id[lt]=10", 10, {"id", "secret_margin"}),
        (f"{THINGS}?format=parquet", COUNT, {"id", "secret_margin"}),
        (f"{THINGS}/count?price[null]=true", 0, {"price"}),
    ):
        shop.served.clear()
        assert client.get(target).status == 200
        exchange = shop.served[-1].exchange
        assert exchange is not None
        assert (exchange.version, exchange.rows) == (1, rows), target
        assert columns <= set(exchange.columns)
