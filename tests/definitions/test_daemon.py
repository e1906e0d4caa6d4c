"""A real ``dp dev``: freshness is judged, sensors react across locations, and a killed one leaves no orphan."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from definition_helpers import GOOD, write, write_orders
from dev_server import DevServer
from test_automation import write_consumer
from test_orphans import SLOW_PY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support import TestProject

pytestmark = pytest.mark.slow

RUNS = """
query Runs { runsOrError(limit: 50) { ... on Runs { results { runId status jobName tags { key value } } } } }
"""
LOCATION = """
  - python_file:
      relative_path: products/{name}/definitions.py
      location_name: {name}
      working_directory: products/{name}
"""
DEFINITIONS = "from dp_dagster import load_product\n\ndefs = load_product(__file__)\n"


def write_workspace(project: TestProject, *names: str) -> None:
    for name in names:
        write(project.root / "products" / name, {"definitions.py": DEFINITIONS})
    text = "load_from:" + "".join(LOCATION.format(name=name) for name in names)
    (project.root / "workspace.yaml").write_text(text)


@contextlib.contextmanager
def dev(project: TestProject) -> Iterator[DevServer]:
    """``dp dev`` on a project, with the project's own storage and state."""
    folder = project.root / "server"
    folder.mkdir(exist_ok=True)
    server = DevServer(folder, project=project.root)
    for name in ("DP_STORAGE", "DP_STATE_DIRECTORY"):
        del server.environment[name]
    server.storage = project.storage
    with server:
        yield server


def runs(server: DevServer, product: str) -> list[dict[str, Any]]:
    """Runs of a product's job, newest first."""
    found = server.ask(RUNS)["runsOrError"]["results"]
    return [run for run in found if run["jobName"] == f"{product}_refresh"]


def until(probe: Callable[[], bool], what: str, seconds: float = 120) -> float:
    started = time.monotonic()
    while not probe():
        assert time.monotonic() < started + seconds, f"waited {seconds} s for {what}"
        time.sleep(0.5)
    return time.monotonic() - started


def freshness(server: DevServer, key: str) -> str:
    return str(server.node(key)["freshnessStatusInfo"]["freshnessStatus"])


def total(project: TestProject) -> int:
    with duckdb.connect(str(project.storage / "report/report.duckdb"), read_only=True) as connection:
        row = connection.sql("select sum(amount) from v1.vw_total").fetchone()
    assert row is not None
    return int(row[0])


def group_of_children(server: DevServer) -> int:
    """The process group in which `dp dev` runs Dagster."""
    children = (int(status.parent.name) for status in _proc_stats() if _parent(status) == server.process.pid)
    return os.getpgid(next(children))


def _proc_stats() -> Iterator[Path]:
    from pathlib import Path

    yield from Path("/proc").glob("[0-9]*/stat")


def _parent(status: Path) -> int:
    with contextlib.suppress(OSError):
        return int(status.read_text().rpartition(")")[2].split()[1])
    return 0


def settled(server: DevServer) -> bool:
    """Whether every run has ended and the consumer has had time to notice."""
    ended = {"SUCCESS", "FAILURE", "CANCELED"}
    before = [run["status"] for name in ("orders", "report") for run in runs(server, name)]
    time.sleep(20)
    after = [run["status"] for name in ("orders", "report") for run in runs(server, name)]
    return before == after and set(after) <= ended


# Freshness windows are minutes: the shortest that Dagster judges, and it looks every 30 seconds.
@pytest.mark.timeout(1500)
def test_reaction_freshness_and_a_killed_dev_server(project: TestProject) -> None:
    orders = write_orders(project, refresh="{every: PT1M, maximum_lag: PT2M, warn_lag: PT1M}")
    write(orders, {"transforms/scored.py": SLOW_PY})
    write_consumer(project)
    broken = write_orders(project, name="broken")
    write(broken, {"contracts/orders.py": "import sys\n\nsys.exit('no licence')\n"})
    write_workspace(project, "orders", "report", "broken")
    settings = project.root / ".dp/dagster/dagster.yaml"
    with dev(project) as server:
        locations = server.wait_for_locations()
        assert "contracts/orders.py:3" in str(locations.pop("broken"))
        assert locations == {"orders": None, "report": None}
        assert settings.is_file()
        # The minute's schedule would keep the port fresh for ever: this test publishes by hand.
        stop_schedule(server, "orders", "orders_schedule")
        until(lambda: settled(server), "what the schedule began to end")
        reacted = len(runs(server, "report"))
        server.materialise("orders")
        published = time.monotonic()

        # Across locations: the consumer runs by itself, once, and shows the producer's rows.
        took = until(
            lambda: [run["status"] for run in runs(server, "report")] == ["SUCCESS"] * (reacted + 1),
            "the consumer to run",
        )
        assert took < 90
        assert total(project) == 60
        run = runs(server, "report")[0]
        assert {"key": "dp/changed", "value": "orders"} in run["tags"]

        # Fresh, then due after two minutes, then late after three. The daemon looks every 30 s.
        port = "orders/v2/port/vw_orders"
        until(lambda: freshness(server, port) == "HEALTHY", "a fresh port", 60)
        until(lambda: freshness(server, port) == "WARNING", "the warning", 200)
        assert time.monotonic() - published > 110
        until(lambda: freshness(server, port) == "DEGRADED", "the failure", 120)
        assert time.monotonic() - published > 170
        assert len(runs(server, "report")) == reacted + 1, "nothing new, so nothing ran"

        # The port alone does not make it fresh again; a publication does.
        server.materialise("orders", [port])
        time.sleep(40)
        assert freshness(server, port) == "DEGRADED"
        (orders / "data/orders.csv").write_text(GOOD + "4,dan,40\n")
        server.materialise("orders")
        until(lambda: freshness(server, port) == "HEALTHY", "a fresh port again", 90)
        until(lambda: len(runs(server, "report")) == reacted + 2, "the consumer to run again", 90)
        until(lambda: runs(server, "report")[0]["status"] == "SUCCESS", "the consumer's second run", 90)
        assert total(project) == 100

        # Everything is killed in the middle of a run.
        (orders / "transforms/wait").touch()
        killed = server.launch("orders", server.assets("orders"))
        until((orders / "transforms/waiting").exists, "the transform to run", 120)
        os.killpg(group_of_children(server), signal.SIGKILL)
        server.process.wait(60)
    (orders / "transforms/wait").unlink()

    with dev(project) as server:
        server.wait_for_locations()
        stop_schedule(server, "orders", "orders_schedule")
        server.materialise("orders")
        assert server.status(killed) == "FAILURE"
        assert total(project) == 100
        # The cursor survived: no more than the new publication has been reacted to.
        until(lambda: len(runs(server, "report")) == reacted + 3, "the consumer to run a third time", 90)
        until(lambda: runs(server, "report")[0]["status"] == "SUCCESS", "the consumer's third run", 90)


STOP = """
mutation Stop($id: String!) { stopRunningSchedule(id: $id) { __typename } }
"""
SCHEDULE = """
query Schedule($selector: ScheduleSelector!) { scheduleOrError(scheduleSelector: $selector) {
  __typename ... on Schedule { scheduleState { id status } } } }
"""


def stop_schedule(server: DevServer, location: str, name: str) -> None:
    """As an operator does in the UI. It must have been running by itself."""
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": location,
        "scheduleName": name,
    }
    state = server.ask(SCHEDULE, selector=selector)["scheduleOrError"]["scheduleState"]
    if state["status"] == "RUNNING":
        answer = server.ask(STOP, id=state["id"])["stopRunningSchedule"]
        assert answer["__typename"] == "ScheduleStateResult", answer
