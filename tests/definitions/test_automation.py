"""What starts a product by itself: schedules, the interval sensor, the sensor that notices change; and lag."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from definition_helpers import GOOD, INPUT, PORT, checks, materializations, resolved, run, write, write_orders

from dp_dagster import load_product
from dp_dagster.definitions import automation
from dp_dagster.definitions.build import build_definitions

if TYPE_CHECKING:
    from pathlib import Path

    from support import TestProject

CONSUMER = """\
api_version: dp_dagster/v1
product_id: report
name: Report
version: 1.0.0
domain: sales
owner: {team: reports}
description: Reads orders.
refresh_rate: {every: real-time, maximum_lag: PT1H, warn_lag: PT10M}
input_ports:
  - {name: orders, type: PRODUCT, port: orders.vw_orders@2}
transforms:
  - {name: total, type: SQL, path: transforms/total.sql}
datasets:
  - {name: total, from: total, contract: "contracts/total.py:Total", key: [customer]}
output_ports:
  - {name: vw_total, type: SQL, dataset: total}
"""
CONSUMER_PORT = dg.AssetKey(["report", "v1", "port", "vw_total"])
TOTAL = '''\
"""Totals."""

import pandera.polars as pa


class Total(pa.DataFrameModel):
    """Totals."""

    customer: str = pa.Field(unique=True)
    amount: int = pa.Field(ge=0)
'''


def write_consumer(project: TestProject) -> Path:
    folder = project.root / "products" / "report"
    write(
        folder,
        {
            "product.yaml": CONSUMER,
            "transforms/total.sql": "select customer, sum(amount)::bigint as amount from orders group by customer",
            "contracts/total.py": TOTAL,
        },
    )
    return folder


class Ticks:
    """A sensor, ticked as the daemon does: its cursor is kept, its run requests are collected."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder, self.instance = folder, instance
        self.cursor: str | None = None
        self.keys: list[str] = []

    def tick(self) -> dg.SensorResult | dg.SkipReason:
        # Loaded anew each time, as after a restart: only the cursor is carried over.
        definitions = load_product(self.folder)
        sensor = next(iter(definitions.sensors or []))
        assert isinstance(sensor, dg.SensorDefinition)
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, definitions=definitions
        ) as context:
            outcome = sensor(context)
            if isinstance(outcome, dg.SkipReason):
                return outcome
            assert isinstance(outcome, dg.SensorResult)
            self.cursor = outcome.cursor
            self.keys += [request.run_key or "" for request in outcome.run_requests or []]
            for event in outcome.asset_events:
                self.instance.report_runless_asset_event(event)
        return outcome

    def requests(self) -> int:
        outcome = self.tick()
        return len(outcome.run_requests or []) if isinstance(outcome, dg.SensorResult) else 0

    def skip_reason(self) -> str:
        outcome = self.tick()
        reason = outcome if isinstance(outcome, dg.SkipReason) else outcome.skip_reason
        assert reason is not None
        assert not isinstance(outcome, dg.SensorResult) or not outcome.run_requests
        return str(reason.skip_message)


def age(path: Path, by: timedelta) -> None:
    """Make a file look as if it had been changed so long ago."""
    then = time.time() - by.total_seconds()
    os.utime(path, (then, then))


# -- schedules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refresh", "cron", "timezone"),
    [
        ("hourly", "0 * * * *", "UTC"),
        ("daily", "0 0 * * *", "UTC"),
        ("weekly", "0 0 * * 1", "UTC"),
        ('"30 6 * * 1-5"', "30 6 * * 1-5", "UTC"),
        ("{every: daily, timezone: Europe/Berlin}", "0 0 * * *", "Europe/Berlin"),
        ("PT30M", "*/30 * * * *", "UTC"),
    ],
)
def test_calendar_rates_are_schedules_that_run(
    project: TestProject, refresh: str, cron: str, timezone: str
) -> None:
    definitions = load_product(write_orders(project, refresh=refresh))
    schedules = list(definitions.schedules or [])
    assert len(schedules) == 1
    schedule = schedules[0]
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.cron_schedule, schedule.execution_timezone) == (cron, timezone)
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == "orders_refresh"
    # Nothing but what measures the promises.
    assert [one.name for one in definitions.sensors or []] == ["orders_sla", "orders_alerts"]


def test_a_schedule_is_due_in_its_time_zone(project: TestProject) -> None:
    folder = write_orders(project, refresh='{every: "0 6 * * *", timezone: Europe/Berlin}')
    schedule = next(iter(load_product(folder).schedules or []))
    assert isinstance(schedule, dg.ScheduleDefinition)
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 7, 1, 4, tzinfo=UTC))
    tick = schedule.evaluate_tick(context)
    assert len(tick.run_requests or []) == 1


def add_port(folder: Path, *ports: str) -> None:
    text = (folder / "product.yaml").read_text()
    (folder / "product.yaml").write_text(text + "".join(f"  - {port}\n" for port in ports))


def test_ports_that_are_due_at_the_same_time_share_a_schedule(project: TestProject) -> None:
    folder = write_orders(project, refresh="daily")
    add_port(
        folder,
        "{name: vw_strict, type: SQL, dataset: orders, refresh_rate: {every: daily, maximum_lag: PT2H}}",
        "{name: vw_hourly, type: SQL, dataset: orders, refresh_rate: hourly}",
    )
    definitions = load_product(folder)
    crons = {
        s.name: s.cron_schedule for s in definitions.schedules or [] if isinstance(s, dg.ScheduleDefinition)
    }
    assert crons == {"orders_schedule_1": "0 0 * * *", "orders_schedule_2": "0 * * * *"}


def test_the_job_refreshes_all_of_the_product_and_nothing_else(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    write_orders(project)
    write_orders(project, name="others")
    from dp_dagster import load_products

    definitions = load_products(project.root / "products")
    product = resolved(project.root / "products/orders")
    job = definitions.resolve_job_def(automation.refresh_job(product).name)
    keys = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
    assert len(keys) == 6
    assert {key.split("/")[0] for key in keys} == {"orders"}
    assert job.tags["dp/product"] == "orders"


# -- intervals ---------------------------------------------------------------------------------------------


def test_an_interval_that_no_cron_expression_says_is_counted(
    project: TestProject, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_orders(project, refresh="PT45M")
    definitions = load_product(folder)
    assert not definitions.schedules
    ticks = Ticks(folder, instance)
    now = 45 * 60 * 1000.0
    monkeypatch.setattr(automation.time, "time", lambda: now)
    assert ticks.requests() == 1
    assert "due again at" in ticks.skip_reason()
    now += 44 * 60
    assert ticks.requests() == 0
    now += 60
    assert ticks.requests() == 1
    assert len(set(ticks.keys)) == 2


# -- change: files -----------------------------------------------------------------------------------------


def test_files_that_are_new_or_changed_trigger_one_run_each(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project, refresh="real-time")
    ticks = Ticks(folder, instance)
    assert ticks.requests() == 1
    assert ticks.skip_reason() == "nothing new at any input port"
    assert ticks.requests() == 0
    (folder / "data/orders.csv").write_text(GOOD + "4,dan,40\n")
    assert ticks.requests() == 1
    assert ticks.requests() == 0
    (folder / "data/orders.csv").write_text(GOOD)
    os.utime(folder / "data/orders.csv", (1, 1))
    assert ticks.requests() == 1, "an older file is something else to read, too"
    assert ticks.requests() == 0
    assert len(set(ticks.keys)) == 3, "Dagster takes a key only once"


def test_what_was_run_by_hand_is_not_run_again(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project, refresh="real-time")
    assert run(folder, instance).success
    ticks = Ticks(folder, instance)
    assert ticks.requests() == 0
    (folder / "data/orders.csv").write_text(GOOD + "4,dan,40\n")
    assert run(folder, instance).success
    assert ticks.skip_reason() == "the ports show the newest of every input port"
    (folder / "data/orders.csv").write_text(GOOD + "4,dan,41\n")
    assert ticks.requests() == 1


def test_a_file_more_behind_a_pattern_triggers(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project, refresh="real-time")
    text = (folder / "product.yaml").read_text().replace("path: data/orders.csv", 'path: "data/*.csv"')
    write(folder, {"product.yaml": text})
    ticks = Ticks(folder, instance)
    assert ticks.requests() == 1
    (folder / "data/more.csv").write_text("order_id,customer,amount\n9,eve,1\n")
    assert ticks.requests() == 1
    assert ticks.requests() == 0


def test_a_file_that_is_missing_is_waited_for(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project, refresh="real-time")
    (folder / "data/orders.csv").unlink()
    ticks = Ticks(folder, instance)
    assert "orders/input/orders: no file at data/orders.csv" in ticks.skip_reason()
    (folder / "data/orders.csv").write_text(GOOD)
    assert ticks.requests() == 1
    assert run(folder, instance).success
    (folder / "data/orders.csv").unlink()
    assert "no file at data/orders.csv" in ticks.skip_reason()
    (folder / "data/orders.csv").write_text(GOOD + "4,dan,40\n")
    assert ticks.requests() == 1


def test_a_request_says_which_input_changed(project: TestProject, instance: dg.DagsterInstance) -> None:
    ticks = Ticks(write_orders(project, refresh="real-time"), instance)
    outcome = ticks.tick()
    assert isinstance(outcome, dg.SensorResult)
    assert [request.tags["dp/changed"] for request in outcome.run_requests or []] == ["orders"]


def test_the_sensor_runs_from_the_start(project: TestProject) -> None:
    definitions = load_product(write_orders(project, refresh="real-time"))
    sensor = next(iter(definitions.sensors or []))
    assert isinstance(sensor, dg.SensorDefinition)
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.job_name == "orders_refresh"
    assert not definitions.schedules


# -- change: other products --------------------------------------------------------------------------------


def test_a_publication_of_another_product_triggers(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    producer, consumer = write_orders(project), write_consumer(project)
    ticks = Ticks(consumer, instance)
    assert "product orders has published nothing" in ticks.skip_reason()
    # The producer runs in a Dagster of its own: only what it published is seen.
    with dg.DagsterInstance.ephemeral() as elsewhere:
        assert run(producer, elsewhere).success
        assert ticks.requests() == 1
        assert ticks.requests() == 0
        assert run(producer, elsewhere).success
        assert ticks.requests() == 1
        write_orders(project, data="order_id,customer,amount\n1,NOBODY,1\n")
        assert not run(producer, elsewhere).success
        assert ticks.requests() == 0, "what was held is no publication"


def test_the_consumer_depends_on_the_port_and_declares_nothing_about_it(project: TestProject) -> None:
    write_orders(project)
    consumer = build_definitions(resolved(write_consumer(project)))
    # Not resolved: Dagster would add an asset of its own for each key that is depended on.
    declared = [spec for asset in consumer.assets or [] for spec in getattr(asset, "specs", [asset])]
    specs = {spec.key: spec for spec in declared}
    assert PORT not in specs
    assert [dep.asset_key for dep in specs[dg.AssetKey(["report", "input", "orders"])].deps] == [PORT]


def test_the_version_of_the_upstream_is_recorded(project: TestProject, instance: dg.DagsterInstance) -> None:
    producer, consumer = write_orders(project), write_consumer(project)
    published = materializations(run(producer, instance))[PORT]["version"]
    found = materializations(run(consumer, instance))
    dataset = dg.AssetKey(["report", "v1", "dataset", "total"])
    assert found[dataset]["made from"]["orders"]["version"] == published
    assert found[dataset]["made from"]["orders"]["product"] == "orders"


# -- lag ---------------------------------------------------------------------------------------------------


def lag_states(instance: dg.DagsterInstance, key: dg.AssetKey) -> list[tuple[bool, str]]:
    """All results of the lag check so far, oldest first."""
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(key, "lag"), limit=20
    )
    found = []
    for record in reversed(records):
        assert record.event is not None
        evaluation = record.event.asset_check_evaluation
        assert evaluation is not None
        found.append((evaluation.passed, evaluation.severity.value))
    return found


def test_lag_of_a_product_behind_another_one(project: TestProject, instance: dg.DagsterInstance) -> None:
    producer, consumer = write_orders(project), write_consumer(project)
    assert run(producer, instance).success
    result = run(consumer, instance)
    assert checks(result)[CONSUMER_PORT, "lag"].passed
    ticks = Ticks(consumer, instance)
    ticks.tick()
    assert run(producer, instance).success
    ticks.tick()
    # The publication is seconds old: behind, and well within what is allowed.
    assert lag_states(instance, CONSUMER_PORT) == [(True, "WARN")]


def test_lag_warns_fails_and_recovers_and_speaks_only_of_changes(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project, refresh="{every: real-time, maximum_lag: PT1H, warn_lag: PT10M}")
    data = folder / "data/orders.csv"
    result = run(folder, instance)
    assert result.success
    assert checks(result)[PORT, "lag"].passed
    ticks = Ticks(folder, instance)
    states = [(True, "WARN")]
    ticks.tick()
    assert lag_states(instance, PORT) == states

    data.write_text(GOOD + "4,dan,40\n")
    for ago, state in ((5, None), (20, (False, "WARN")), (21, None), (90, (False, "ERROR")), (95, None)):
        age(data, timedelta(minutes=ago))
        ticks.tick()
        states += [state] if state else []
        assert lag_states(instance, PORT) == states, f"{ago} minutes"

    result = run(folder, instance)
    states.append((True, "WARN"))
    assert checks(result)[PORT, "lag"].passed
    assert lag_states(instance, PORT) == states
    ticks.tick()
    assert lag_states(instance, PORT)[-1][0]
    before = lag_states(instance, PORT)
    ticks.tick()
    assert lag_states(instance, PORT) == before


def test_a_quiet_source_never_lags(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project, refresh="real-time")
    age(folder / "data/orders.csv", timedelta(days=300))
    assert run(folder, instance).success
    ticks = Ticks(folder, instance)
    ticks.tick()
    ticks.tick()
    assert lag_states(instance, PORT) == [(True, "WARN")]


def test_what_was_never_published_does_not_lag(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project, refresh="real-time")
    age(folder / "data/orders.csv", timedelta(days=300))
    ticks = Ticks(folder, instance)
    assert ticks.requests() == 1
    assert lag_states(instance, PORT) == []


def test_lag_that_cannot_be_measured_warns_and_stops_nothing(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    folder = write_orders(project, refresh="real-time")
    assert run(folder, instance).success
    (folder / "data/orders.csv").unlink()
    ticks = Ticks(folder, instance)
    assert "no file at" in ticks.skip_reason()
    assert lag_states(instance, PORT) == [(True, "WARN"), (False, "WARN")]
    result = run(folder, instance, [PORT])
    assert result.success
    lag = checks(result)[PORT, "lag"]
    assert not lag.passed
    assert "no file at" in str(lag.metadata["not evaluated"].value)
    (folder / "data/orders.csv").write_text(GOOD)


def test_the_cursor_is_readable(project: TestProject, instance: dg.DagsterInstance) -> None:
    ticks = Ticks(write_orders(project, refresh="real-time"), instance)
    ticks.tick()
    state = json.loads(ticks.cursor or "")
    assert list(state["inputs"]) == ["orders"]
    assert state["number"] == 1


def test_keys_are_stable(project: TestProject) -> None:
    assert INPUT.to_user_string() == "orders/input/orders"
