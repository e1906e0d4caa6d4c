"""What follows from the records of a product, and one look at it with everything that belongs to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dp_dagster.alerts.store import AlertStore
from dp_dagster.alerts.watch import Seen, look_at
from dp_dagster.records import Records
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.sla.model import Reading
from dp_dagster.sla.store import Readings

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
