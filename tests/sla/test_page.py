"""The page of service levels, as a text and in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from dp_dagster.resolve.objectives import UnevaluatedLevel
from dp_dagster.sla.model import Budget, Reading
from dp_dagster.sla.page import POLICY, Section, render
from dp_dagster.sla.sparkline import sparkline
from dp_dagster.sla.store import Readings, Stretch

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
START = NOW - timedelta(days=30)
HOSTILE = "<img src=x onerror=alert(1)>\"'&"


def reading(day: int, objective: str, state: str, value: float | None, **more: object) -> Reading:
    values = {"promise": "99.9%", "unit": "share", "target": 0.999, "reason": "as measured"} | more
    at = NOW - timedelta(days=day)
    return Reading("shops", "vw_totals", objective, state, at, value=value, **values)


@pytest.fixture
def html(tmp_path: Path) -> str:
    readings = Readings(f"sqlite:///{tmp_path}/records.db")
    budget = Budget(timedelta(minutes=43.2), timedelta(minutes=20), 2.5)
    for day in range(29, -1, -1):
        bad = 10 <= day < 13
        readings.record(
            [
                reading(day, "availability", "breached" if bad else "met", 0.99 if bad else 0.9997, budget=budget),
                reading(day, "freshness", "warning" if day % 5 == 0 else "met", 3600.0 * (1 + day % 7), promise="6h",
                        unit="seconds", target=21600.0),
                reading(day, "latency_p95", "not_evaluated", None, promise=HOSTILE, target=None, unit="",
                        reason=f"nobody called {HOSTILE}"),
                reading(day, "volume", "pending", 100.0, promise="20%", target=None, unit="rows"),
            ]
        )  # fmt: skip
    readings.record(
        [reading(0, "completeness", "breached", 0.95, promise="99%", target=0.99, reason="950 of 1,000 rows")]
    )
    throughput = UnevaluatedLevel(
        "throughput", "500 MB/s", "nobody measures it", "contracts/shop.odcs.yaml:12"
    )
    section = Section(
        "shops",
        f"Shops {HOSTILE}",
        "testers",
        tuple(readings.states()),
        (("vw_totals", throughput),),
        {"vw_totals": "version 3 of 2026-03-28 06:00 UTC (1,234 rows)"},
    )
    return render([section], readings.trends(START, NOW), START, NOW)


def test_nothing_is_loaded_and_nothing_is_run(html):
    assert "<script" not in html
    assert "<img" not in html
    assert not re.search(r"""(?:src|href)\s*=|url\(|@import|https?:""", html.replace("src=x", ""))
    assert "&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;" in html
    assert "default-src 'none'" in POLICY


def test_an_empty_page_says_what_to_do():
    assert "write <code>sla:</code> in product.yaml" in render([], {}, START, NOW)


def test_a_sparkline_shows_what_was_judged():
    def stretch(day: int, **counts: int) -> Stretch:
        blank = Stretch(START + timedelta(days=day), 0, 0, 0, 0, None, None, None)
        return replace(blank, **counts)

    stretches = [
        stretch(0, met=3),
        stretch(1, breached=2),
        stretch(2, met=1, breached=1),
        stretch(3, warning=1),
        stretch(4, other=9),
    ]
    assert sparkline(stretches, START, START + timedelta(days=6), 6) == "█▁▅▅··"


@pytest.mark.slow
@pytest.mark.needs("chromium")
def test_in_a_browser(html, chromium, tmp_path):
    from playwright.sync_api import sync_playwright

    asked, said = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))

        def answer(route):
            asked.append(route.request.url)
            route.fulfill(body=html, content_type="text/html", headers={"content-security-policy": POLICY})

        page.route("**/*", answer)
        page.goto("http://sla.test/sla")
        text = page.inner_text("body")
        assert re.search(r"availability\s+vw_totals\s+99\.9%\s+99\.97 %\s+of 99\.9 %", text)
        assert "23.2 min of 43.2 min left" in text
        assert "vw_totals shows version 3 of 2026-03-28 06:00 UTC (1,234 rows)" in text
        assert re.search(r"throughput\s+vw_totals\s+500 MB/s\s+not evaluated", text)
        colours = {
            state: page.locator(f".state.{state}").last.evaluate(
                "one => getComputedStyle(one).backgroundColor"
            )
            for state in ("met", "warning", "breached", "pending", "not_evaluated")
        }
        assert len(set(colours.values())) == 5
        met, breached = page.locator("svg.trend").nth(0), page.locator("svg.trend rect.breached")
        box = met.bounding_box()
        assert (box["width"], box["height"]) == (240, 44)
        assert breached.count() == 4
        assert (
            page.locator("svg.trend").nth(0).locator("polyline.value").get_attribute("points").count(",")
            == 30
        )
        assert page.locator("svg.budget").count() == 1
        overflow = page.evaluate(
            "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        )
        assert not overflow
        page.screenshot(path=tmp_path / "sla.png", full_page=True)
        browser.close()
    assert set(asked) <= {"http://sla.test/sla", "http://sla.test/favicon.ico"}
    assert said == []
