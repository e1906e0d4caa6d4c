"""What follows from the records of a product, and one look at it with everything that belongs to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from receivers import WebhookReceiver

from dp_dagster.alerts.store import AlertStore
from dp_dagster.alerts.watch import Seen, look_at
from dp_dagster.records import Records
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.sla.model import Reading
from dp_dagster.sla.store import Readings
from dp_dagster.storage.manifest import Registration, register_consumer

DATASET = "v1/dataset/totals"


@pytest.fixture
def shop(project):
    """A product with its records and a look at it, of which nothing is known but the records."""

    class Shop:
        def __init__(self):
            self.folder = project.root / "products/shops"
            self.settings = Settings.load(self.folder)
            self.store = AlertStore.of(self.settings)
            self.records = Records(self.settings.resolved_records_url)

        def declare(self, text):
            descriptor = self.folder / "product.yaml"
            descriptor.write_text(descriptor.read_text() + text)

        def record(self, kind, subject=DATASET, **payload):
            self.records.append(kind, "shops", subject, "user:test", "run1", payload)

        def audited(self, rejected, decision="accepted_in_part"):
            self.record("audited", verdict={"rows_in": 1000, "rows_rejected": rejected, "decision": decision})

        def look(self, later=0):
            product = resolve(self.folder, self.settings)
            # One moment for the whole look: on a busy machine a message must not come due again within it.
            moment = datetime.now(UTC) + timedelta(seconds=later)
            return str(look_at(product, self.store, lambda _watcher, _now: Seen(), now=lambda: moment))

        def alerts(self):
            return {alert.condition: alert for alert in self.store.alerts("shops")}

    return Shop()


def test_what_was_held_is_over_when_something_is_published(shop):
    shop.record("held", reason="1 of 4 rows breaks 1 rule; none may: held")
    assert shop.look() == "1 opened"
    assert shop.look() == "nothing new"
    shop.record("held", reason="still")
    shop.record("projected", subject="v1/port/vw_totals")
    assert shop.look() == "nothing new"
    alert = shop.alerts()["contract_violation"]
    assert (alert.occurrences, alert.reason) == (2, "still")
    assert alert.facts["quarantine"] == "http://127.0.0.1:3000/assets/shops/v1/quarantine/totals"
    assert alert.facts["see the rows"] == "dp quarantine shops.totals"
    assert alert.facts["consumers see"] == "nothing: never published"
    shop.record("published", version=3)
    assert shop.look() == "1 recovered"
    assert shop.alerts()["contract_violation"].reason == "Version 3 keeps the contract and is published."


def test_what_ended_before_anybody_looked_is_not_lost(shop):
    shop.look()
    shop.record("held", reason="bad")
    shop.record("published", version=3)
    assert shop.look() == "1 opened, 1 recovered"


def test_quarantine_is_told_above_half_of_what_the_dataset_accepts(shop):
    shop.audited(5)
    assert shop.look() == "nothing new", "no share is accepted, so that a contract would be broken"
    descriptor = shop.folder / "product.yaml"
    text = descriptor.read_text()
    descriptor.write_text(text.replace("key: [shop]}", "key: [shop], quarantine: {max_invalid: 1%}}"))
    shop.audited(5)
    assert shop.look() == "nothing new"
    shop.audited(6)
    assert shop.look() == "1 opened"
    assert (
        shop.alerts()["quarantine"].reason == "6 of 1,000 rows (0.6 %) are in quarantine, told above 0.5 %."
    )
    shop.audited(500, decision="held")
    assert shop.look() == "nothing new"
    shop.audited(0, decision="accepted")
    assert shop.look() == "1 recovered"
    shop.declare("alerts: {quarantine_share: 2%}\n")
    shop.audited(20)
    assert shop.look() == "nothing new"
    shop.audited(21)
    assert shop.look() == "1 opened"


def test_objectives_as_they_were_measured(shop):
    """A warning that becomes a breach is one alert; what cannot be measured is no recovery."""
    readings = Readings(shop.settings.resolved_records_url)
    start = datetime.now(UTC)

    def measured(state, objective="freshness"):
        reading = Reading(
            "shops", "vw_totals", objective, state, datetime.now(UTC), f"it is {state}", "daily"
        )
        readings.record([reading])
        return shop.look()

    assert measured("met") == "nothing new"
    assert measured("breached", objective="gone") == "nothing new", "no longer declared"
    assert measured("warning") == "1 opened"
    assert measured("breached") == "nothing new"
    assert measured("not_evaluated") == "nothing new"
    alert = shop.alerts()["sla_breach"]
    assert (alert.subject, alert.severity, alert.reason) == (
        "v1/port/vw_totals/freshness",
        "error",
        "it is breached",
    )
    assert alert.opened_at >= start
    assert measured("met") == "1 recovered"


def test_a_look_sends_and_tells_of_channels_that_fail(shop, webhook, mail, monkeypatch):
    monkeypatch.setenv("DP_ALERT_RETRY", "1")
    shop.settings = Settings.load(shop.folder)
    monkeypatch.setenv("SHOP_HOOK", webhook.url)
    server = f"{{host: 127.0.0.1, port: {mail.port}, security: none, from: dp@example.com}}"
    shop.declare(
        'alerts:\n  grace: PT0S\n  channels:\n    hook: {webhook: {url: "${SHOP_HOOK}"}}\n'
        f"  to: [hook, owner]\n  mail_server: {server}\n"
    )
    webhook.status = 500
    shop.record("held", reason="bad")
    assert shop.look().startswith("1 opened, 1 sent, 1 not delivered: was refused")
    assert [shop.look(later).split(":")[0] for later in (2, 6)] == ["1 not delivered"] * 2
    assert shop.look(6) == "1 opened, 1 sent"
    webhook.status = 200
    assert shop.look(7200) == "1 sent"
    assert shop.look(7201) == "1 recovered, 1 sent"
    subjects = [message["subject"] for message in mail.received]
    assert subjects == [
        "[error] shops: contract broken, nothing published (v1/dataset/totals)",
        "[warning] shops: messages do not arrive (channel/hook)",
        "[recovered] shops: recovered: messages do not arrive (channel/hook)",
    ]
    assert [message["title"] for message in webhook.received] == subjects[:1]
    assert mail.recipients[0] == ["testers@example.com"]


def titles(receiver):
    return [one["title"].removesuffix(" (v1/dataset/totals)") for one in receiver.received]


def test_reminders_escalation_and_maintenance_as_they_are_declared(shop, webhook, monkeypatch):
    start = datetime.now(UTC)
    monkeypatch.setenv("SHOP_HOOK", webhook.url)
    shop.declare(
        """\
alerts:
  grace: PT0S
  channels:
    hook: {webhook: {url: "${SHOP_HOOK}"}}
    pager: {webhook: {url: "${SHOP_PAGER}"}}
    chat: ${SHOP_CHAT}
  to: hook
  rules: [{on: all, to: [pager, chat], at_least: critical}]
  remind: PT10M
  escalate: {after: PT25M, to: pager}
"""
        f"  maintenance: [{{from: {start + timedelta(hours=3):%Y-%m-%dT%H:%M:%S}, "
        f"to: {start + timedelta(hours=5):%Y-%m-%dT%H:%M:%S}}}]\n"
    )
    with WebhookReceiver() as pager:
        monkeypatch.setenv("SHOP_PAGER", pager.url)
        shop.record("held", reason="bad")
        said = shop.look()
        assert said == "1 opened, 1 sent; cannot reach chat (environment variable SHOP_CHAT is not set)"
        broken = "contract broken, nothing published"
        assert titles(webhook) == [f"[error] shops: {broken}"]
        shop.look(601)
        shop.look(1202)
        assert titles(webhook)[1:] == [f"[error] shops: still: {broken}"] * 2
        assert titles(pager) == [], "bad, and not critical"
        shop.look(1501)
        assert titles(pager) == [f"[error] shops: nobody has acknowledged: {broken}"]
        (alert,) = shop.store.alerts()
        shop.store.acknowledge(alert.id, "user:ada", datetime.now(UTC))
        shop.look(3000)
        assert len(webhook.received) == 3
        # It ends, and the next one begins, while nobody is to be disturbed.
        shop.record("published", version=3)
        shop.record("audited", verdict={"rows_in": 0, "decision": "accepted"})
        shop.record("held", reason="worse")
        assert shop.look(4 * 3600).startswith("1 opened, 1 recovered; ")
        assert (len(webhook.received), len(pager.received)) == (3, 1)
        shop.look(5 * 3600 + 1)
        assert titles(webhook)[3:] == [
            "[error] shops: recovered: " + broken + " (v1/dataset/totals); " + broken
        ]
        assert titles(pager)[1:] == ["[recovered] shops: recovered: " + broken]


def test_a_reminder_says_how_it_is_now(shop, webhook, monkeypatch):
    monkeypatch.setenv("SHOP_HOOK", webhook.url)
    shop.declare(
        'alerts: {grace: PT0S, remind: PT1H, to: hook, channels: {hook: {webhook: {url: "${SHOP_HOOK}"}}}}\n'
    )
    readings = Readings(shop.settings.resolved_records_url)
    for hours, text in ((0, "two hours late"), (1, "three hours late")):
        at = datetime.now(UTC) + timedelta(hours=hours)
        readings.record([Reading("shops", "vw_totals", "freshness", "breached", at, text, "daily")])
        shop.look(3600 * hours + 1)
    first, second = (one["message"] for one in webhook.received)
    assert "two hours late" in first
    assert "three hours late" in second


def test_those_are_told_who_read_what_is_broken(shop, project, webhook, monkeypatch):
    """A registered consumer on its own channels, and one from outside by its contact; others are not disturbed."""
    monkeypatch.setenv("BOARD", webhook.url.replace("http", "json"))
    shop.declare('consumers: [{name: board, port: vw_totals, contact: "${BOARD}"}]\nalerts: {grace: PT0S}\n')
    report = project.add_product("report")
    with WebhookReceiver() as hook:
        monkeypatch.setenv("REPORT_HOOK", hook.url)
        block = 'alerts: {to: hook, channels: {hook: {webhook: {url: "${REPORT_HOOK}"}}}}\n'
        (report / "product.yaml").write_text((report / "product.yaml").read_text() + block)

        def look_at_report(later=0):
            moment = datetime.now(UTC) + timedelta(seconds=later)
            product = resolve(report, shop.settings)
            return str(look_at(product, shop.store, lambda _watcher, _now: Seen(), now=lambda: moment))

        look_at_report()
        registration = Registration("report", "shops", "vw_totals", 1, "2026-03-02T06:00:00+00:00")
        register_consumer(shop.settings.storage, "shops", registration)
        readings = Readings(shop.settings.resolved_records_url)
        at = datetime.now(UTC)
        readings.record([Reading("shops", "vw_totals", "freshness", "breached", at, "late", "daily")])
        shop.record("refused", gate="sunset", reason="past its sunset")
        assert shop.look() == "2 opened, 1 sent", "the refusal is the producer's own matter"
        assert look_at_report(1) == "1 sent"
        late = "[error] shops: SLA breached (v1/port/vw_totals/freshness)"
        assert titles(webhook) == titles(hook) == [late]
        # What another port shows is none of their business.
        shop.record("held", subject="v2/dataset/totals", reason="bad")
        shop.record("held", subject="v1/port/other", reason="bad")
        assert shop.look() == "2 opened, 1 recovered"
        assert look_at_report(2) == "nothing new"
