"""How each objective is judged: pure functions of facts and a time that the test sets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp_dagster.descriptor.objective_forms import read_objectives
from dp_dagster.descriptor.objectives import OBJECTIVES
from dp_dagster.sla.calendar import is_open, next_change, tick_after, ticks_before
from dp_dagster.sla.facts import Answered, Facts, Incident, Measured, Publication, Readable, Shown, Unknown
from dp_dagster.sla.measures import MEASURES, measure
from dp_dagster.sla.measures.answers import quantile, recent, slower_share
from dp_dagster.sla.model import Budget
from dp_dagster.sla.words import percent, span

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MONTH = 30 * DAY


def shown(age: timedelta = HOUR, version: int = 7, rows: int = 100) -> Shown:
    return Shown(version, NOW - age, NOW - age, rows)


def publications(*ages: timedelta, rows: int = 100) -> tuple[Publication, ...]:
    return tuple(Publication(len(ages) - number, NOW - age, rows) for number, age in enumerate(ages))


def judged(objective: Any, now: datetime = NOW, /, **facts: Any) -> Measured:
    """What an objective comes to; by default its port has been watched for a month and shows a version."""
    (read,) = read_objectives(objective)
    return measure(
        read, Facts(**{"watched_since": NOW - MONTH, "shown": shown(), "support": True, **facts}), now
    )


judge = judged

# -- every objective -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_has_a_measure_that_says_why(name):
    kind = OBJECTIVES[name]
    for value in (kind.example, {kind.short: kind.example}):
        for facts in ({}, {"shown": None}, {"shown": None, "first_due": NOW - DAY, "watched_since": NOW}):
            measured = judge({name: value}, **facts)
            assert measured.reason
            assert measured.state in {"met", "warning", "breached", "pending", "not_evaluated"}
    assert set(MEASURES) == set(OBJECTIVES)


@pytest.mark.parametrize(
    "name", ["availability", "error_rate", "latency", "completeness", "volume", "retention"]
)
def test_what_was_never_published_is_late_after_its_deadline(name):
    objective = {name: OBJECTIVES[name].example}
    waiting = judge(objective, shown=None, first_due=NOW + HOUR)
    assert (waiting.state, waiting.reason) == (
        "pending",
        "nothing was published yet; due by 2026-03-10 13:00 UTC",
    )
    late = judge(objective, shown=None, first_due=NOW - 2 * HOUR)
    assert (late.state, late.onset) == ("breached", NOW - 2 * HOUR)
    assert late.reason == "never published; was due by 2026-03-10 10:00 UTC, 2 h ago"
    assert judge(objective, shown=None).state == "pending"


@pytest.mark.parametrize(
    ("objective", "due"),
    [
        ({"freshness": "6h"}, 6 * HOUR),
        ({"freshness": {"target": "6h", "column": "at"}}, 6 * HOUR),
        ({"frequency": "daily"}, 1.5 * DAY),
        ({"time_of_availability": "07:00"}, 19 * HOUR),
    ],
)
def test_objectives_with_a_deadline_of_their_own_wait_for_it(objective, due):
    watched = NOW - timedelta(minutes=1)
    early = judge(objective, watched + due - timedelta(minutes=2), shown=None, watched_since=watched)
    assert early.state == "pending"
    late = judge(objective, watched + due + timedelta(minutes=2), shown=None, watched_since=watched)
    assert late.state == "breached"
    assert abs(late.onset - (watched + due)) <= timedelta(minutes=1)


# -- availability, error rate, latency ---------------------------------------------------------------------


def answered(total: int, bad: int = 0, age: timedelta = MONTH, probes: int = 0, **more: Any) -> Answered:
    return Answered(total, total - bad, NOW - age, probes=probes, **more)


def test_three_nines_over_a_month_leave_43_minutes():
    measured = judge("99.9%", answers={(MONTH, True): answered(1_000_000, 300, probes=10)})
    assert measured.budget.total == timedelta(minutes=43.2)
    assert measured.budget.spent == timedelta(minutes=43.2) * 0.3
    assert measured.budget.left == pytest.approx(0.7)
    assert (measured.state, measured.value, measured.target) == ("met", 0.9997, 0.999)
    assert measured.reason == "99.97 % good, of 999,990 answers and 10 probes"
    assert judge({"availability": {"target": "99%", "window": "7d"}}).state == "not_evaluated"


@pytest.mark.parametrize(
    ("bad", "state"), [(0, "met"), (700, "met"), (760, "warning"), (1000, "warning"), (1001, "breached")]
)
def test_the_budget_decides(bad, state):
    measured = judge("99.9%", answers={(MONTH, True): answered(1_000_000, bad)})
    assert measured.state == state


def test_a_young_port_is_not_judged_by_its_first_answers():
    # Ten minutes of a day: one per cent of it bad, and still within 43 minutes of the month.
    measured = judge("99.9%", answers={(MONTH, True): answered(144, 1, DAY, probes=144)})
    assert measured.state == "warning"
    assert measured.budget.spent == timedelta(minutes=10)
    assert measured.reason.endswith("10 min of a budget of 43.2 min are spent")
    assert judge("99.9%", answers={(MONTH, True): answered(144, 5, DAY, probes=144)}).state == "breached"


def test_a_budget_that_burns_fast_warns():
    assert recent(MONTH) == HOUR
    answers = {(MONTH, True): answered(1_000_000, 10), (HOUR, True): answered(1000, 20)}
    measured = judge("99.9%", answers=answers)
    assert measured.budget.burn_rate == pytest.approx(20)
    assert (measured.state, measured.reason.partition("; ")[2]) == (
        "warning",
        "the budget is spent 20 times too fast",
    )
    slower = judge("99.9%", answers={**answers, (HOUR, True): answered(1000, 10)})
    assert (slower.state, slower.budget.burn_rate) == ("met", pytest.approx(10))


def test_a_promise_of_everything_leaves_no_budget():
    perfect = judge("100%", answers={(MONTH, True): answered(1000)})
    assert (perfect.state, perfect.budget.left) == ("met", 1.0)
    assert judge("100%", answers={(MONTH, True): answered(10**9, 1)}).state == "breached"


def test_error_rate_counts_answers_and_no_probes():
    counts = {(MONTH, False): answered(1000, 2), (MONTH, True): answered(2000, 900, probes=1000)}
    measured = judge({"error_rate": "0.1%"}, answers=counts)
    assert (measured.state, measured.value) == ("breached", 0.002)
    assert judge({"error_rate": "0.3%"}, answers=counts).state == "met"
    assert judge({"error_rate": "0.3%"}).reason == "nobody called in 30 d"


def test_latency_is_read_from_the_histogram():
    buckets = ((0.05, 900), (0.1, 60), (0.5, 30), (float("inf"), 10))
    answers = {(DAY, False): answered(1000, 0, DAY, buckets=buckets)}
    measured = judge({"latency": "200ms"}, answers=answers)
    assert measured.value == pytest.approx(0.05 + 0.05 * 50 / 60)
    assert measured.state == "met"
    assert judge({"latency": {"p99": "100ms"}}, answers=answers).state == "breached"
    assert judge({"latency": {"p95": "92ms"}}, answers=answers).state == "warning"
    assert quantile(buckets, 0.999) == 0.5, "a histogram knows nothing above its last bound"


@given(st.lists(st.integers(0, 50), min_size=3, max_size=8).filter(any), st.floats(0.01, 0.99))
def test_a_quantile_and_the_share_above_it_agree(counts, share):
    buckets = tuple((0.1 * 2**number, count) for number, count in enumerate(counts))
    value = quantile(buckets, share)
    assert slower_share(buckets, value) == pytest.approx(1 - share, abs=1e-6)
    assert 0 < value <= buckets[-1][0]


# -- age ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "state", "onset"),
    [
        (4 * HOUR, "met", None),
        (5 * HOUR, "warning", NOW - 5 * HOUR + 4.8 * HOUR),
        (7 * HOUR, "breached", NOW - HOUR),
        (-2 * HOUR, "met", None),
    ],
)
def test_freshness_ages_with_the_publication(age, state, onset):
    measured = judge({"freshness": "6h"}, shown=shown(age))
    assert (measured.state, measured.onset) == (state, onset)
    assert measured.value == max(age.total_seconds(), 0)


def test_freshness_by_a_column():
    objective = {"freshness": {"target": "6h", "warn": "1h", "column": "sold_at"}}
    assert judge(objective, newest={"sold_at": NOW - 2 * HOUR}).state == "warning"
    assert judge(objective, newest={"sold_at": NOW - 7 * HOUR}).reason == (
        "the newest sold_at is 2026-03-10 05:00 UTC; at most 6 h"
    )
    lost = judge(objective, newest={"sold_at": Unknown("version 7 has no rows")})
    assert (lost.state, lost.reason) == ("not_evaluated", "version 7 has no rows")


def test_freshness_behind_what_it_is_made_from_does_not_age_with_a_quiet_source():
    objective = {"freshness": {"target": "1h", "of": "upstream"}}
    assert judge(objective, shown=shown(400 * DAY), lag=(timedelta(0), "shows the newest")).state == "met"
    assert judge(objective, lag=(2 * HOUR, "behind files for 2:00:00")).state == "breached"
    assert judge(objective, lag=Unknown("gone")).reason == "the lag cannot be measured: gone"


def test_frequency_is_judged_by_the_pause_that_lasts():
    assert judge({"frequency": "daily"}, history=publications(20 * HOUR, 44 * HOUR)).state == "met"
    assert judge({"frequency": "daily"}, history=publications(31 * HOUR, 44 * HOUR)).state == "warning"
    late = judge({"frequency": "daily"}, history=publications(40 * HOUR, 44 * HOUR))
    assert (late.state, late.onset) == ("breached", NOW - 4 * HOUR)
    once = judge({"frequency": "daily"}, history=publications(HOUR, 60 * HOUR))
    assert (once.state, once.value) == ("warning", 59 * 3600)
    rolled_back = (replace(publications(HOUR)[0], operation="rollback", version=9), *publications(40 * HOUR))
    assert judge({"frequency": "daily"}, history=rolled_back).state == "breached", (
        "a rollback brings nothing new"
    )


def test_a_deadline_wants_something_new_since_the_one_before():
    objective = {"time_of_availability": "07:00"}
    daily = [NOW.replace(hour=6) - day * DAY for day in range(10)]
    judge = partial(judged, watched_since=daily[-1])
    kept = judge(objective, history=publications(*(NOW - at for at in daily)))
    assert (kept.state, kept.value) == ("met", 1.0)
    assert kept.reason == "there by 2026-03-10 07:00 UTC; 10 of 10 deadlines kept"
    missed = judge(objective, history=publications(*(NOW - at for at in daily[1:])))
    assert (missed.state, missed.onset) == ("breached", NOW.replace(hour=7))
    assert missed.reason == (
        "nothing new since 2026-03-09 06:00 UTC, due by 2026-03-10 07:00 UTC; 9 of 10 deadlines kept"
    )
    late = judge(objective, history=publications(HOUR, *(NOW - at for at in daily[1:])))
    assert (late.state, late.reason.partition(";")[0]) == ("warning", "came 4 h after 2026-03-10 07:00 UTC")


def test_a_deadline_from_before_anybody_watched_is_not_held_against_the_first_version():
    measured = judge(
        {"time_of_availability": "07:00"}, history=publications(HOUR), watched_since=NOW - 2 * HOUR
    )
    assert (measured.state, measured.reason) == (
        "pending",
        "watched since 2026-03-10 10:00 UTC; due by 2026-03-11 07:00 UTC",
    )


# -- contents, incidents, dates --------------------------------------------------------------------------------


def test_completeness_is_what_was_accepted_of_what_came_in():
    assert judge({"completeness": "99%"}, rows_in=(1000, 990)).state == "met"
    low = judge({"completeness": "99%"}, rows_in=(1000, 989))
    assert (low.state, low.value) == ("breached", 0.989)
    assert judge({"completeness": "99%"}, rows_in=(0, 0)).state == "met"
    assert judge({"completeness": "99%"}, rows_in=Unknown("lost")).state == "not_evaluated"


def test_volume_is_compared_with_the_versions_before():
    history = tuple(
        Publication(number, NOW - number * DAY, rows) for number, rows in ((6, 100), (5, 90), (4, 1000))
    )
    usual = judge({"volume": {"tolerance": "20%", "versions": 2}}, shown=shown(rows=110), history=history)
    assert (usual.state, usual.target) == ("met", 95)
    assert judge({"volume": "20%"}, shown=shown(rows=121), history=history).state == "breached"
    assert judge({"volume": "20%"}, shown=shown(rows=79), history=history).state == "breached"
    assert judge({"volume": "20%"}, history=publications(HOUR)).state == "met"
    first = judge({"volume": "20%"}, shown=shown(version=0), history=())
    assert (first.state, first.value) == ("pending", 100)
    assert judge({"volume": {"minimum": 101}}).reason == "version 7 has 100 rows; at least 101 are promised"
    assert judge({"volume": {"maximum": 99}}).state == "breached"
    assert judge({"volume": {"minimum": 100, "maximum": 100}}).state == "met"


def test_retention_looks_for_the_version_of_back_then():
    assert judge({"retention": "90d"}, readable=Readable(NOW - 91 * DAY)).state == "met"
    young = judge({"retention": "90d"}, readable=Readable(NOW - DAY))
    assert (young.state, young.reason) == ("met", "all versions since the first, 24 h ago, can be read")
    assert judge({"retention": "90d"}, readable=Readable(NOW - 91 * DAY, "vacuumed")).state == "breached"


def test_repair_counts_what_is_still_held_until_now():
    over = Incident(NOW - 20 * HOUR, repaired_at=NOW - 15 * HOUR)
    lasting = Incident(NOW - 9 * HOUR)
    assert judge({"time_to_repair": "8h"}, incidents=(over,)).state == "met"
    measured = judge({"time_to_repair": "8h"}, incidents=(over, lasting))
    assert (measured.state, measured.value, measured.onset) == ("breached", 9 * 3600, NOW - HOUR)
    long_ago = Incident(NOW - 60 * DAY, repaired_at=NOW - 50 * DAY)
    assert judge({"time_to_repair": "8h"}, incidents=(long_ago,)).reason == "nothing was held in 30 d"


def test_detection_counts_from_when_it_went_wrong():
    held = Incident(NOW - HOUR, arrived_at=NOW - 2 * HOUR)
    unknown = Incident(NOW - HOUR)
    assert judge({"time_to_detect": "15min"}, incidents=(unknown,)).state == "met"
    assert judge({"time_to_detect": "15min"}, incidents=(held,)).value == 3600
    noticed = (NOW - DAY, NOW - DAY + timedelta(minutes=10))
    assert judge({"time_to_detect": "15min"}, breaches=(noticed,)).value == 600
    before = judge({"time_to_detect": "15min"}, breaches=((NOW - DAY, NOW),), watched_since=NOW)
    assert before.value == 0, "nobody could notice before anybody watched"


def test_dates():
    early = judge({"general_availability": "2026-04-01"}, shown=None)
    assert early.state == "pending"
    late = judge({"general_availability": "2026-03-01"}, shown=None)
    assert (late.state, late.onset) == ("breached", datetime(2026, 3, 1, tzinfo=UTC))
    assert judge({"general_availability": "2026-03-01"}).state == "met"
    for name in ("end_of_support", "end_of_life"):
        assert judge({name: "2027-01-01"}).state == "met"
        assert judge({name: "2026-04-01"}).state == "warning"
        assert judge({name: "2026-03-01"}).state == "warning"
        assert judge({name: "2026-03-01"}, shown=None).state == "met"
    assert judge({"end_of_support": "2027-01-01"}, support=False).state == "breached"
    gone = judge({"end_of_life": "2027-01-01"}, shown=None, first_due=NOW - DAY)
    assert (gone.state, gone.reason) == (
        "breached",
        "nothing is on show, promised until 2027-01-01 00:00 UTC",
    )


# -- clocks ---------------------------------------------------------------------------------------------------

BERLIN = "Europe/Berlin"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_deadlines_follow_the_clock_over_changes():
    # The clock goes from 2 to 3 on 29 March and from 3 to 2 on 25 October.
    ticks = list(zip(range(3), ticks_before("0 7 * * *", BERLIN, utc("2026-03-30T05:00")), strict=False))
    assert [tick for _, tick in ticks] == [
        utc("2026-03-30T05:00"),
        utc("2026-03-29T05:00"),
        utc("2026-03-28T06:00"),
    ]
    autumn = ticks_before("0 7 * * *", BERLIN, utc("2026-10-26T06:00"))
    assert [next(autumn), next(autumn), next(autumn)] == [
        utc("2026-10-26T06:00"),
        utc("2026-10-25T06:00"),
        utc("2026-10-24T05:00"),
    ]
    # 2:30 does not come on 29 March, and comes twice on 25 October.
    assert tick_after("30 2 * * *", BERLIN, utc("2026-03-28T12:00")) == utc("2026-03-29T01:00")
    twice = tick_after("30 2 * * *", BERLIN, utc("2026-10-24T12:00"))
    assert twice in {utc("2026-10-25T00:30"), utc("2026-10-25T01:30")}
    assert tick_after("30 2 * * *", BERLIN, twice) > twice


@given(st.integers(0, 3 * 365 * 24 * 60))
def test_the_last_deadline_and_the_next_enclose_the_time(minutes):
    now = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    last = next(ticks_before("15 2 * * 1-5", BERLIN, now))
    assert last <= now < tick_after("15 2 * * 1-5", BERLIN, now)
    assert tick_after("15 2 * * 1-5", BERLIN, last) > now


def test_support_hours_follow_the_clock():
    (objective,) = read_objectives({"support_hours": {"hours": "Mon-Fri 09:00-17:00", "timezone": BERLIN}})
    hours = objective.hours
    assert not is_open(hours, BERLIN, utc("2026-03-27T07:59"))
    assert is_open(hours, BERLIN, utc("2026-03-27T08:00"))
    assert is_open(hours, BERLIN, utc("2026-03-30T07:00")), "an hour earlier in UTC after the change"
    assert next_change(hours, BERLIN, utc("2026-03-27T16:00")) == utc("2026-03-30T07:00")
    assert next_change(hours, BERLIN, utc("2026-10-23T10:00")) == utc("2026-10-23T15:00")
    assert next_change(hours, BERLIN, utc("2026-10-23T15:00")) == utc("2026-10-26T08:00")
    (always,) = read_objectives({"support_hours": "24/7"})
    assert next_change(always.hours, "UTC", NOW) is None
    said = judge({"support_hours": "24/7"}).reason
    assert said == "nothing here sees when questions are answered; support is open now"


def test_words():
    assert [span(timedelta(seconds=one)) for one in (0, 0.2, 59, 90, 5400, 172800)] == [
        "0 s",
        "200 ms",
        "59 s",
        "1.5 min",
        "1.5 h",
        "2 d",
    ]
    assert [percent(one) for one in (1, 0.999999, 0.0000001, 0, 0.5)] == [
        "100 %",
        "99.9999 %",
        "0.00001 %",
        "0 %",
        "50 %",
    ]
    assert Budget(timedelta(0), timedelta(1)).left < 0
