"""The sensors of alerts on a Dagster instance of the test's own: what they notice, and that they say it once."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from definition_helpers import BAD, GOOD, INPUT, resolved, run, write, write_orders

from dp_dagster.alerts.model import PLATFORM
from dp_dagster.alerts.silence import look_from_outside
from dp_dagster.alerts.store import AlertStore
from dp_dagster.alerts.watch import Seen, look_at
from dp_dagster.definitions import alert_facts, alert_runs
from dp_dagster.definitions.alerting import alerts_sensor
from dp_dagster.definitions.build import build_definitions
from dp_dagster.definitions.platform import ProductStates, look_at_platform, platform_definitions
from dp_dagster.definitions.run import run_product
from dp_dagster.policies import Exemption, Grants, load_policies
from dp_dagster.records import Records
from dp_dagster.settings import Settings


@pytest.fixture
def instance(tmp_path):
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


def tick(folder, instance):
    """Evaluate the product's sensor once, and give what it said."""
    product = resolved(folder)
    context = dg.build_sensor_context(instance=instance, definitions=build_definitions(product))
    outcome = alerts_sensor(product)(context)
    return outcome.skip_message


def alerts_of(folder, **values):
    return {
        (alert.subject, alert.condition): alert
        for alert in AlertStore.of(Settings.load(folder)).alerts("orders", **values)
    }


@pytest.fixture
def orders(project):
    return write_orders(project)


def test_a_held_dataset_is_told_with_what_consumers_still_see(orders, instance, monkeypatch):
    assert run(orders, instance).success
    assert tick(orders, instance) == "nothing new"
    write(orders, {"data/orders.csv": BAD})
    failed = run(orders, instance)
    assert tick(orders, instance) == "2 opened"
    assert tick(orders, instance) == "nothing new"
    found = alerts_of(orders)
    held = found["v2/dataset/orders", "contract_violation"]
    assert held.reason.startswith("1 row of 4 breaks")
    assert held.facts["consumers see"].startswith(
        "still the last good version of v2/port/vw_orders: version 0, published at 20"
    )
    assert held.facts["run"] == f"http://127.0.0.1:3000/runs/{failed.run_id}"
    assert held.facts["asset"] == "http://127.0.0.1:3000/assets/orders/v2/dataset/orders"
    assert held.facts["quarantine"] == "http://127.0.0.1:3000/assets/orders/v2/quarantine/orders"
    run_failed = found["run", "failed_run"]
    assert run_failed.reason == "Failed at orders/v2/dataset/orders."
    assert "SECRET9" not in str(found), "values of rows are never told"
    write(orders, {"data/orders.csv": GOOD})
    assert run(orders, instance).success
    assert tick(orders, instance) == "2 recovered"
    assert {alert.state for alert in alerts_of(orders).values()} == {"recovered"}
    # Consumers cannot open the port. Seen once it may just be replaced; seen twice it is down.
    catalog = Path(resolved(orders).settings.storage) / "orders/orders.duckdb"
    catalog.rename(catalog.with_suffix(".away"))
    monkeypatch.setattr("dp_dagster.alerts.ports.EVERY", timedelta(0))
    assert [tick(orders, instance) for _ in range(3)] == ["nothing new", "1 opened", "nothing new"]
    down = alerts_of(orders)["v2/port/vw_orders", "port_down"]
    assert down.severity == "critical"
    assert down.reason.startswith("Consumers cannot open it: ")
    catalog.with_suffix(".away").rename(catalog)
    assert tick(orders, instance) == "1 recovered"


def test_a_run_is_stuck_when_nothing_happens_in_it(orders, instance):
    """However long it takes: what goes on is not stuck."""
    tick(orders, instance)
    text = (orders / "product.yaml").read_text()
    (orders / "product.yaml").write_text(text + "alerts: {stuck_after: PT2H}\n")
    product = resolved(orders)
    stuck = instance.create_run_for_job(
        build_definitions(product).resolve_job_def("orders_refresh"),
        tags={".dagster/repository": "__repository__@orders"},
        status=dg.DagsterRunStatus.STARTED,
    )
    now = datetime.now(UTC)

    def seen(hours):
        found = alert_runs.stuck_runs(instance, product, "orders", now + timedelta(hours=hours))
        return [(one.at, one.reason) for one in found]

    assert seen(1) == []
    ((at, reason),) = seen(3)
    assert timedelta(hours=2) - timedelta(minutes=1) < at - now < timedelta(hours=2)
    assert reason.startswith("Started, and nothing has happened in it since 20")
    assert reason.endswith(" UTC, for more than 2 hours.")
    instance.report_dagster_event(
        dg.DagsterEvent(
            dg.DagsterEventType.STEP_START.value,
            "orders_refresh",
            step_key="orders__input__orders",
            event_specific_data=None,
        ),
        stuck.run_id,
        timestamp=(now + timedelta(hours=2)).timestamp(),
    )
    assert seen(3) == []
    ((_, reason),) = seen(5)
    assert reason.endswith("for more than 2 hours; it stands at orders/input/orders.")
    assert "stuck_run" in alert_facts.COVERED


def test_a_run_of_something_else_does_not_mend_what_failed(orders, instance):
    assert run(orders, instance).success
    tick(orders, instance)
    write(orders, {"data/orders.csv": BAD})
    assert not run(orders, instance).success
    assert tick(orders, instance) == "2 opened"
    assert run(orders, instance, [INPUT]).success
    assert tick(orders, instance) == "nothing new"
    write(orders, {"data/orders.csv": GOOD})
    assert run(orders, instance).success
    assert tick(orders, instance) == "2 recovered"
    assert alerts_of(orders)["run", "failed_run"].reason == "What had failed has succeeded."


def test_freshness_as_dagsters_daemon_judged_it(orders, instance):
    """The records of freshness that nobody documents."""
    port = dg.AssetKey(["orders", "v2", "port", "vw_orders"])
    assert instance.get_freshness_state_records([port]) == {}
    said = []
    for state in ("UNKNOWN", "WARN", "WARN", "FAIL", "UNKNOWN", "PASS"):
        record_freshness(instance, port, state)
        said.append(tick(orders, instance))
    assert said == ["nothing new", "1 opened", "nothing new", "nothing new", "nothing new", "1 recovered"]
    (alert,) = alerts_of(orders).values()
    assert (alert.subject, alert.condition) == ("v2/port/vw_orders/freshness", "sla_breach")
    assert "due daily, at most 12:00:00 late" in alert.reason


def record_freshness(instance, key, state):
    """Say what the daemon says when it has judged an asset."""
    from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

    instance.report_runless_asset_event(
        FreshnessStateChange(
            key=key,
            new_state=FreshnessState(state),
            previous_state=FreshnessState("UNKNOWN"),
            state_change_timestamp=datetime.now(UTC).timestamp(),
        )
    )


# -- the platform --------------------------------------------------------------------------------------------


def look(project, instance, products=None):
    """Look once at what belongs to no product."""
    settings = Settings.load(project.root)
    products = products or ProductStates(settings)
    return str(look_at_platform(settings, AlertStore.of(settings), instance, products))


def open_alerts(project):
    store = AlertStore.of(Settings.load(project.root))
    return {
        (alert.product, alert.subject, alert.condition): alert.reason
        for alert in store.alerts(open_only=True)
    }


def test_a_product_that_does_not_load_and_a_contract_that_would_break_consumers(project, orders, instance):
    assert run(orders, instance).success
    assert look(project, instance) == "nothing new"
    contract = (orders / "contracts/orders.py").read_text()
    (orders / "contracts/orders.py").write_text(contract.replace('str_matches="^[a-z]+$"', "nullable=True"))
    shops = project.root / "products/shops/product.yaml"
    shops.write_text(shops.read_text().replace("refresh_rate: daily", "refresh_rate: dayly"))
    assert look(project, instance) == "2 opened"
    found = open_alerts(project)
    assert "dayly is no refresh rate" in found["shops", "location/shops", "location_failed"]
    assert "its contract breaks what was published" in found["orders", "contract", "breaking_change"]
    (orders / "contracts/orders.py").write_text(contract)
    shops.write_text(shops.read_text().replace("dayly", "daily"))
    assert look(project, instance) == "2 recovered"


def test_a_breaking_change_that_stopped_a_run_is_told_once(project, orders, instance):
    """As what it is, beside the run that failed; the platform's sensor, which sees the contract, says it no more."""
    assert run(orders, instance).success
    tick(orders, instance)
    contract = (orders / "contracts/orders.py").read_text()
    (orders / "contracts/orders.py").write_text(contract.replace('str_matches="^[a-z]+$"', "nullable=True"))
    assert not run(orders, instance).success
    assert tick(orders, instance) == "2 opened"
    assert look(project, instance) == "nothing new"
    assert tick(orders, instance) == "nothing new"
    blocked = alerts_of(orders)["v2/dataset/orders", "breaking_change"]
    assert "its contract breaks what was published" in blocked.reason
    assert blocked.facts["compare"] == "dp diff orders"
    assert blocked.facts["consumers see"].startswith("still the last good version of v2/port/vw_orders")
    # What a run publishes that had begun before says nothing of the change: it is still there, and still refused.
    records = Records(Settings.load(project.root).resolved_records_url)
    records.append("published", "orders", "v2/dataset/orders", "user:test", "", {"version": 1})
    assert tick(orders, instance) == "nothing new"
    (orders / "contracts/orders.py").write_text(contract)
    assert tick(orders, instance) == "1 recovered"
    assert alerts_of(orders)["v2/dataset/orders", "breaking_change"].reason.startswith(
        "The change was withdrawn"
    )
    assert look(project, instance) == "nothing new"


BREAKING = 'str_matches="^[a-z]+$"', "nullable=True"


def test_a_breaking_change_is_over_when_it_is_published(project, orders, instance):
    descriptor = (orders / "product.yaml").read_text()
    (orders / "product.yaml").write_text(f"{descriptor}consumers: [{{name: board, port: vw_orders}}]\n")
    assert run(orders, instance).success
    contract = (orders / "contracts/orders.py").read_text()
    (orders / "contracts/orders.py").write_text(contract.replace(*BREAKING))
    see = lambda _watcher, _now: Seen()  # noqa: E731 - only what is on record matters here
    store = AlertStore.of(Settings.load(project.root))
    assert not run(orders, instance).success
    assert str(look_at(resolved(orders), store, see)) == "1 opened"
    assert run_product(resolved(orders), instance, lambda _: None, acknowledged=["board"]).succeeded
    assert str(look_at(resolved(orders), store, see)) == "1 recovered"
    (alert,) = alerts_of(orders).values()
    assert (
        alert.reason
        == "The contract that was refused is published: the consumers that it breaks have agreed."
    )
    # Under another major version it is no change of what was promised any more.
    (orders / "contracts/orders.py").write_text(contract.replace(*BREAKING).replace("ge=0, ", ""))
    assert not run(orders, instance).success
    assert str(look_at(resolved(orders), store, see)) == "1 opened"
    (orders / "product.yaml").write_text(descriptor.replace("version: 2.1.0", "version: 3.0.0"))
    assert str(look_at(resolved(orders), store, see)) == "1 recovered"
    newest = AlertStore.of(Settings.load(project.root)).alerts("orders")[0]
    assert newest.reason == "The product makes no v2/dataset/orders any more; it is at version 3.0.0."


def test_a_refusal_by_a_policy_says_which_and_what_to_do(project, orders, instance):
    assert run(orders, instance).success
    tick(orders, instance)
    file = project.root / "dp_dagster.toml"
    file.write_text(
        file.read_text() + '\n[policies]\nnaming = {severity = "error", datasets = "fact_[a-z]+"}\n'
    )
    assert not run(orders, instance).success
    assert tick(orders, instance) == "2 opened"
    assert tick(orders, instance) == "nothing new"
    products = ProductStates(Settings.load(project.root))
    assert look(project, instance, products) == "1 opened", "of shops; orders has told it itself"
    refused = alerts_of(orders)["v2/dataset/orders", "refused"]
    assert "(policy naming)" in refused.reason
    assert "product.yaml:" in refused.reason
    assert refused.facts["policies"] == "naming"
    assert (refused.facts["check"], refused.facts["why"]) == (
        "dp policy check orders",
        "dp policy explain naming",
    )
    assert refused.facts["consumers see"].startswith("still the last good version of v2/port/vw_orders")
    # Another product that no run has touched: the platform's sensor says it before one fails.
    shops = [key for key in open_alerts(project) if key[0] == "shops"]
    assert shops == [("shops", "policies", "refused")]
    settings = Settings.load(project.root)
    until = (datetime.now(UTC) + timedelta(days=2)).date()
    for name in ("orders", "shops"):
        Grants(settings).grant(
            Exemption(policy="naming", product=name, reason="renamed soon", expires=until),
            load_policies(settings),
            "user:ada",
        )
    assert tick(orders, instance) == "1 recovered"
    assert alerts_of(orders)["v2/dataset/orders", "refused"].reason.startswith("Nothing refuses it any more")
    assert look(project, instance, products) == "1 recovered"
    assert run(orders, instance).success
    assert tick(orders, instance) == "1 recovered"


def test_silence_is_noticed_inside_and_outside_of_dagster(project, orders, instance, monkeypatch):
    monkeypatch.setenv("DP_SILENT_AFTER", "0.05")
    settings = Settings.load(project.root)
    store = AlertStore.of(settings)
    (missing,), _ = look_from_outside(settings, store)
    assert missing.reason.startswith("Nothing was ever looked at")
    look(project, instance)
    # From outside it is enough that the platform's sensor lives.
    monkeypatch.setenv("DP_SILENT_AFTER", "60")
    assert look_from_outside(Settings.load(project.root), store)[0] == []
    monkeypatch.setenv("DP_SILENT_AFTER", "0.05")
    time.sleep(0.1)
    assert "opened" in look(project, instance)
    (reason,) = [
        why for key, why in open_alerts(project).items() if key[:2] == ("orders", "sensor/orders_alerts")
    ]
    assert reason.startswith("Nobody has looked at orders ever: its location or its sensor does not run")
    time.sleep(0.1)
    found, _ = look_from_outside(settings, store)
    assert [one.subject for one in found] == ["daemon/platform"]
    monkeypatch.setenv("DP_SILENT_AFTER", "60")
    tick(orders, instance)
    assert "recovered" in look(project, instance)
    assert not [key for key in open_alerts(project) if key[0] == "orders"]


def test_daemons_and_sensors_without_a_sign_of_life(project, instance):
    """Heartbeats and batches of ticks, which nobody documents either."""
    settings = Settings.load(project.root)
    now = datetime.now(UTC)
    assert alert_facts.silent_daemons(instance, settings, now) == []
    beat(instance, "SENSOR", now - timedelta(seconds=10))
    assert alert_facts.silent_daemons(instance, settings, now) == []
    beat(instance, "SENSOR", now - timedelta(seconds=900))
    (silent,) = alert_facts.silent_daemons(instance, settings, now)
    assert (silent.product, silent.subject, silent.condition) == (PLATFORM, "daemon/sensor", "silent")
    add_tick(instance, "orders_on_change", now - timedelta(seconds=10))
    add_tick(instance, "gone_on_change", now - timedelta(seconds=9000))
    assert alert_facts.silent_sensors(instance, settings, ["orders_on_change"], now) == []
    (silent,) = alert_facts.silent_sensors(
        instance, settings, ["orders_on_change"], now + timedelta(seconds=600)
    )
    assert silent.subject == "sensor/orders_on_change"


def beat(instance, name, at):
    from dagster._daemon.types import DaemonHeartbeat

    instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), name, None, []))


def add_tick(instance, name, at):
    """A tick of a sensor of the location ``orders``, as the daemon leaves it."""
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    origin = RemoteInstigatorOrigin(
        repository_origin=RemoteRepositoryOrigin(
            ManagedGrpcPythonEnvCodeLocationOrigin(
                loadable_target_origin=LoadableTargetOrigin(python_file="x.py"), location_name="orders"
            ),
            "__repository__",
        ),
        instigator_name=name,
    )
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.DECLARED_IN_CODE)
    instance.add_instigator_state(state)
    instance.create_tick(
        TickData(
            instigator_origin_id=state.instigator_origin_id,
            instigator_name=name,
            instigator_type=InstigatorType.SENSOR,
            status=TickStatus.SKIPPED,
            timestamp=at.timestamp(),
            selector_id=state.selector_id,
        )
    )


def test_the_platforms_location(project):
    (sensor,) = platform_definitions(Settings.load(project.root)).sensors or ()
    assert sensor.name == "platform_alerts"
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
