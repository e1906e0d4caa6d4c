"""Service levels of what is served: counted when somebody calls, probed when nobody does, shown as a page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from serving_helpers import DESCRIPTOR, make_product, publish, resolved, serving

from dp_dagster.errors import UsageError
from dp_dagster.serving.server import refuse_open_ports
from dp_dagster.sla.evaluator import evaluator_for
from dp_dagster.sla.page import render, sections_of
from dp_dagster.sla.probes import last_probes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving_helpers import Running

    from dp_dagster.resolve import ResolvedProduct

SLA = "sla: {availability: 99%, error_rate: 1%, latency: {p95: 2s}}\n"


def product_of(root: Path, control: str) -> ResolvedProduct:
    make_product(root, DESCRIPTOR + SLA)
    settings = root / "dp_dagster.toml"
    settings.write_text(settings.read_text() + control)
    return resolved(root)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    product = product_of(tmp_path_factory.mktemp("watched"), '[control]\nauth = "none"\n')
    publish(product, 1)
    with serving(product) as found:
        yield found


def states(running: Running, now: datetime | None = None, **changes: object) -> dict[str, tuple[str, str]]:
    settings = running.product.settings.model_copy(
        update={"serve_url": str(running.client.base_url).rstrip("/"), **changes}
    )
    product = replace(running.product, settings=settings)
    found = evaluator_for(settings).evaluate([product], now)
    return {one.objective: (one.state, one.reason) for one in found}


def test_a_served_port_is_probed_and_counted(watched: Running) -> None:
    quiet = states(watched)
    assert quiet["availability"] == ("met", "100 % good, of 1 probe while nobody called")
    assert quiet["latency_p95"] == ("not_evaluated", "nobody called in 24 h")
    assert quiet["error_rate"] == ("not_evaluated", "nobody called in 30 d")
    path = watched.client.get("/ready").json()["ports"][0]["path"]
    for _ in range(20):
        assert watched.client.get(path).status_code == 200
    # The server writes its counts down a moment later.
    watched.wait_for(lambda: states(watched)["error_rate"][1] == "0 % of 20 answers failed")
    called = states(watched)
    assert called["availability"][1].startswith("100 % good, of 20 answers and ")
    assert called["latency_p95"][0] == "met"
    assert "95 % of 20 answers took at most" in called["latency_p95"][1]


def test_a_server_that_is_gone_is_a_port_that_is_down(watched: Running, free_port: int) -> None:
    later = datetime.now(UTC) + timedelta(hours=4)
    down = states(watched, later, serve_url=f"http://127.0.0.1:{free_port}")
    assert down["availability"][0] in {"warning", "breached"}
    settings = watched.product.settings
    probe = last_probes(evaluator_for(settings).readings)["counted", "plain"]
    assert not probe.good
    assert "does not answer" in probe.reason


def test_the_page(watched: Running) -> None:
    states(watched)
    answer = watched.client.get("/sla")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<h1>Service levels</h1>" in answer.text
    assert "latency p95" in answer.text
    assert watched.client.head("/sla").status_code == 200
    assert watched.client.post("/sla").status_code == 405
    assert watched.client.get("/sla/other").status_code == 404


def test_what_was_never_read_is_promised_all_the_same(tmp_path: Path) -> None:
    product = product_of(tmp_path, "")
    (section,) = sections_of([product], [])
    assert section.unevaluated
    assert {level.name for _, level in section.unevaluated} == {
        one.id.replace("_", " ") for port in product.ports for one in port.objectives
    }
    now = datetime.now(UTC)
    html = render([section], {}, now - timedelta(days=30), now)
    assert "Nothing is promised." not in html
    assert "nothing was read yet" in html
    assert "99%" in html


def test_nobody_sees_the_page_who_is_not_let_in(tmp_path: Path) -> None:
    product = product_of(tmp_path, '[control]\nauth = "api_key"\nroles = {sla = ["watcher"]}\n')
    publish(product, 1)
    with serving(product) as running:
        answer = running.client.get("/sla")
        assert answer.status_code == 401
        assert "Service levels" not in answer.text


def test_without_a_control_port_there_is_no_page(tmp_path: Path) -> None:
    product = product_of(tmp_path, "")
    publish(product, 1)
    with serving(product) as running:
        assert running.client.get("/sla").status_code == 404


def test_an_open_page_is_for_this_machine_alone(tmp_path: Path) -> None:
    descriptor = DESCRIPTOR.replace("auth: none", "auth: {type: none, beyond_loopback: true}")
    make_product(tmp_path, descriptor)
    settings = tmp_path / "dp_dagster.toml"
    settings.write_text(settings.read_text() + '[control]\nauth = "none"\n')
    product = resolved(tmp_path)
    refuse_open_ports([product], "127.0.0.1")
    with pytest.raises(UsageError, match="control: auth: none answers everybody"):
        refuse_open_ports([product], "0.0.0.0")
