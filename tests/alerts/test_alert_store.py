"""The store: one of several evaluators wins, messages survive whoever sends them, channels that fail are told."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dp_dagster.alerts.conditions import from_channels
from dp_dagster.alerts.delivery import deliver
from dp_dagster.alerts.kept import Round, Watcher
from dp_dagster.alerts.model import PLATFORM, Observation
from dp_dagster.alerts.outbox import LEASE
from dp_dagster.alerts.routing import Routes, telling_of
from dp_dagster.alerts.store import AlertStore
from dp_dagster.descriptor.alerting import Channel
from dp_dagster.errors import UsageError
from dp_dagster.records import Records
from dp_dagster.resolve.alerting import ResolvedAlerts, ResolvedRule

NOW = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TWO = "[error] shops: contract broken, nothing published (v1/dataset/totals); run failed (run)"
CONDITIONS = ("failed_run", "contract_violation", "channel_failed")


@pytest.fixture(autouse=True)
def _variables(monkeypatch):
    for name in ("HOOK", "OTHER"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/never")


def alerts_with(*channels, grace=0, **values):
    return ResolvedAlerts(
        channels={
            name: Channel.model_validate({"webhook": {"url": f"${{{name.upper()}}}"}}) for name in channels
        },
        rules=(ResolvedRule(CONDITIONS, channels),),
        grace=grace * SECOND,
        **values,
    )


def seen(bad=True, second=0, condition="failed_run", subject="run", product="shops"):
    return Observation(product, subject, condition, bad=bad, at=NOW + second * SECOND, is_event=True)


def look(store, *observations, second=0, alerts=None, watcher=None, registered=(), consumers=(), covered=()):
    alerts = alerts or alerts_with("hook")
    watcher = watcher or store.watchers(["shops"]).get("shops") or Watcher("shops")
    return store.commit(
        Round(
            watcher, NOW + second * SECOND, observations, covered, (), {"record": second}, Routes.of(alerts)
        ),
        lambda _: telling_of("shops", alerts, dict(registered), consumers),
    )


class Carrier:
    """A transport that keeps what it is given, and fails on the channels it is told to."""

    def __init__(self, *broken):
        self.broken = set(broken)
        self.sent = []

    def __call__(self, _channel, delivery):
        if delivery.channel in self.broken:
            return "refused"
        self.sent.append((delivery.channel, delivery.title))
        return ""


def send(store, carrier, second=0, alerts=None, owner="shops"):
    routes = {owner: Routes.of(alerts or alerts_with("hook"))}
    return deliver(store, routes, pause=10, now=lambda: NOW + second * SECOND, transport=carrier)


def test_opened_and_recovered_are_told_once_and_put_on_record(store, tmp_path):
    carrier = Carrier()
    assert look(store, seen()).items == 1
    send(store, carrier)
    # The same again, and again after a restart.
    look(store, seen(), second=1)
    look(AlertStore(f"sqlite:///{tmp_path}/records.db"), seen(), second=2)
    send(store, carrier, second=3)
    look(store, seen(bad=False, second=4), second=5)
    send(store, carrier, second=6)
    send(store, carrier, second=500)
    assert carrier.sent == [
        ("hook", "[error] shops: run failed (run)"),
        ("hook", "[recovered] shops: recovered: run failed (run)"),
    ]
    records = Records(f"sqlite:///{tmp_path}/records.db")
    assert [record.kind for record in records.query()] == ["alert_recovered", "alert_opened"]
    assert records.verify() == []
    (alert,) = store.alerts()
    assert alert.state == "recovered"
    assert store.alerts(open_only=True) == []


def test_of_evaluators_at_the_same_time_one_wins(store):
    watcher = Watcher("shops")

    def evaluate(_):
        return look(store, seen(), watcher=watcher).committed

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(evaluate, range(8))) == [False] * 7 + [True]
    assert len(store.alerts()) == 1
    assert store.watchers()["shops"].round == 1
    carrier = Carrier()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: send(store, carrier, second=1), range(4)))
    assert len(carrier.sent) == 1


@pytest.mark.needs("postgresql")
@pytest.mark.slow
def test_the_same_on_postgresql(postgresql_url):
    test_of_evaluators_at_the_same_time_one_wins(AlertStore(postgresql_url))
    store = AlertStore(postgresql_url)
    look(store, seen(bad=False, second=4), second=5)
    carrier = Carrier()
    send(store, carrier, second=6)
    assert len(carrier.sent) == 1
    look(store, seen(second=7), second=8)
    (alert,) = store.alerts(open_only=True)
    assert store.acknowledge(alert.id[:5], "user:ada", NOW).acknowledged_by == "user:ada"
    assert [one.kind for one in store.happened("shops", 0, ("alert_opened", "alert_recovered"), 10)] == [
        "alert_opened",
        "alert_recovered",
        "alert_opened",
    ]


def test_what_happens_within_the_grace_is_one_message(store):
    alerts, carrier = alerts_with("hook", grace=30), Carrier()
    look(store, seen(), alerts=alerts)
    send(store, carrier, second=29)
    assert carrier.sent == []
    look(
        store,
        seen(subject="v1/dataset/totals", condition="contract_violation", second=20),
        second=20,
        alerts=alerts,
    )
    send(store, carrier, second=30)
    assert carrier.sent == [
        ("hook", "[error] shops: run failed (run); contract broken, nothing published (v1/dataset/totals)")
    ]
    send(store, carrier, second=60)
    assert len(carrier.sent) == 1


def test_a_channel_that_fails_is_tried_again_and_told_on_the_others(store):
    alerts, carrier = alerts_with("hook", "other"), Carrier("hook")

    def tick(second):
        failing = from_channels("shops", store.failing_channels("shops"), NOW + second * SECOND)
        look(store, *failing, second=second, alerts=alerts, covered={"channel_failed"})
        return [error for _, error in send(store, carrier, second=second, alerts=alerts)]

    look(store, seen(), alerts=alerts)
    assert tick(0) == ["refused", ""]
    # Tried after 10 and 20 more seconds, and then told on the other channel.
    assert [tick(second) for second in (5, 10, 15, 30)] == [[], ["refused"], [], ["refused"]]
    assert tick(31) == [""]
    assert carrier.sent == [
        ("other", "[error] shops: run failed (run)"),
        ("other", "[warning] shops: messages do not arrive (channel/hook)"),
    ]
    (waiting,) = store.deliveries(state="pending")
    assert (waiting.channel, waiting.attempts, waiting.error) == ("hook", 3, "refused")
    carrier.broken.clear()
    assert tick(71) == [""]
    assert tick(72) == [""]
    assert carrier.sent[2:] == [
        ("hook", "[error] shops: run failed (run)"),
        ("other", "[recovered] shops: recovered: messages do not arrive (channel/hook)"),
    ]


def test_a_message_that_a_dead_sender_took_is_sent_again_with_the_same_id(
    store, tmp_path, webhook, monkeypatch
):
    """At least once: whoever is killed between sending and noting it leaves a message that shows what it is."""
    monkeypatch.setenv("HOOK", webhook.url)
    look(store, seen())
    # The process looks at the real clock, which is later than the alert.
    command = [
        sys.executable,
        Path(__file__).with_name("killed_sender.py"),
        f"sqlite:///{tmp_path}/records.db",
    ]
    killed = subprocess.run(command, check=False, env=dict(os.environ), capture_output=True, text=True)
    assert (killed.returncode, killed.stdout) == (-9, "\n"), killed.stderr
    now = datetime.now(UTC)
    routes = {"shops": Routes.of(alerts_with("hook"))}
    assert deliver(store, routes, pause=1, now=lambda: now) == []
    assert [error for _, error in deliver(store, routes, pause=1, now=lambda: now + LEASE)] == [""]
    assert deliver(store, routes, pause=1, now=lambda: now + 2 * LEASE) == []
    first, second = webhook.received
    assert first["id"] == second["id"]
    assert first["title"] == second["title"] == "[error] shops: run failed (run)"


def test_consumers_are_told_on_their_own_channels(store):
    own = alerts_with("hook", contacts={"board": "${OTHER}"})
    reader = Routes.of(alerts_with("other"))
    held = seen(condition="contract_violation", subject="v1/dataset/totals")
    look(
        store,
        held,
        seen(),
        alerts=own,
        registered={"report": reader},
        consumers=[("report", "v1/port/vw_totals")],
    )
    carrier = Carrier()
    send(store, carrier, alerts=own)
    assert sorted(carrier.sent) == [
        ("consumer_board", "[error] shops: contract broken, nothing published (v1/dataset/totals)"),
        ("hook", TWO),
    ]
    # The reader's own sensor sends what is addressed to it, of the producer and not of its inner matters.
    carrier = Carrier()
    send(store, carrier, alerts=alerts_with("other"), owner="report")
    assert carrier.sent == [
        ("other", "[error] shops: contract broken, nothing published (v1/dataset/totals)")
    ]


def test_a_channel_whose_variable_is_not_set_is_left_to_others(store, monkeypatch):
    look(store, seen())
    monkeypatch.delenv("HOOK")
    carrier = Carrier()
    assert send(store, carrier) == []
    monkeypatch.setenv("HOOK", "http://127.0.0.1:9/")
    assert len(send(store, carrier)) == 1


def test_the_last_channel_of_a_product_is_told_on_the_platforms(store):
    alerts, carrier = alerts_with("hook"), Carrier("hook")
    look(store, seen(), alerts=alerts)
    for second in (0, 10, 30):
        send(store, carrier, second=second)
    failing = from_channels("shops", store.failing_channels("shops"), NOW)
    platform = Routes.of(alerts_with("other"))
    look(store, *failing, second=31, registered={PLATFORM: platform}, covered={"channel_failed"})
    send(store, carrier, second=32, alerts=alerts_with("other"), owner=PLATFORM)
    assert carrier.sent == [("other", "[warning] shops: messages do not arrive (channel/hook)")]


def test_nothing_waits_for_a_clock_that_was_ahead(store):
    """Messages, retries, reminders and signs of life that were written down a year too early."""
    year = 365 * 86_400
    alerts = alerts_with("hook", "other", remind=60 * SECOND)
    look(store, seen(second=year), second=year, alerts=alerts)
    assert send(store, Carrier("hook"), second=year, alerts=alerts)[0][1] == "refused"
    look(store, seen(subject="second", second=year), second=year, alerts=alerts)
    carrier = Carrier()
    send(store, carrier, second=5, alerts=alerts)
    assert carrier.sent == []
    look(store, second=6, alerts=alerts)
    assert store.watchers()["shops"].seen_at == NOW + 6 * SECOND
    send(store, carrier, second=6, alerts=alerts)
    assert sorted(carrier.sent) == [
        ("hook", "[error] shops: run failed (run)"),
        ("hook", "[error] shops: run failed (second)"),
        ("other", "[error] shops: run failed (second)"),
    ]
    assert {alert.opened_at for alert in store.alerts()} == {NOW + 6 * SECOND}
    look(store, second=67, alerts=alerts)
    send(store, carrier, second=67, alerts=alerts)
    assert carrier.sent[3:] == [
        (name, "[error] shops: still: run failed (run); still: run failed (second)")
        for name in ("hook", "other")
    ]


def test_a_message_that_is_given_up_mends_no_channel(store):
    look(store, seen())
    week = 8 * 86_400
    assert send(store, Carrier("hook"))[0][1] == "refused"
    assert send(store, Carrier("hook"), second=week)[0][1] == "refused"
    (lost,) = store.deliveries(state="given up")
    assert store.failing_channels("shops") == {"hook": lost}
    look(store, seen(subject="other", second=week), second=week + 1)
    send(store, Carrier(), second=week + 1)
    assert store.failing_channels("shops") == {}


def test_what_a_channel_refused_follows_as_soon_as_it_takes_messages_again(store):
    look(store, seen())
    for second in (0, 10, 30, 70, 150):
        send(store, Carrier("hook"), second=second)
    look(store, seen(subject="other", second=160), second=160)
    carrier = Carrier()
    send(store, carrier, second=160)
    assert [title for _, title in carrier.sent] == [
        "[error] shops: run failed (other)",
        "[error] shops: run failed (run)",
    ]


def test_the_end_of_an_alert_closes_its_incident(store, webhook, monkeypatch):
    """At PagerDuty each alert is an incident of its own; what never got there is not opened when it is over."""
    from apprise.plugins import pagerduty

    monkeypatch.setitem(pagerduty.PAGERDUTY_API_LOOKUP, "us", webhook.url)
    monkeypatch.setenv("PAGER", "pagerduty://integration@key")
    alerts = ResolvedAlerts(
        channels={"pager": Channel(url="${PAGER}")},
        rules=(ResolvedRule(CONDITIONS, ("pager",)),),
        grace=0 * SECOND,
    )

    def heard(*observations, second):
        before = len(webhook.received)
        look(store, *observations, second=second, alerts=alerts)
        routes = {"shops": Routes.of(alerts)}
        deliver(store, routes, pause=1000, now=lambda: NOW + second * SECOND)
        return [(one["event_action"], one["dedup_key"]) for one in webhook.received[before:]]

    opened = heard(seen(), seen(subject="other"), second=1)
    run, other = (
        next(alert.id for alert in store.alerts() if alert.subject == name) for name in ("run", "other")
    )
    assert sorted(opened) == sorted([("trigger", run), ("trigger", other)])
    assert heard(seen(bad=False, second=2), second=2) == [("resolve", run)]
    webhook.status = 500
    assert heard(seen(subject="third", second=3), second=3) == []
    webhook.status = 200
    third = store.alerts(open_only=True)[0]
    assert heard(seen(subject="third", bad=False, second=4), second=4) == [("resolve", third.id)]
    assert heard(second=5000) == []
    assert [one.state for one in store.deliveries(third.id)] == ["delivered", "replaced"]


def test_acknowledging(store, tmp_path):
    look(store, seen())
    (alert,) = store.alerts()
    assert store.acknowledge(alert.id[:4], "user:ada", NOW).state == "acknowledged"
    assert store.acknowledge(alert.id, "user:ben", NOW).acknowledged_by == "user:ada"
    with pytest.raises(UsageError, match=f"x names no alerts; open are {alert.id}"):
        store.acknowledge("x", "user:ada", NOW)
    look(store, seen(bad=False, second=1), second=1)
    with pytest.raises(UsageError, match=f"{alert.id} is over; open are none"):
        store.acknowledge(alert.id, "user:ada", NOW)
    kinds = [(one.kind, one.actor) for one in Records(f"sqlite:///{tmp_path}/records.db").query()]
    assert kinds == [
        ("alert_recovered", "sensor:shops_alerts"),
        ("alert_acknowledged", "user:ada"),
        ("alert_opened", "sensor:shops_alerts"),
    ]


def test_a_look_costs_the_same_whatever_the_history(store):
    """Counted, not measured: statements of a look and of sending, before and after hundreds of alerts."""
    from sqlalchemy import event

    def statements(second):
        count = 0

        def counted(*_):
            nonlocal count
            count += 1

        engine = store._database._engine
        event.listen(engine, "before_cursor_execute", counted)
        try:
            look(store, second=second, covered={"failed_run"})
            store.failing_channels("shops")
            store.happened("shops", 0, ("held",), 500)
            send(store, Carrier(), second=second)
        finally:
            event.remove(engine, "before_cursor_execute", counted)
        return count

    before = statements(0)
    for number in range(25):
        second = 10 + number * 4
        look(store, seen(second=second), second=second)
        look(store, seen(bad=False, second=second + 1), second=second + 1)
        send(store, Carrier(), second=second + 2)
    assert len(store.alerts()) == 25
    assert statements(1000) == before
    assert before < 20


def test_what_was_over_long_ago_is_forgotten_and_stays_on_record(store, tmp_path):
    look(store, seen())
    send(store, Carrier())
    look(store, seen(bad=False, second=60), second=60)
    look(store, seen(subject="other", second=60), second=60)
    before = datetime.now(UTC) + timedelta(days=400)
    assert store.forget("shops", before) == 0, "its end waits to be told"
    carrier = Carrier()
    send(store, carrier, second=600)
    assert carrier.sent
    assert store.forget("report", before) == 0
    assert store.forget("shops", NOW - timedelta(days=1)) == 0
    assert store.forget("shops", before) == 1
    assert [alert.subject for alert in store.alerts()] == ["other"]
    # What tells of an alert that is not over is kept.
    assert len(store.deliveries()) == 1
    assert {one.kind for one in Records(f"sqlite:///{tmp_path}/records.db").query()} == {
        "alert_opened",
        "alert_recovered",
    }
