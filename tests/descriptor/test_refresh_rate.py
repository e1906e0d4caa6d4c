"""Refresh rates: what they mean, and what is said about those that mean nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice, pairwise, takewhile

import pytest
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dp_dagster.descriptor.refresh import RefreshRateError, longest_pause, parse, parse_duration

START = datetime(2025, 3, 7)  # noqa: DTZ001 - cron looks at the clock on the wall
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "kind", "cron", "stale", "warns"),
    [
        ("hourly", "calendar", "0 * * * *", 90 * MINUTE, 75 * MINUTE),
        ("daily", "calendar", "0 0 * * *", 36 * HOUR, 30 * HOUR),
        ("Weekly", "calendar", "0 0 * * 1", 10.5 * DAY, 8.75 * DAY),
        ("0 6 * * *", "calendar", "0 6 * * *", 36 * HOUR, 30 * HOUR),
        # Friday to Monday is the longest pause: nothing is late at the weekend.
        ("0 6 * * 1-5", "calendar", "0 6 * * 1-5", 4.5 * DAY, 3.75 * DAY),
        ("0  0 1 * *", "calendar", "0 0 1 * *", 46.5 * DAY, 38.75 * DAY),
        ("0 0 1 1 *", "calendar", "0 0 1 1 *", 549 * DAY, 457.5 * DAY),
        # Neither is anything late before Monday at eight.
        (
            "* 8-17 * * 1-5",
            "calendar",
            "* 8-17 * * 1-5",
            1.5 * (62 * HOUR + MINUTE),
            1.25 * (62 * HOUR + MINUTE),
        ),
        ("PT30M", "interval", "*/30 * * * *", 45 * MINUTE, 37.5 * MINUTE),
        ("PT6H", "interval", "0 */6 * * *", 9 * HOUR, 7.5 * HOUR),
        ("P1D", "interval", "0 0 * * *", 36 * HOUR, 30 * HOUR),
        ("P1W", "interval", "0 0 * * 1", 10.5 * DAY, 8.75 * DAY),
        ("PT45M", "interval", None, 67.5 * MINUTE, 56.25 * MINUTE),
        ("P2D", "interval", None, 3 * DAY, 2.5 * DAY),
        ("PT90M", "interval", None, 135 * MINUTE, 112.5 * MINUTE),
        ("PT1M", "interval", "* * * * *", 90 * timedelta(seconds=1), 75 * timedelta(seconds=1)),
    ],
)
def test_rates_and_their_windows(text, kind, cron, stale, warns):
    rate = parse(text)
    assert (rate.kind, rate.cron, rate.timezone) == (kind, cron, "UTC")
    assert (rate.freshness_window(), rate.warning_window()) == (stale, warns)


@pytest.mark.parametrize("text", ["real-time", "real_time", "REALTIME"])
def test_real_time_is_judged_by_its_lag(text):
    rate = parse(text)
    assert (rate.kind, rate.cron, rate.interval) == ("real_time", None, None)
    assert (rate.maximum_lag, rate.warn_lag) == (HOUR, HOUR / 2)
    assert rate.freshness_window() is None
    assert rate.warning_window() is None
    assert str(rate) == "real-time"


def test_the_long_form():
    rate = parse({"every": "0 6 * * *", "maximum_lag": "PT2H", "timezone": "Europe/Berlin"})
    assert rate.freshness_window() == 26 * HOUR
    assert rate.warning_window() == 25 * HOUR
    assert str(rate) == "0 6 * * * (Europe/Berlin)"
    rate = parse({"every": "real-time", "maximum_lag": "PT10M", "warn_lag": "PT1M"})
    assert (rate.maximum_lag, rate.warn_lag) == (10 * MINUTE, MINUTE)


@pytest.mark.parametrize(
    ("value", "key", "said"),
    [
        ("monthly", None, "is no refresh rate"),
        ("@daily", None, "is no refresh rate"),
        ("0 0 6 * * *", None, "is no refresh rate (six fields, with seconds, are not supported)"),
        ("61 * * * *", None, "is no cron expression: Bad minute"),
        ("0 0 31 2 *", None, "is no cron expression: Bad day-of-month"),
        ("0 0 */3 * 0", None, "is a cron expression that schedulers read in different ways"),
        ("0 0 1 * */2", None, "is a cron expression that schedulers read in different ways"),
        ("0 0 * * 5L", None, "is a cron expression that schedulers read in different ways"),
        ("P1Y", None, "is no ISO 8601 duration"),
        ("P1M", None, "is no ISO 8601 duration"),
        ("PT", None, "is no ISO 8601 duration"),
        ("P", None, "is no ISO 8601 duration"),
        ("P1DT", None, "is no ISO 8601 duration"),
        ("PT0S", None, "is out of range"),
        ("PT30S", None, "is out of range"),
        ("P367D", None, "is out of range"),
        ("", None, "is no refresh rate"),
        (5, None, "wants text or a mapping"),
        (None, None, "wants text or a mapping"),
        ({}, "every", "is missing"),
        ({"every": 5}, "every", "wants text"),
        ({"every": "often"}, "every", "is no refresh rate"),
        ({"every": "daily", "timezone": "Berlin"}, "timezone", "is no time zone"),
        ({"every": "daily", "timezone": "../etc/passwd"}, "timezone", "is no time zone"),
        ({"every": "daily", "maximum_lag": "1h"}, "maximum_lag", "is no ISO 8601 duration"),
        ({"every": "daily", "maximum_lag": "PT1S"}, "maximum_lag", "is out of range"),
        (
            {"every": "daily", "maximum_lag": "PT1H", "warn_lag": "PT1H"},
            "warn_lag",
            "must be shorter than the maximum lag of 1:00:00",
        ),
        ({"every": "daily", "warm_lag": "PT1H"}, "warm_lag", "unknown key"),
    ],
)
def test_what_is_no_rate_is_refused(value, key, said):
    with pytest.raises(RefreshRateError) as caught:
        parse(value)
    assert (str(caught.value), caught.value.key) == (said, key)
    assert caught.value.fix


@given(
    st.text() | st.dictionaries(st.sampled_from(["every", "maximum_lag", "warn_lag", "timezone"]), st.text())
)
def test_any_text_is_a_rate_or_refused(value):
    try:
        rate = parse(value)
    except RefreshRateError:
        return
    assert rate.warn_lag < rate.maximum_lag


@given(
    st.integers(0, 99), st.integers(0, 999), st.integers(0, 999), st.integers(0, 9999), st.integers(0, 9999)
)
def test_durations_add_up(weeks, days, hours, minutes, seconds):
    text = f"P{weeks}W{days}DT{hours}H{minutes}M{seconds}S"
    assert parse_duration(text) == timedelta(
        weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds
    )


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["0", "59", "*/7", "5,50"]),
    st.sampled_from(["*", "0", "23", "8-17", "*/5"]),
    st.sampled_from(["*", "1", "1,15", "*/3", "31"]),
    st.sampled_from(["*", "2", "1-3"]),
    st.sampled_from(["*", "1-5", "0"]),
)
def test_no_pause_between_ticks_is_longer(minute, hour, day, month, weekday):
    assume((day, month) != ("31", "2"))
    assume(day != "*/3" or weekday == "*")  # refused
    cron = f"{minute} {hour} {day} {month} {weekday}"
    longest = longest_pause(cron)

    def within(tick):
        return tick.year < 2034

    pauses = [
        after - before for before, after in pairwise(takewhile(within, islice(CronSim(cron, START), 2000)))
    ]
    assert max(pauses) <= longest
    if len(set(pauses)) == 1:
        assert pauses[0] == longest


@pytest.mark.slow
def test_dagster_takes_every_cron_expression_that_we_make():
    from dagster import ScheduleDefinition, define_asset_job

    job = define_asset_job("job")
    rates = (
        "hourly",
        "daily",
        "weekly",
        "PT30M",
        "PT6H",
        "PT1M",
        "0 6 * * MON-FRI",
        "0 0 L * *",
        "5 4 1,15 * sun",
    )
    for text in rates:
        cron = parse(text).cron
        assert ScheduleDefinition(job=job, cron_schedule=cron).cron_schedule == cron
