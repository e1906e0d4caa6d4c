"""A product breaches for real: the daemon notices, people are told once, through restart and failing channel."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from dev_server import DevServer
from receivers import texts
from support import SALES_CSV

from dp_dagster.alerts.store import AlertStore
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from receivers import MailReceiver, WebhookReceiver
    from support import TestProject

pytestmark = pytest.mark.slow

SETTINGS = """
alert_interval = 1
alert_retry = 1
"""
ALERTS = """\
sla: {freshness: 40s}
alerts:
  grace: PT1S
  channels:
    hook: {webhook: {url: "${SHOP_HOOK}"}}
    chat: ${SHOP_CHAT}
  to: [hook, chat, owner]
  mail_server: {host: 127.0.0.1, port: %(port)d, security: none, from: dp@example.com}
"""
WORKSPACE = """\
load_from:
  - python_file: {relative_path: definitions.py, location_name: shops, working_directory: products/shops}
  - python_module: {module_name: dp_dagster.platform_location, location_name: platform}
"""
DEFINITIONS = "from dp_dagster import load_product\n\ndefs = load_product('products/shops')\n"


@contextlib.contextmanager
def dev(project: TestProject, hook: str) -> Iterator[DevServer]:
    folder = project.root / "server"
    folder.mkdir(exist_ok=True)
    server = DevServer(folder, project=project.root)
    for name in ("DP_STORAGE", "DP_STATE_DIRECTORY"):
        del server.environment[name]
    server.environment["SHOP_HOOK"] = hook
    with server:
        assert server.wait_for_locations() == {"shops": None, "platform": None}
        yield server


def until(probe: Callable[[], bool], what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, what()
        time.sleep(0.3)


def run(server: DevServer, folder: Path, sales: str) -> str:
    (folder / "inputs/sales.csv").write_text(sales)
    return server.wait_for_run(server.launch("shops", server.assets("shops")))


def test_an_alert_and_its_recovery_reach_people_once(
    project: TestProject, webhook: WebhookReceiver, mail: MailReceiver
) -> None:
    folder = project.root / "products/shops"
    (folder / "product.yaml").write_text((folder / "product.yaml").read_text() + ALERTS % {"port": mail.port})
    settings = project.root / "dp_dagster.toml"
    settings.write_text(settings.read_text() + SETTINGS)
    (project.root / "definitions.py").write_text(DEFINITIONS)
    (project.root / "workspace.yaml").write_text(WORKSPACE)
    store = AlertStore.of(Settings.load(project.root))

    def mails() -> str:
        return "\n".join(texts(message) for message in mail.received)

    def hooks() -> str:
        return "\n".join(message["title"] + "\n" + message["message"] for message in webhook.received)

    def told() -> str:
        return f"MAIL {mails()}\nHOOK {hooks()}\nALERTS {store.alerts()}\n{store.deliveries()}"

    webhook.status = 503
    with dev(project, webhook.url) as server:
        assert run(server, folder, SALES_CSV) == "SUCCESS"
        assert run(server, folder, SALES_CSV + "5,NORTH-s3cret,4\n") == "FAILURE"
        # What belongs together is one message. The webhook fails, is tried again, and is told of by mail.
        until(lambda: "messages do not arrive: channel/hook" in mails().replace("*", ""), told)
        assert webhook.refused >= 3
    webhook.status = 200

    with dev(project, webhook.url) as server:
        # Nothing was lost, and nothing is told again. Meanwhile the data has grown old.
        until(lambda: "contract broken" in hooks(), told, 120)
        until(lambda: "SLA breached" in mails() and "SLA breached" in hooks(), told, 120)
        assert run(server, folder, SALES_CSV) == "SUCCESS"
        until(
            lambda: not [one for one in store.alerts(open_only=True) if one.condition != "sla_warning"], told
        )
        until(lambda: not store.deliveries(state="pending"), told)
        until(lambda: all("recovered: SLA breached" in one for one in (hooks(), mails())), told)
        until(lambda: all("recovered: contract broken" in one for one in (hooks(), mails())), told)

    (channel,) = [one for one in store.alerts() if one.condition == "channel_failed"]
    assert (channel.subject, channel.state) == ("channel/hook", "recovered")
    plain = "\n".join(
        str(message["subject"]) + "\n" + message.get_body(("plain",)).get_content()
        for message in mail.received
    )
    for heard in (hooks().replace("*", ""), plain):
        sections = [
            line.removesuffix(": v1/dataset/totals").removesuffix(": run")
            for line in heard.splitlines()
            if line.endswith((": v1/dataset/totals", ": run"))
        ]
        assert sorted(sections) == [
            "contract broken, nothing published",
            "recovered: contract broken, nothing published",
            "recovered: run failed",
            "run failed",
        ], heard
        assert "still the last good version of v1/port/vw_totals: version 0, published at 20" in heard
        assert "s3cret" not in heard
    assert mail.recipients[0] == ["testers@example.com"]
    # A channel without its variable is no error, and says so.
    assert not [one for one in store.deliveries() if one.channel == "chat"]
