"""Objectives in Dagster: a check each, judged in the run and by the sensor, and never green unless met."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from definition_helpers import PORT, checks, run, specs, write_orders

from dp_dagster.definitions.load import load_product
from dp_dagster.definitions.sla import _is_news

if TYPE_CHECKING:
    from pathlib import Path

    from support import TestProject

SLA = "sla: {availability: 99.9%, latency: {p95: 200ms}, volume: 20%, freshness: 6h}"


def promised(project: TestProject) -> Path:
    folder = write_orders(project)
    descriptor = folder / "product.yaml"
    descriptor.write_text(descriptor.read_text() + SLA + "\n")
    return folder


def tick(folder: Path, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    definitions = load_product(folder)
    (sensor,) = [one for one in definitions.sensors or [] if one.name == "orders_sla"]
    assert isinstance(sensor, dg.SensorDefinition)
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    with dg.build_sensor_context(instance=instance, cursor=cursor, definitions=definitions) as context:
        outcome = sensor(context)
    assert isinstance(outcome, dg.SensorResult)
    return outcome


def objectives(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    return {
        name: one for (key, name), one in checks(result).items() if key == PORT and name.startswith("sla_")
    }


def test_the_run_judges_what_it_has_projected(project: TestProject) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(promised(project), instance)
    assert result.success, "a check that does not pass stops nothing"
    judged = objectives(result)
    assert set(judged) == {"sla_availability", "sla_latency_p95", "sla_volume", "sla_freshness"}
    assert {name for name, one in judged.items() if one.passed} == {"sla_availability", "sla_freshness"}
    latency, volume = judged["sla_latency_p95"], judged["sla_volume"]
    assert latency.severity == volume.severity == dg.AssetCheckSeverity.WARN
    assert "nobody sees its answers" in str(latency.metadata["not evaluated"].value)
    assert "no version before it" in str(volume.metadata["not evaluated"].value)
    assert judged["sla_availability"].metadata["budget"].value == "43.2 min of 43.2 min left"
    assert judged["sla_freshness"].metadata["target"].value == "6 h"


def test_the_sensor_shows_each_state_once(project: TestProject) -> None:
    folder = promised(project)
    with dg.DagsterInstance.ephemeral() as instance:
        first = tick(folder, instance, None)
        assert {one.check_name for one in first.asset_events} == {
            "sla_availability",
            "sla_latency_p95",
            "sla_volume",
            "sla_freshness",
        }
        assert not any(one.passed for one in first.asset_events), "nothing was published yet"
        assert all(one.asset_key == PORT for one in first.asset_events)
        again = tick(folder, instance, first.cursor)
        assert again.asset_events == []
        assert "nothing is due" in str(again.skip_reason)
        run(folder, instance)
        # The run has judged; the sensor shows what is due after that, and only what is another state.
        after = tick(folder, instance, again.cursor)
        assert {one.check_name for one in after.asset_events} <= {
            "sla_availability",
            "sla_freshness",
            "sla_volume",
        }


def test_what_is_news() -> None:
    now = datetime(2026, 3, 10, tzinfo=UTC)
    earlier = (now - timedelta(minutes=59)).timestamp()
    assert _is_news(None, "met", now)
    assert _is_news(["met", earlier], "breached", now)
    assert not _is_news(["met", earlier], "met", now)
    assert _is_news(["met", earlier - 60], "met", now)
    assert _is_news(["met", now.timestamp() + 60], "met", now), "a clock that was set back"


def test_readings_that_cannot_be_kept_do_not_stop_a_publication(project: TestProject) -> None:
    folder = promised(project)
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(folder, instance).success
        database = project.storage / "records.db"
        import sqlite3

        with sqlite3.connect(database) as connection:
            connection.execute("drop table dp_sla_states")
            connection.execute("create view dp_sla_states as select 1 as product")
        connection.close()
        result = run(folder, instance, [PORT])
    assert result.success
    judged = list(objectives(result).values())
    assert len(judged) == 4
    assert not any(one.passed for one in judged)
    assert all(str(one.metadata["not evaluated"].value).startswith("records at sqlite") for one in judged)


def test_the_description_names_the_checks(project: TestProject) -> None:
    text = specs(load_product(promised(project)))[PORT].description or ""
    assert "| freshness | 6h | sla | measured: `sla_freshness` |" in text
    assert (
        "| latency p95 | p95 in 200ms | sla | not evaluated | consumers open this port by themselves" in text
    )
