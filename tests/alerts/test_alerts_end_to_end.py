"""A product breaches for real: the daemon notices, people are told once, through kill -9 and a failing channel."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dev_server import DevServer
from receivers import WebhookReceiver, texts
from support import SALES_CSV

from dp_dagster.alerts.store import AlertStore
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from receivers import MailReceiver
    from support import TestProject

pytestmark = pytest.mark.slow

SETTINGS = """
alert_interval = 1
alert_retry = 1
silent_after = 3600
[alerts]
grace = "PT1S"
channels = {ops = {webhook = {url = "${OPS_HOOK}"}}}
"""
ALERTS = """\
sla: {freshness: 40s}
alerts:
  grace: PT1S
  stuck_after: PT10S
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
MESSAGES = """
query Messages($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  ... on MessageEvent { message } } } } }
"""
DEFINITIONS = "from dp_dagster import load_product\n\ndefs = load_product('products/shops')\n"


@contextlib.contextmanager
def dev(project: TestProject, hook: str, ops: str) -> Iterator[DevServer]:
    folder = project.root / "server"
    folder.mkdir(exist_ok=True)
    server = DevServer(folder, project=project.root)
    for name in ("DP_STORAGE", "DP_STATE_DIRECTORY"):
        del server.environment[name]
    server.environment |= {"SHOP_HOOK": hook, "OPS_HOOK": ops}
    with server:
        assert server.wait_for_locations() == {"shops": None, "platform": None}
        yield server


def until(probe: Callable[[], bool], what: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, what()
        time.sleep(0.3)


def worker_of(server: DevServer, run_id: str) -> int:
    """The process that executes a run, as the run's own log names it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        said = str(server.ask(MESSAGES, id=run_id))
        if (found := re.search(r"\(pid: (\d+)\)", said)) is not None:
            return int(found.group(1))
        time.sleep(0.1)
    raise AssertionError(f"nobody executes run {run_id}: {said}")


def daemon_of(server: DevServer) -> int:
    """The daemon's process, among the descendants of the server."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"dagster._daemon" in file.read_bytes() and server.process.pid in ancestors(
                int(file.parent.name)
            ):
                return int(file.parent.name)
    raise AssertionError("there is no daemon")


def ancestors(process: int) -> Iterator[int]:
    while process > 1:
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        yield process


def of_broken(ops: WebhookReceiver) -> list[dict[str, str]]:
    """What the platform was told of the product that does not load."""
    return [one for one in ops.received if one["product"] == "broken"]


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
    # What belongs to no product's own sensor: a product that does not load. The platform tells it.
    broken = project.add_product("broken") / "product.yaml"
    broken.write_text(broken.read_text().replace("refresh_rate: daily", "refresh_rate: dayly"))
    store = AlertStore.of(Settings.load(project.root))

    def mails() -> str:
        return "\n".join(texts(message) for message in mail.received)

    def hooks() -> str:
        return "\n".join(message["title"] + "\n" + message["message"] for message in webhook.received)

    def told() -> str:
        return f"MAIL {mails()}\nHOOK {hooks()}\nALERTS {store.alerts()}\n{store.deliveries()}"

    def open_now() -> set[str]:
        return {alert.condition for alert in store.alerts(open_only=True)}

    webhook.status = 503
    with WebhookReceiver() as ops, dev(project, webhook.url, ops.url) as server:
        assert run(server, folder, SALES_CSV) == "SUCCESS"
        assert run(server, folder, SALES_CSV + "5,NORTH-s3cret,4\n") == "FAILURE"
        # What belongs together is one message. The webhook fails, is tried again, and is told of by mail.
        until(lambda: "messages do not arrive: channel/hook" in mails().replace("*", ""), told)
        assert webhook.refused >= 3
        until(lambda: bool(of_broken(ops)), told)
        # Killed while messages wait.
        os.kill(daemon_of(server), signal.SIGKILL)
    (one,) = of_broken(ops)
    assert one["title"] == "[error] broken: code location does not load (location/broken)"
    assert "dayly is no refresh rate" in one["message"]
    webhook.status = 200
    broken.write_text(broken.read_text().replace("dayly", "daily"))

    with WebhookReceiver() as ops, dev(project, webhook.url, ops.url) as server:
        # Nothing was lost, and nothing is told again. Meanwhile the data has grown old.
        until(lambda: "contract broken" in hooks(), told, 120)
        until(lambda: "SLA breached" in mails() and "SLA breached" in hooks(), told, 120)
        (folder / "inputs/sales.csv").write_text(SALES_CSV)
        stopped = server.launch("shops", server.assets("shops"))
        worker = worker_of(server, stopped)
        os.kill(worker, signal.SIGSTOP)
        until(lambda: f"run stuck**: run/{stopped[:8]}" in hooks(), told, 120)
        os.kill(worker, signal.SIGCONT)
        assert server.wait_for_run(stopped) == "SUCCESS"
        until(lambda: open_now().isdisjoint({"contract_violation", "failed_run", "stuck_run"}), told, 120)
        until(lambda: all("recovered: SLA breached" in one for one in (hooks(), mails())), told, 120)
        until(lambda: all("recovered: contract broken" in one for one in (hooks(), mails())), told, 120)
        until(lambda: f"recovered: run stuck**: run/{stopped[:8]}" in hooks(), told)
        until(lambda: bool(of_broken(ops)), told)
    (one,) = of_broken(ops)
    assert one["title"] == "[recovered] broken: recovered: code location does not load (location/broken)"

    channels = [one.state for one in store.alerts() if one.subject == "channel/hook"]
    assert channels == ["recovered"]
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
