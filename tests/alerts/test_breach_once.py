"""A breach and its end, measured and told by the real sensors of a product, however often these are evaluated."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import dagster as dg
from support import PRODUCT_YAML, SALES_CSV

from dp_dagster.alerts.store import AlertStore
from dp_dagster.definitions.build import build_definitions
from dp_dagster.definitions.run import run_product
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from receivers import WebhookReceiver
    from support import TestProject

    from dp_dagster.resolve import ResolvedProduct

# Building quietens warnings for the whole process, which only one thread at a time can do.
BUILDING = threading.Lock()

PROMISES = """\
sla: {completeness: 100%}
alerts:
  grace: PT0S
  channels: {hook: {webhook: {url: "${SHOP_HOOK}"}}}
  rules: [{on: [sla_breach, port_down], to: hook}]
"""


def product_of(project: TestProject) -> ResolvedProduct:
    return resolve(project.root / "products/shops", Settings.load(project.root))


def declare(project: TestProject, *changes: tuple[str, str]) -> Path:
    text = PRODUCT_YAML.format(product_id="shops") + PROMISES
    for old, new in (("key: [shop]", "key: [shop], quarantine: {max_invalid: 50%}"), *changes):
        assert old in text
        text = text.replace(old, new)
    return project.add_product(descriptor=text)


def evaluate(project: TestProject, instance: dg.DagsterInstance, name: str) -> None:
    """One evaluation of a sensor, as of a daemon that knows nothing of others."""
    with BUILDING:
        definitions = build_definitions(product_of(project))
    (sensor,) = [one for one in definitions.sensors or [] if one.name == name]
    with dg.build_sensor_context(instance=instance, definitions=definitions) as context:
        sensor(context)


def test_one_message_when_it_begins_and_one_when_it_is_over(
    project: TestProject, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HOOK", webhook.url)
    folder = declare(project)
    with dg.instance_for_test(temp_dir=str(project.root)) as instance:

        def run(sales: str) -> None:
            (folder / "inputs/sales.csv").write_text(sales)
            assert run_product(product_of(project), instance, lambda _: None).succeeded

        def told() -> list[str]:
            # Two daemons at the same time, and once more after them.
            with ThreadPoolExecutor(2) as daemons:
                for name in ("shops_sla", "shops_alerts"):
                    list(daemons.map(lambda _, name=name: evaluate(project, instance, name), range(2)))
            for name in ("shops_sla", "shops_alerts"):
                evaluate(project, instance, name)
            return [one["title"] for one in webhook.received]

        run(SALES_CSV)
        assert told() == []
        run(SALES_CSV + "5,NORTH,4\n")
        breached = "[error] shops: SLA breached (v1/port/vw_totals/completeness)"
        assert told() == [breached]
        assert "75" in webhook.received[0]["message"]
        run(SALES_CSV + "5,NORTH,5\n")
        assert told() == [breached], "the same breach, by another version"
        run(SALES_CSV)
        over = "[recovered] shops: recovered: SLA breached (v1/port/vw_totals/completeness)"
        assert told() == [breached, over]
    (alert,) = [
        one for one in AlertStore.of(product_of(project).settings).alerts() if one.condition == "sla_breach"
    ]
    assert alert.state == "recovered"


class Answering(BaseHTTPRequestHandler):
    """What answers every request."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_served_port_that_nobody_answers_is_down(
    project: TestProject, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setenv("SHOP_HOOK", webhook.url)
    served = (
        f"type: REST_API, auth: none, endpoint: 'http://127.0.0.1:{free_port}/shops/v1/vw_totals', dataset"
    )
    declare(
        project, ("type: SQL, dataset", served), ("sla: {completeness: 100%}", "access: [{anyone: true}]")
    )
    down = "[critical] shops: port down (v1/port/vw_totals)"
    with dg.instance_for_test(temp_dir=str(project.root)) as instance:
        assert run_product(product_of(project), instance, lambda _: None).succeeded
        for _ in range(3):
            evaluate(project, instance, "shops_alerts")
        assert [one["title"] for one in webhook.received] == [down]
        with ThreadingHTTPServer(("127.0.0.1", free_port), Answering) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            for _ in range(2):
                evaluate(project, instance, "shops_alerts")
            server.shutdown()
    over = "[recovered] shops: recovered: port down (v1/port/vw_totals)"
    assert [one["title"] for one in webhook.received] == [down, over]
