"""Records of an API come in: every style of paging, limits that are kept, what is new, and what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from api_server import ApiShop, serve

from dp_dagster.errors import DescriptorError, InputError, OperatorError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from input_helpers import Landed

TOKEN = "hunter2-and-more"


@pytest.fixture(scope="module")
def server() -> Iterator[ApiShop]:
    shop, server = serve()
    yield shop
    server.shutdown()
    server.server_close()


@pytest.fixture
def api(server: ApiShop, monkeypatch: pytest.MonkeyPatch) -> ApiShop:
    server.records = [record(number) for number in range(1, 8)]
    server.faults, server.asked, server.token = [], [], ""
    import tenacity.nap

    waits: list[float] = []
    monkeypatch.setattr(tenacity.nap.time, "sleep", waits.append)
    server.waits = waits  # type: ignore[attr-defined]
    return server


def record(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "name": f"n{number}", "changed": f"2026-01-{number:02}T00:00:00Z", **more}


def declare(landed: Landed, api: ApiShop, path: str = "all", **options: Any) -> None:
    landed.declare({"type": "HTTP", "url": f"{api.url}/{path}", **options})


def failed(landed: Landed, error: type[Exception] = InputError) -> str:
    with pytest.raises(error) as raised:
        landed.land()
    assert "\n" not in str(raised.value)
    assert TOKEN not in str(raised.value)
    return str(raised.value)


STYLES: dict[str, dict[str, Any]] = {
    "all": {},
    "page": {"records": "items", "paging": {"by": "page"}},
    "pages": {"records": "items", "paging": {"by": "page", "param": "p", "first": 0, "total": "meta.pages"}},
    "offset": {"records": "items", "paging": {"by": "offset", "limit": 2, "total": "total"}},
    "body": {
        "method": "POST",
        "body": {"from": {"mark": 0}, "kind": "order"},
        "records": "data.rows",
        "paging": {"by": "cursor", "path": "next", "in_body": "from.mark"},
    },
    "cursor": {
        "records": "items",
        "paging": {"by": "cursor", "path": "next", "param": "mark", "more": "has_more"},
    },
    "link": {"paging": {"by": "link_header"}},
    "url": {"records": "items", "paging": {"by": "next_url", "path": "links.next"}},
}


@pytest.mark.parametrize("style", STYLES)
def test_styles_of_paging(style: str, api: ApiShop, landed: Landed) -> None:
    declare(landed, api, style, **STYLES[style])
    landed.land()
    assert landed.rows("id, name") == [(number, f"n{number}") for number in range(1, 8)]
    assert landed.land().unchanged
    api.records = api.records[:1]  # one record on one page
    landed.land()
    assert landed.rows("id") == [(1,)]
    if style == "body":
        assert all(asked.body["kind"] == "order" for asked in api.asked)


def test_types_and_nested_values(api: ApiShop, landed: Landed) -> None:
    api.records = [
        {"id": 1, "price": 1.5, "on": "2026-01-01", "tags": ["a"], "x": None},
        {"id": 2, "at": {"b": 1}},
    ]
    declare(landed, api, types={"price": "decimal(6,2)", "tags": "list<string>"})
    landed.land()
    types = {column.name: column.type for column in landed.newest.columns}
    assert types == {
        "id": "int64", "price": "decimal(6,2)", "on": "date", "tags": "list<string>", "x": "string", "at": "string"
    }  # fmt: skip
    assert landed.rows('"at", tags', "id") == [(None, ["a"]), ('{"b": 1}', None)]


# -- what is new ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["append", "merge"])
def test_only_what_is_new(mode: str, api: ApiShop, landed: Landed) -> None:
    key = {"key": ["id"]} if mode == "merge" else {}
    declare(landed, api, "link", cursor="changed", cursor_param="since", **STYLES["link"], **key)
    landed.land()
    assert landed.state == {"cursor": "2026-01-07T00:00:00Z"}
    assert landed.land().unchanged
    api.asked.clear()
    api.records += [record(8), record(9)]
    if mode == "merge":
        api.records[0] = {"id": 1, "name": "changed", "changed": "2026-01-10T00:00:00Z"}
    outcome = landed.land()
    assert all("since" in asked.query for asked in api.asked)
    assert outcome.rows_read == 3 + (mode == "merge")
    assert landed.rows("count(*), count(distinct id)") == [(9, 9)]
    assert landed.rows("name", "id")[0] == ("changed" if mode == "merge" else "n1",)
    assert landed.land().unchanged


def test_an_api_that_answers_with_what_comes_after(api: ApiShop, landed: Landed) -> None:
    declare(landed, api, cursor="id", cursor_param="after", start=2)
    landed.land()
    assert landed.rows("id") == [(number,) for number in range(3, 8)]
    assert landed.land().unchanged
    api.records.append(record(8))
    landed.land()
    assert landed.rows("id")[-1] == (8,)
    assert landed.land().unchanged


def test_records_that_show_up_late(api: ApiShop, landed: Landed) -> None:
    declare(landed, api, cursor="changed", cursor_param="since", overlap="P2D")
    landed.land()
    api.records.append(record(60, changed="2026-01-06T12:00:00Z"))
    landed.land()
    assert landed.rows("count(*), count(distinct id)") == [(8, 8)]
    assert landed.state == {"cursor": "2026-01-07T00:00:00Z"}


def test_a_field_that_is_left_out_is_no_change_and_a_new_one_is(api: ApiShop, landed: Landed) -> None:
    declare(landed, api, cursor="id", cursor_param="after")
    landed.land()
    api.records.append({"id": 8, "changed": "2026-01-08T00:00:00Z"})
    landed.land()
    assert landed.rows("name", "id")[-1] == (None,)
    api.records.append(record(9, extra=True))
    assert "column extra (bool) is new" in failed(landed)
    api.records[-1] = record(9, name=5)
    assert "column name was string and is int64 (5)" in failed(landed)
    api.records[-1] = {"id": 9, "name": "no cursor"}
    declare(landed, api, cursor="changed", cursor_param="since")
    assert "the cursor changed is null in a record" in failed(landed)
    assert len(landed.rows()) == 8


# -- limits and faults ---------------------------------------------------------------------------------------------


def test_what_passes_is_tried_again(api: ApiShop, landed: Landed) -> None:
    good = None
    api.faults = [good, "drop", (429, {"Retry-After": "7"}, {}), (503, {}, {}), good]
    declare(landed, api, "link", **STYLES["link"], watch=f"{api.url}/all")
    landed.land()
    assert len(landed.rows()) == 7
    assert 7 in api.waits  # type: ignore[attr-defined]
    assert len(landed.said) == 3
    assert "trying again in 7 s, as it asks (2 of 4)" in landed.said[1]
    assert "503 Service Unavailable; trying again (3 of 4)" in landed.said[2]


def test_a_wait_that_is_too_long_is_not_waited(api: ApiShop, landed: Landed) -> None:
    declare(landed, api, longest_wait=60)
    api.faults = [(429, {"Retry-After": "3600"}, {})]
    assert "wants to be left alone for 3600 s, longer than longest_wait (60 s)" in failed(
        landed, RetryableError
    )
    assert len(api.asked) == 1


def test_a_silent_api(api: ApiShop, landed: Landed) -> None:
    declare(landed, api, timeout=0.2, retries=1)
    api.faults = ["hang", "hang"]
    assert "no answer in 0.2 s" in failed(landed, OperatorError)
    assert len(landed.said) == 1


def test_the_last_good_version_stays(api: ApiShop, landed: Landed) -> None:
    declare(landed, api, "link", cursor="id", cursor_param="after", **STYLES["link"], retries=1)
    landed.land()
    api.records += [record(number) for number in range(8, 20)]
    api.faults = [None, None, None, None, None, None, (500, {}, "oh no"), (500, {}, "oh no")]
    assert "500 Internal Server Error: oh no" in failed(landed, OperatorError)
    assert len(landed.rows()) == 7
    landed.land()
    assert landed.rows("count(*), count(distinct id)") == [(19, 19)]


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("none", {}, '404 Not Found: {"error": "no such thing"}'),
        ("html", {}, "the answer is no JSON: <html>please log in</html>"),
        ("moved", {}, "/all (302); write that address"),
        ("page", {"records": "things", "params": {"page": 1}}, "the answer has no things; it has items"),
        ("page", {"records": "items[*].id", "params": {"page": 1}}, "holds int, not records"),
        (
            "elsewhere",
            {"records": "items", "paging": {"by": "next_url", "path": "links.next"}},
            "a page leads to http://localhost, and nothing is asked of other hosts",
        ),
    ],
)
def test_answers_that_nobody_expects(
    path: str, options: dict[str, Any], message: str, api: ApiShop, landed: Landed
) -> None:
    declare(landed, api, path, **options)
    text = failed(landed)
    assert message in text
    assert "hunter2" not in text
    assert not landed.table.exists()


def test_pace(api: ApiShop, landed: Landed) -> None:
    declare(landed, api, "link", **STYLES["link"], per_minute=1)
    landed.land()
    assert sum(0 < wait <= 60 for wait in api.waits) >= 4  # type: ignore[attr-defined]


# -- credentials ---------------------------------------------------------------------------------------------------


def test_a_token_is_never_seen(api: ApiShop, landed: Landed, monkeypatch: pytest.MonkeyPatch) -> None:
    api.token = TOKEN
    declare(landed, api, credentials={"bearer": "${API_TOKEN}"}, headers={"X-Tenant": "${TENANT}"})
    monkeypatch.setenv("TENANT", "tenant-of-the-test")
    assert "environment variable API_TOKEN is not set" in failed(landed, OperatorError)
    monkeypatch.setenv("API_TOKEN", f"wrong-{TOKEN}")
    text = failed(landed, OperatorError)
    assert "401 Unauthorized" in text
    assert "${API_TOKEN} is not known" in text
    assert landed.said == []
    monkeypatch.setenv("API_TOKEN", TOKEN)
    landed.land()
    assert api.asked[-1].headers["x-tenant"] == "tenant-of-the-test"
    assert TOKEN not in landed.everything()
    assert "tenant-of-the-test" not in landed.everything()


def test_other_ways_to_say_who_asks(api: ApiShop, landed: Landed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", TOKEN)
    monkeypatch.setenv("ANN", "ann")
    declare(landed, api, credentials={"api_key": "${KEY}", "name": "X-Key"})
    landed.land()
    assert api.asked[-1].headers["x-key"] == TOKEN
    declare(landed, api, credentials={"api_key": "${KEY}", "name": "key", "where": "query"})
    landed.land()
    assert api.asked[-1].query["key"] == TOKEN
    declare(landed, api, credentials={"user": "${ANN}", "password": "${KEY}"})
    landed.land()
    assert api.asked[-1].headers["authorization"].startswith("Basic ")
    declare(
        landed,
        api,
        credentials={"token_url": f"{api.url}/token", "client_id": "${ANN}", "client_secret": "${KEY}"},
    )
    api.token = "made-for-a-client"
    landed.land()
    (asked,) = [one for one in api.asked if one.path == "/token"][:1]
    assert asked.body["client_secret"] == [TOKEN]
    assert TOKEN not in landed.everything()


def test_literal_secrets_are_refused(landed: Landed, api: ApiShop) -> None:
    declare(landed, api, f"all?api_key={TOKEN}")
    assert "holds api_key, which may be a secret" in str(failed_to_load(landed))
    declare(landed, api, credentials={"bearer": TOKEN})
    assert "this may hold a secret" in str(failed_to_load(landed))


def failed_to_load(landed: Landed) -> str:
    with pytest.raises(DescriptorError) as raised:
        landed.land()
    assert TOKEN not in str(raised.value)
    return str(raised.value)
