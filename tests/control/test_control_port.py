"""The control port: who may use what, the audit log, the catalogue."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import sync_playwright
from system_packages import PACKAGES

from dp_dagster.access.log import Access, AccessLog
from dp_dagster.cli import main
from dp_dagster.control.catalog import catalog, search
from dp_dagster.control.config import control_config
from dp_dagster.errors import SettingsError
from dp_dagster.records import Records
from dp_dagster.settings import Settings
from dp_dagster.storage.manifest import Registration, register_consumer

AUDITOR = {"authorization": "Bearer auditor"}


@pytest.mark.parametrize(
    ("path", "roles"),
    [
        ("/metrics", "watcher"),
        ("/audit", "auditor"),
        ("/audit/verification", "auditor"),
        ("/audit/anchor", "auditor"),
        ("/catalog", "anybody"),
        ("/schemas/subjects", "anybody"),
    ],
)
def test_each_part_wants_its_role(standing, path, roles) -> None:
    assert standing.get(path, headers={"authorization": ""}).status_code == 401
    assert standing.get(path, headers={"authorization": f"Bearer {roles}"}).status_code == 200
    if roles != "anybody":
        refused = standing.get(path, headers={"authorization": "Bearer somebody_else"})
        assert refused.status_code == 403
        assert roles not in refused.text


def test_the_audit_log_by_page_filter_and_as_a_stream(control, shop) -> None:
    shop.publish("sale,shop,amount\n1,north,11\n")
    everything = control.get("/audit", headers=AUDITOR).json()
    assert everything["before"] is None
    ids = [record["id"] for record in everything["records"]]
    assert ids == sorted(ids, reverse=True)
    found, before = [], ""
    while True:
        page = control.get(f"/audit?limit=3{before}", headers=AUDITOR).json()
        found += [record["id"] for record in page["records"]]
        if page["before"] is None:
            break
        before = f"&before={page['before']}"
    assert found == ids
    published = control.get("/audit?kind=published&actor=user:ada", headers=AUDITOR).json()["records"]
    assert {record["kind"] for record in published} == {"published"}
    lines = control.get("/audit?product=shops", headers={**AUDITOR, "accept": "application/x-ndjson"}).text
    streamed = [json.loads(line) for line in lines.splitlines()]
    assert [record["id"] for record in streamed] == ids[::-1]
    assert control.get("/audit/verification", headers=AUDITOR).json() == {
        "whole": True,
        "records": len(ids),
        "head": streamed[-1]["hash"],
        "problems": [],
        "accesses": [],
    }
    assert streamed[-1]["hash"] in control.get("/audit/anchor", headers=AUDITOR).text


def test_accesses_that_were_changed_are_told(control, shop) -> None:
    """As ``dp audit verify`` tells them."""
    log = AccessLog(Records(shop.settings.resolved_records_url))
    log.record(Access(0.0, "shops", "api", "totals", 0, "ada", None, "api_key", ("shop",), 3, 200, 1.0))
    assert log.flush()
    assert control.get("/audit/verification", headers=AUDITOR).json()["whole"] is True
    with contextlib.closing(sqlite3.connect(Path(shop.settings.storage) / "records.db")) as database:
        database.execute("update dp_accesses set subject = 'bob'")
        database.commit()
    told = control.get("/audit/verification", headers=AUDITOR).json()
    assert (told["whole"], told["problems"]) == (False, [])
    (accesses,) = told["accesses"]
    assert "the first is number 0, now: bob (api_key)" in accesses


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("kind=nothing", "choices"),
        ("since=yesterday", "is no time"),
        ("since=2026-01-01", "no time zone"),
        ("limit=0", "from 1 to 10000"),
        ("limit=many", "is no number"),
        ("nonsense=1", "unknown parameter"),
    ],
)
def test_a_wrong_question_is_told(standing, query, said) -> None:
    answer = standing.get(f"/audit?{query}", headers=AUDITOR)
    assert answer.status_code == 400
    assert said in answer.json()["detail"]


def test_the_catalogue_tells_a_stranger_what_there_is(control, shop) -> None:
    register_consumer(
        shop.settings.storage,
        "shops",
        Registration("dashboards", "sold", "vw_totals", 1, "2026-01-01T00:00:00Z"),
    )
    (entry,) = control.get("/catalog").json()
    assert (entry["id"], entry["owner"]["team"], entry["domain"]) == ("shops", "testers", "testing")
    (port,) = entry["ports"]
    assert (port["version"], port["rows"], port["consumers"]) == (0, 3, ["dashboards"])
    (dataset,) = entry["datasets"]
    assert dataset["columns"][1]["description"] == "What it sold, in euros"
    assert control.get("/catalog/shops").json() == entry
    assert control.get("/catalog/nobody").status_code == 404
    hits = control.get("/catalog", params={"search": "sold euro"}).json()
    assert [hit["where"] for hit in hits] == ["shops.totals.amount"]
    assert control.get("/catalog", params={"search": "nothing of the kind"}).json() == []


def test_documents_to_download(standing) -> None:
    product = standing.get("/catalog/shops/odps")
    assert product.headers["content-disposition"].startswith("attachment")
    assert yaml.safe_load(product.text)["id"] == "shops"
    assert yaml.safe_load(standing.get("/catalog/shops/odcs/totals").text)["kind"] == "DataContract"
    assert yaml.safe_load(standing.get("/catalog/shops/odcs").text)["kind"] == "DataContract"
    assert standing.get("/catalog/shops/pdf").status_code == 404
    assert standing.get("/catalog/shops/odcs/nothing").status_code == 400


@pytest.mark.slow
@pytest.mark.needs("chromium")
def test_the_page_in_a_browser(control, shop, tmp_path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(PACKAGES["chromium"].path()), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(extra_http_headers={"authorization": "Bearer reader"})
        outside: list[str] = []
        page.on(
            "request", lambda one: outside.append(one.url) if str(control.base_url) not in one.url else None
        )
        complaints: list[str] = []
        page.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
        page.goto(f"{control.base_url}/catalog")
        assert page.get_by_role("heading", name="A small product for tests").is_visible()
        page.get_by_role("textbox").fill("shop name")
        page.get_by_role("button").click()
        assert page.get_by_text("shops.totals.shop").is_visible()
        browser.close()
    assert not outside
    assert not [one for one in complaints if "favicon" not in one and "404" not in one]


def test_the_page_shows_texts_as_texts(shop, project) -> None:
    from dp_dagster.control.catalog_page import page

    path = project.root / "products/shops/product.yaml"
    path.write_text(path.read_text().replace("Three shops and their sales.", "<script>alert(1)</script>"))
    shop.publish()
    entries = catalog(shop.settings, [shop.product])
    shown = page(entries, "<b>", None, "/control")
    assert "<script>" not in shown
    assert "&lt;b&gt;" in shown


def test_products_of_other_projects_and_refused_ones_are_listed(shop) -> None:
    entries = catalog(shop.settings, [], {"broken": "its product.yaml is refused"})
    assert [(entry.id, entry.status) for entry in entries] == [
        ("broken", "refused"),
        ("shops", "published elsewhere"),
    ]
    assert entries[1].ports[0].rows == 3
    assert [hit.where for hit in search(entries, "amount")] == ["shops.totals.amount"]
    assert search(entries, "\"' OR 1 --") == []
    assert search(entries, "") == []


def test_the_command(shop, project, monkeypatch, capsys) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("COLUMNS", "200")
    for arguments, said in (
        (["catalog"], "version 0, 3 rows"),
        (["catalog", "--search", "euros"], "shops.totals.amount"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
        assert said in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["catalog", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["id"] == "shops"


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ({}, "control.auth"),
        ({"auth": "none", "roles": {"everything": ["a"]}}, "control.roles.everything"),
        ({"auth": "none", "more": 1}, "control.more"),
    ],
)
def test_wrong_settings_are_told(tmp_path, control, said) -> None:
    with pytest.raises(SettingsError, match=said.replace(".", r"\.")):
        control_config(Settings(project_root=tmp_path, control=control))
    assert control_config(Settings(project_root=tmp_path)) is None
