"""A real ``dp dev``: freshness is judged, sensors react across locations, and a killed one leaves no orphan."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb
import pytest
from definition_helpers import GOOD, write, write_orders
from dev_server import DevServer
from test_automation import write_consumer
from test_orphans import SLOW_PY

from dp_dagster.definitions.run import open_instance
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support import TestProject

pytestmark = pytest.mark.slow

RUNS = """
query Runs { runsOrError(limit: 50) { ... on Runs { results {
  runId status jobName startTime endTime tags { key value } } } } }
"""
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
PORT = "orders/v2/port/vw_orders"
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


def until(probe: Callable[[], bool], what: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.5)


def reactions(server: DevServer) -> list[str]:
    """How the consumer's runs stand."""
    return [run["status"] for run in runs(server, "report")]


def materialised(server: DevServer, key: str) -> float:
    """When an asset was materialised last, in seconds since 1970."""
    (newest, *_) = server.node(key)["assetMaterializations"]
    return float(newest["timestamp"]) / 1000


def judged(project: TestProject, key: str) -> list[tuple[str, float]]:
    """Every change of an asset's freshness with the time that the daemon found it, in order."""
    wanted = dg.EventRecordsFilter(
        dg.DagsterEventType.FRESHNESS_STATE_CHANGE, asset_key=dg.AssetKey(key.split("/"))
    )
    with open_instance(Settings.load(project.root)) as instance:
        # The instance has methods for materialisations and observations alone.
        found = instance.event_log_storage.get_event_records(wanted, ascending=True)
    changes = [one.event_log_entry.get_dagster_event().event_specific_data for one in found]
    return [(change.new_state.value, change.state_change_timestamp) for change in changes]


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
    """Whether nothing is going on any more, and the consumer has seen what the producer published last."""
    orders, report = runs(server, "orders"), runs(server, "report")
    if "STARTED" in ticks(server) or {run["status"] for run in (*orders, *report)} - ENDED:
        return False
    return not orders or bool(report and report[0]["startTime"] > orders[0]["endTime"])


# Freshness windows are minutes: the shortest that Dagster judges.
@pytest.mark.timeout(1500)
def test_reaction_freshness_and_a_killed_dev_server(project: TestProject) -> None:
    orders = write_orders(project, refresh="{every: PT1M, maximum_lag: PT1M}")
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
        stop_schedule(server)
        until(lambda: settled(server), "what the schedule began to end")
        reacted = len(runs(server, "report"))
        server.materialise("orders")

        # Across locations: the consumer runs by itself, once, and shows the producer's rows.
        until(lambda: reactions(server) == ["SUCCESS"] * (reacted + 1), "the consumer to run")
        assert total(project) == 60
        run = runs(server, "report")[0]
        assert {"key": "dp/changed", "value": "orders"} in run["tags"]

        # Fresh, then due after a minute and a half, then late after two.
        until(lambda: freshness(server, PORT) == "DEGRADED", "the failure")
        published = materialised(server, PORT)
        states, times = zip(*judged(project, PORT)[-3:], strict=True)
        assert states == ("PASS", "WARN", "FAIL")
        assert times[1] - published >= 90
        assert times[2] - published >= 120
        assert len(runs(server, "report")) == reacted + 1, "nothing new, so nothing ran"

        # The port alone does not make it fresh again, nor does a run that is killed with everything else.
        server.materialise("orders", [PORT])
        (orders / "transforms/wait").touch()
        killed = server.launch("orders", server.assets("orders"))
        until((orders / "transforms/waiting").exists, "the transform to run")
        assert freshness(server, PORT) == "DEGRADED"
        os.killpg(group_of_children(server), signal.SIGKILL)
        server.process.wait(60)
    (orders / "transforms/wait").unlink()

    with dev(project) as server:
        server.wait_for_locations()
        stop_schedule(server)
        assert freshness(server, PORT) == "DEGRADED"
        assert total(project) == 60
        # A publication does.
        (orders / "data/orders.csv").write_text(GOOD + "4,dan,40\n")
        server.materialise("orders")
        assert server.status(killed) == "FAILURE"
        until(lambda: freshness(server, PORT) == "HEALTHY", "a fresh port again")
        # The cursor survived: no more than the new publication has been reacted to.
        until(lambda: reactions(server) == ["SUCCESS"] * (reacted + 2), "the consumer to run again")
        assert total(project) == 100


STOP = """
mutation Stop($id: String!) { stopRunningSchedule(id: $id) { __typename } }
"""
SCHEDULE = """
query Schedule($selector: ScheduleSelector!) { scheduleOrError(scheduleSelector: $selector) {
  __typename ... on Schedule { scheduleState { id status ticks(limit: 5) { status } } } } }
"""


def schedule(server: DevServer) -> dict[str, Any]:
    """The state of the producer's schedule."""
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "orders",
        "scheduleName": "orders_schedule",
    }
    state: dict[str, Any] = server.ask(SCHEDULE, selector=selector)["scheduleOrError"]["scheduleState"]
    return state


def ticks(server: DevServer) -> list[str]:
    """What became of the last ticks of the producer's schedule."""
    return [tick["status"] for tick in schedule(server)["ticks"]]


def stop_schedule(server: DevServer) -> None:
    """As an operator does in the UI. It must have been running by itself."""
    state = schedule(server)
    if state["status"] == "RUNNING":
        answer = server.ask(STOP, id=state["id"])["stopRunningSchedule"]
        assert answer["__typename"] == "ScheduleStateResult", answer
