"""``dp alerts``: what it lists, tests, takes on and looks at, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dp_dagster.alerts.kept import Round, Watcher
from dp_dagster.alerts.model import Observation
from dp_dagster.alerts.store import AlertStore
from dp_dagster.alerts.watch import telling_for
from dp_dagster.cli.app import run
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from receivers import WebhookReceiver
    from support import Processes, TestProject

HOOK = 'alerts:\n  channels:\n    hook: {webhook: {url: "${SHOP_HOOK}"}}\n    chat: ${SHOP_CHAT}\n  to: [hook, chat]\n'


@pytest.fixture
def shop(project: TestProject, monkeypatch: pytest.MonkeyPatch) -> TestProject:
    """A product with two channels, of which one is not set here."""
    path = project.root / "products/shops/product.yaml"
    path.write_text(path.read_text() + HOOK)
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.delenv("SHOP_CHAT", raising=False)
    return project


def look(project: TestProject, *wrong: str) -> None:
    """As a look at the product that found its ports down, or found nothing."""
    product = resolve(project.root / "products/shops", Settings.load(project.root))
    store = AlertStore.of(product.settings)
    now = datetime.now(UTC)
    outcome = store.commit(
        Round(
            store.watchers(["shops"]).get("shops") or Watcher("shops"),
            now,
            [
                Observation("shops", f"v1/port/{name}", "port_down", bad=True, at=now, reason="It is gone.")
                for name in wrong
            ],
            covered={"port_down"},
            unknown=(),
            cursor={},
            routes=Watcher("shops").routes,
        ),
        lambda _: telling_for("shops", product.alerts, product.settings, store),
    )
    assert outcome.committed


def test_lists_what_is_open_and_what_was(shop: TestProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alerts"]) == 0
    assert capsys.readouterr().out == "no alerts\n"
    look(shop, "vw_totals", "other")
    look(shop, "vw_totals")
    assert run(["alerts", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["subject"]: one["state"] for one in found["alerts"]} == {
        "v1/port/vw_totals": "open",
        "v1/port/other": "recovered",
    }
    assert found["not_delivered"] == []
    assert run(["alerts", "--open"]) == 0
    out = capsys.readouterr().out
    assert "port down" in out
    assert "It is gone." in out
    assert "v1/port/other" not in out
    assert run(["alerts", "list", "other", "--open"]) == 0
    assert capsys.readouterr().out == "no open alerts of other\n"


def test_takes_an_alert_on(shop: TestProject, capsys: pytest.CaptureFixture[str]) -> None:
    look(shop, "vw_totals")
    [alert] = AlertStore.of(Settings.load(shop.root)).alerts()
    assert run(["alerts", "acknowledge", "nothing"]) == 2
    assert f"names no alerts; open are {alert.id}" in capsys.readouterr().err
    assert run(["alerts", "acknowledge", alert.id[:8]]) == 0
    assert (
        f"{alert.id}: port down of shops, v1/port/vw_totals: acknowledged by user:" in capsys.readouterr().out
    )


def test_sends_a_test_on_each_channel(
    shop: TestProject,
    webhook: WebhookReceiver,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["alerts", "test", "shops"]) == 1, "no channel can be tried"
    assert capsys.readouterr().out.count("not evaluated") == 2
    monkeypatch.setenv("SHOP_HOOK", webhook.url)
    assert run(["alerts", "test", "shops"]) == 0
    out = capsys.readouterr().out
    assert "sent" in out
    assert "SHOP_CHAT" in out
    assert webhook.url not in out, "what a secret holds is never shown"
    assert [one["title"] for one in webhook.received] == ["[test] shops: messages arrive"]
    assert run(["alerts", "test", "shops", "--channel", "hok"]) == 2
    assert "hok is no channel of shops; did you mean hook?" in capsys.readouterr().err
    webhook.status = 503
    assert run(["alerts", "test", "shops", "--channel", "hook"]) == 3
    assert "refused" in capsys.readouterr().out
    assert run(["alerts", "test", "platform"]) == 1
    assert "platform has no channel" in capsys.readouterr().err
    assert AlertStore.of(Settings.load(shop.root)).alerts() == [], "a test is no alert"


@pytest.mark.slow
def test_watches_from_outside_until_it_is_stopped(
    shop: TestProject, webhook: WebhookReceiver, processes: Processes
) -> None:
    settings = shop.root / "dp_dagster.toml"
    settings.write_text(
        f'{settings.read_text()}silent_after = 0.2\n[alerts]\ngrace = "PT0S"\nto = "hook"\n'
        'channels = {hook = {webhook = {url = "${SHOP_HOOK}"}}}\n'
    )
    look(shop)
    time.sleep(0.3)
    process, log = processes.start(
        [Path(sys.executable).parent / "dp", "alerts", "watch", "--every", "1"],
        cwd=shop.root,
        env={**os.environ, "SHOP_HOOK": webhook.url},
    )
    deadline = time.monotonic() + 60
    while log.read_text().count("nothing new") < 2:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert "Traceback" not in log.read_text()
    assert len(webhook.received) == 1, "it looks again and again, and tells it once"
    assert webhook.received[0]["title"] == "[critical] data platform: no sign of life (daemon/shops)"
