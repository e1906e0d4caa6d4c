"""The states of alerts, without a store: what is seen twice is told once, and nothing is lost."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_dagster.alerts.kept import Told
from dp_dagster.alerts.machine import Telling, announce, fold
from dp_dagster.alerts.maintenance import quiet_until, window_at
from dp_dagster.alerts.message import TITLES, compose
from dp_dagster.alerts.model import SEVERITY_OF, Address, Observation
from dp_dagster.descriptor.alerting import CONDITIONS, Maintenance

START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CHAT, PAGER = Address("shops", "chat"), Address("shops", "pager")


def seen(condition="failed_run", bad=True, minute=0, subject="run", event=True):
    return Observation(
        "shops",
        subject,
        condition,
        bad=bad,
        at=START + minute * MINUTE,
        reason=f"at {minute}",
        is_event=event,
    )


def ids():
    return map("a{}".format, itertools.count())


def telling(**values):
    given_values = {
        "addresses": lambda _: (CHAT,),
        "escalation": lambda _: (PAGER,),
        "quiet_until": lambda _: None,
        "grace": 0 * MINUTE,
    }
    return Telling(**{**given_values, **values})


class Watched:
    """What a watcher does, look by look, in memory."""

    def __init__(self, **values):
        self.ids = ids()
        self.telling = telling(**values)
        self.alerts = {}
        self.items = []

    def look(self, *observations, minute=0, covered=(), unknown=()):
        now = START + minute * MINUTE
        before = [alert for alert in self.alerts.values() if alert.is_open]
        changes = fold(
            "shops",
            before,
            observations,
            now=now,
            new_id=lambda: next(self.ids),
            covered=covered,
            unknown=unknown,
        )
        self.alerts |= {change.alert.id: change.alert for change in changes}
        told, items = announce(
            [alert for alert in self.alerts.values() if alert.is_open], changes, self.telling, now
        )
        self.alerts |= {alert.id: alert for alert in told}
        self.items += items
        return [(item.kind, item.alert.condition, item.address.channel) for item in items]


def test_every_condition_has_words_and_says_how_bad_it_is():
    assert set(TITLES) == set(SEVERITY_OF) == set(CONDITIONS)


def test_opens_once_collects_and_recovers_once():
    watched = Watched()
    assert watched.look(seen()) == [("opened", "failed_run", "chat")]
    assert watched.look(seen(minute=5), minute=5) == []
    assert watched.look(minute=6) == []
    (alert,) = watched.alerts.values()
    assert (alert.occurrences, alert.reason, alert.opened_at) == (2, "at 5", START)
    assert watched.look(seen(bad=False, minute=7), minute=7) == [("recovered", "failed_run", "chat")]
    assert watched.look(seen(bad=False, minute=8), minute=8) == []
    (alert,) = watched.alerts.values()
    assert (alert.state, alert.recovered_at) == ("recovered", START + 7 * MINUTE)
    assert watched.look(seen(minute=9), minute=9) == [("opened", "failed_run", "chat")]
    assert len(watched.alerts) == 2


def test_what_began_and_ended_between_two_looks_is_told():
    watched = Watched()
    assert watched.look(seen(), seen(bad=False, minute=1), minute=2) == [
        ("opened", "failed_run", "chat"),
        ("recovered", "failed_run", "chat"),
    ]


def test_a_warning_that_becomes_a_breach_is_one_alert_that_gets_worse():
    watched = Watched()
    warning, breach = (seen(name, subject="port", event=False) for name in ("sla_warning", "sla_breach"))
    assert watched.look(warning, covered={"sla"}) == [("opened", "sla_warning", "chat")]
    assert watched.look(breach, covered={"sla"}) == [("worse", "sla_breach", "chat")]
    assert watched.look(breach, covered={"sla"}) == []
    # Better, but not well yet: nothing to tell.
    assert watched.look(warning, covered={"sla"}) == []
    assert watched.look(covered={"sla"}) == [("recovered", "sla_breach", "chat")]
    assert len(watched.alerts) == 1


def test_what_is_unknown_is_no_recovery():
    watched = Watched()
    watched.look(seen("sla_breach", subject="port", event=False), covered={"sla"})
    assert watched.look(covered={"sla"}, unknown={("shops", "port", "sla")}) == []
    assert watched.look(covered={"stuck_run"}) == []
    assert watched.look(covered={"sla"}) == [("recovered", "sla_breach", "chat")]


def test_reminders_and_escalation_until_somebody_takes_it_on():
    watched = Watched(remind=10 * MINUTE, escalate_after=15 * MINUTE)
    watched.look(seen())
    assert watched.look(minute=9) == []
    assert watched.look(minute=10) == [("reminder", "failed_run", "chat")]
    assert watched.look(minute=10) == []
    assert watched.look(minute=15) == [("escalated", "failed_run", "pager")]
    assert watched.look(minute=16) == []
    (alert,) = watched.alerts.values()
    watched.alerts[alert.id] = alert.changed(acknowledged_at=START, acknowledged_by="user:ada")
    assert watched.look(minute=60) == []
    # Who was told that it began is told that it is over.
    assert watched.look(seen(bad=False, minute=61), minute=61) == [
        ("recovered", "failed_run", "chat"),
        ("recovered", "failed_run", "pager"),
    ]


def test_messages_wait_during_maintenance():
    end = START + 30 * MINUTE
    window = {"quiet_until": lambda moment: end if START <= moment < end else None}
    recovers = Watched(**window)
    assert recovers.look(seen()) == []
    assert recovers.look(seen(bad=False, minute=20), minute=20) == []
    assert recovers.look(minute=40) == []
    lasts = Watched(**window)
    assert lasts.look(seen()) == []
    assert lasts.look(minute=30) == [("opened", "failed_run", "chat")]
    # Told before, over meanwhile: that is told, too, but not in the middle of it.
    known = Watched(**window)
    known.look(seen(minute=-5), minute=-5)
    assert known.look(seen(bad=False, minute=20), minute=20) == [("recovered", "failed_run", "chat")]
    assert known.items[-1].due_at == end


def test_windows_that_follow_each_other_are_one_time_of_quiet():
    windows = [
        Maintenance.model_validate({"cron": "0 2 * * *", "duration": "PT2H"}),
        Maintenance.model_validate({"from": "2026-03-02T03:30", "to": "2026-03-02T06:00"}),
    ]
    assert quiet_until(windows, datetime(2026, 3, 2, 2, 30, tzinfo=UTC)) == START
    assert quiet_until(windows, START) is None
    always = [Maintenance.model_validate({"cron": "0 * * * *", "duration": "PT1H"})]
    assert quiet_until(always, START) > START


def test_without_anybody_to_tell_it_is_told_when_there_is_somebody():
    somebody = []
    watched = Watched(addresses=lambda _: somebody)
    assert watched.look(seen()) == []
    somebody.append(CHAT)
    assert watched.look(minute=1) == [("opened", "failed_run", "chat")]


OBSERVATIONS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["failed_run", "sla_warning", "sla_breach"]),
        st.booleans(),
    ),
    max_size=12,
)


@given(OBSERVATIONS, st.data())
def test_however_looks_are_cut_and_repeated_each_alert_is_told_once(observed, data):
    observations = [
        seen(condition, bad, number, subject) for number, (subject, condition, bad) in enumerate(observed)
    ]
    watched = Watched()
    rest = observations
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        part, rest = rest[:size], rest[size:]
        watched.look(*part, minute=100)
        # Evaluated again, after a restart for example, on states that still hold.
        for observation in part[-1:]:
            watched.look(observation, minute=100)
    # What must have been opened and closed, by a model of one line for each key.
    is_bad, opened, recovered = {}, 0, 0
    for observation in observations:
        before = is_bad.get(observation.key, False)
        opened += observation.bad and not before
        recovered += before and not observation.bad
        is_bad[observation.key] = observation.bad
    told = Counter(item.kind for item in watched.items)
    assert (told["opened"], told["recovered"]) == (opened, recovered)
    assert sum(alert.is_open for alert in watched.alerts.values()) == sum(is_bad.values())
    names = [(item.alert.id, item.kind, item.address, item.number) for item in watched.items]
    assert len(names) == len(set(names)), "an item is named for good"


TITLE = (
    "[error] Shops: contract broken, nothing published (v1/dataset/totals); run failed (run); "
    "recovered: run failed (run)"
)
BERLIN = {"timezone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("window", "moment", "inside"),
    [
        ({"cron": "0 2 * * 0", "duration": "PT2H", **BERLIN}, "2026-03-01T01:30+00:00", True),
        ({"cron": "0 2 * * 0", "duration": "PT2H", **BERLIN}, "2026-03-01T01:00+00:00", True),
        ({"cron": "0 2 * * 0", "duration": "PT2H", **BERLIN}, "2026-03-01T03:00+00:00", False),
        ({"cron": "0 2 * * 0", "duration": "PT2H", **BERLIN}, "2026-03-01T00:59+00:00", False),
        # The night in which the clock leaps from 2 to 3: two hours of real time from then on.
        ({"cron": "0 2 * * 0", "duration": "PT2H", **BERLIN}, "2026-03-29T02:59+00:00", True),
        ({"cron": "0 2 * * 0", "duration": "PT2H", **BERLIN}, "2026-03-29T03:00+00:00", False),
        ({"from": "2026-12-24T18:00", "to": "2026-12-27T06:00", **BERLIN}, "2026-12-24T17:00+00:00", True),
        ({"from": "2026-12-24T18:00", "to": "2026-12-27T06:00", **BERLIN}, "2026-12-24T16:59+00:00", False),
        ({"from": "2026-12-24T18:00", "to": "2026-12-27T06:00", **BERLIN}, "2026-12-27T05:00+00:00", False),
    ],
)
def test_maintenance_windows(window, moment, inside):
    found = window_at([Maintenance.model_validate(window)], datetime.fromisoformat(moment))
    assert (found is not None) == inside


def test_a_message_says_what_since_when_and_how_bad():
    watched = Watched()
    watched.look(
        Observation(
            "shops",
            "v1/dataset/totals",
            "contract_violation",
            bad=True,
            at=START,
            reason="1 of 4 rows breaks\n# a rule: 1 <2, <img src=x>",
            facts={"run": "http://ui/runs/1", "run id": "1", "consumers see": "version 3"},
        ),
        seen(minute=1),
    )
    watched.look(seen(bad=False, minute=9), minute=9)
    told = [Told(item.kind, item.alert) for item in watched.items]
    title, body, severity = compose(lambda _: "Shops", "shops", told)
    assert (title, severity) == (TITLE, "error")
    assert body.splitlines() == [
        "**contract broken, nothing published**: v1/dataset/totals",
        "",
        "1 of 4 rows breaks # a rule: 1 <2, < img src=x>",
        "",
        "- since: 2026-03-02 06:00:00 UTC",
        "- severity: error",
        "- run: http://ui/runs/1",
        "- consumers see: version 3",
        "- take it on: dp alerts acknowledge a0",
        "",
        "**run failed**: run",
        "",
        "at 1",
        "",
        "- since: 2026-03-02 06:01:00 UTC",
        "- severity: error",
        "- take it on: dp alerts acknowledge a1",
        "",
        "**recovered: run failed**: run",
        "",
        "at 9",
        "",
        "- since: 2026-03-02 06:01:00 UTC, until 2026-03-02 06:09:00 UTC (8 minutes)",
    ]
    many = compose(lambda _: "Shops", "shops", [*told, told[0]])
    assert many[0] == "[error] Shops: 3 wrong, 1 recovered"
    alone = compose(lambda _: "Shops", "shops", told[2:])
    assert alone[::2] == ("[recovered] Shops: recovered: run failed (run)", "recovered")


@pytest.mark.parametrize("drawn", [("a", "b"), ("b", "a")])
def test_what_began_at_the_same_moment_is_told_in_one_order(drawn):
    """Whatever ids were drawn for it."""
    watched = Watched()
    watched.ids = iter(drawn)
    watched.look(seen(), seen("contract_violation", subject="v1/dataset/totals"))
    told = [Told(item.kind, item.alert) for item in watched.items]
    title, _, _ = compose(lambda _: "Shops", "shops", told)
    assert title == (
        "[error] Shops: contract broken, nothing published (v1/dataset/totals); run failed (run)"
    )
