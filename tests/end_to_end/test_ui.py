"""The Dagster UI in a real browser: the page of an output port tells a consumer everything that matters."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import duckdb
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev_server import DevServer
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.needs("chromium")]

PORT = "customer_360/v1/port/vw_customers"
#: Milliseconds that a page may take on a busy machine.
PATIENCE = 60_000


@pytest.fixture(scope="module")
def browser_page(chromium: Path, dev_server: DevServer) -> Iterator[Page]:
    """A page of headless Chromium; an error in the page's own script fails the test that opened it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The pages are our own, and Chromium's sandbox does not work for root.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 1000}, base_url=dev_server.url)
        page.set_default_timeout(PATIENCE)
        yield page
        browser.close()


@pytest.fixture(scope="module")
def overview(browser_page: Page) -> str:
    """What the port's page says, once freshness has been evaluated and shown."""
    deadline = time.monotonic() + 150
    while True:
        browser_page.goto(f"/assets/{PORT}")
        browser_page.get_by_text("favourite_product_share").first.wait_for()
        # The list of assets comes after its title.
        browser_page.wait_for_function(
            r"() => /Upstream assets\s+customer_360/.test(document.body.innerText)"
        )
        text = browser_page.inner_text("body")
        if re.search(r"Freshness policy\s+Passing", text) or time.monotonic() > deadline:
            return text
        time.sleep(5)


def test_status(overview: str) -> None:
    assert re.search(r"Freshness policy\s+Passing", overview)
    assert re.search(r"Latest materialization\s+\S", overview)
    assert re.search(r"Row count\s+\d", overview)


def test_owner(overview: str) -> None:
    assert re.search(r"Owners\s+customer-insights", overview)
    assert "customer-insights@example.com" in overview


def test_contract(overview: str) -> None:
    assert "contracts/customers.py:Customers" in overview
    assert re.search(r"key customer_id: \d+ rules that hold", overview)


def test_schema(overview: str) -> None:
    row = re.search(r"^customer_id\s(.*?)^name\s(.*?)^home_store\s", overview, re.DOTALL | re.MULTILINE)
    assert row
    key, name = row.groups()
    assert {"string", "non-nullable", "unique"} <= set(key.split())
    assert "The customer." in key
    assert "classification: pii" in name
    assert "decimal(12,2)" in overview


def test_how_to_consume(overview: str) -> None:
    assert 'dp sql "from customer_360.v1.vw_customers"' in overview


def test_the_service_level_is_said(overview: str) -> None:
    assert re.search(r"availability\s+99\.9%\s+sla\s+measured", overview)


def test_freshness_policy(overview: str) -> None:
    assert re.search(r"Fails if more than .* since last materialization", overview)
    assert re.search(r"Warns if more than .* since last materialization", overview)


def test_lineage(overview: str, browser_page: Page) -> None:
    assert re.search(r"Upstream assets\s+customer_360 / v1 / dataset / customers", overview)
    browser_page.goto(f"/assets/{PORT}?view=lineage")
    browser_page.get_by_text("Delta Lake").first.wait_for()
    graph = browser_page.inner_text("body")
    assert re.search(r"^customers$", graph, re.MULTILINE)
    assert "Not all upstream/downstream assets shown" in graph


def test_lineage_of_all_products_crosses_locations(browser_page: Page) -> None:
    browser_page.goto(
        "/assets/flights/v1/port/vw_flights?view=lineage&lineageScope=downstream&lineageDepth=2"
    )
    browser_page.get_by_text("flights_with_weather").first.wait_for()
    assert "route_punctuality" in browser_page.inner_text("body")


def test_checks_of_a_dataset(browser_page: Page) -> None:
    browser_page.goto("/assets/flights/v1/dataset/flights?view=checks&checkDetail=contract")
    browser_page.get_by_text("This is a").first.wait_for()
    browser_page.get_by_text("Latest execution").first.wait_for()
    browser_page.get_by_text("equal_plane_known").first.wait_for()
    said = browser_page.inner_text("body")
    assert re.search(r"This is a\s+blocking\s+asset check", said)
    assert "Passed" in said
    # Rules that only warn, and that the real data breaks, are seen to fail.
    assert re.search(r"equal_plane_known\s+Failed", said)


def test_a_stranger_finds_what_was_published_who_reads_it_and_what_it_is_made_from(
    browser_page: Page, dev_server: DevServer
) -> None:
    # The simulation behind customer_360 draws how many customers there are; the published file holds them.
    published = dev_server.storage / "customer_360" / "customer_360.duckdb"
    with duckdb.connect(str(published), read_only=True) as catalog:
        (rows,) = catalog.execute("select count(*) from v1.vw_customers").fetchone() or (0,)
    assert rows > 0
    browser_page.goto(f"/assets/{PORT}?view=events")
    browser_page.get_by_text("last publications").first.wait_for()
    said = browser_page.inner_text("body")
    assert re.search(rf"version 0\s+20[^\n]+\s+{rows}\s+0\s+accepted", said)
    assert "nobody has registered" in said
    browser_page.get_by_text("[Show Markdown]").last.click()
    browser_page.get_by_text("made from").first.wait_for()
    assert re.search(r"home_store\s+input/raw_stores\.name\s+aggregation", browser_page.inner_text("body"))
    browser_page.goto(f"/assets/{PORT}?view=events")
    browser_page.get_by_text("[Show Markdown]").first.click()
    browser_page.get_by_text("└─ customer_360/v1/dataset/customers").first.wait_for()


def test_policies_of_a_port(browser_page: Page) -> None:
    browser_page.goto(f"/assets/{PORT}?view=checks&checkDetail=policies")
    # That files and views show no classified column to whoever is not named is judged, too.
    browser_page.get_by_text("2 kept: classified_masked, sla_declared").first.wait_for()


def test_what_the_port_is_part_of(overview: str) -> None:
    assert re.search(
        r"Part of Customer 360 \(customer_360 \S+, active\): Every customer of the jaffle shops", overview
    )


def test_the_pictures_of_the_documents_can_be_taken_again(
    dev_server: DevServer, browser_page: Page, tmp_path: Path
) -> None:
    """Each shows what it should; what it looks like was looked at when it was made."""
    import screenshots

    browser = browser_page.context.browser
    assert browser is not None
    made = screenshots.take_all(dev_server, browser, tmp_path)
    assert {file.name for file in made} == {file.name for file in screenshots.IMAGES.glob("*.png")}
    assert all(file.stat().st_size > 20_000 for file in made)
