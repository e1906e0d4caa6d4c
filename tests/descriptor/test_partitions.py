"""The calendar of partitions: keys, windows, what is due; and what a descriptor may not say of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_dagster.descriptor.due import due_partitions
from dp_dagster.descriptor.partitions import CRONS, FORMATS, Calendar, PartitionsError, parse, read_told, told
from dp_dagster.descriptor.refresh import parse as parse_rate

MONTHS = Calendar("month", date(2013, 1, 1), date(2014, 1, 1), "America/New_York")
DAYS = Calendar("day", date(2026, 11, 1))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@given(
    by=st.sampled_from(sorted(FORMATS)),
    zone=st.sampled_from(
        ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]
    ),
    now=st.datetimes(datetime(2026, 3, 1), datetime(2026, 12, 1)),  # noqa: DTZ001 - given its zone below
)
@settings(max_examples=40, deadline=None)
def test_keys_and_windows_are_those_of_dagster(by: Any, zone: str, now: datetime) -> None:
    zone = "UTC" if by == "hour" else zone
    start = date(2026, 2, 23) if by == "hour" else date(2025, 9, 1)
    calendar = Calendar(by, start, None, zone)
    theirs = dg.TimeWindowPartitionsDefinition(
        start=start.strftime(calendar.format), fmt=calendar.format, cron_schedule=CRONS[by], timezone=zone
    )
    moment = now.replace(tzinfo=UTC)
    keys = calendar.due(moment)
    assert list(keys) == list(theirs.get_partition_keys(current_time=moment))
    assert calendar.newest_due(moment) == keys[-1]
    for key in keys[-3:]:
        window = theirs.time_window_for_partition_key(key)
        assert calendar.window(key) == (window.start, window.end)
        assert calendar.key_at(calendar.window(key)[0]) == key
        assert calendar.key_at(calendar.window(key)[1] - timedelta(seconds=1)) == key


def test_a_month_in_new_york_ends_at_midnight_there() -> None:
    assert MONTHS.window("2013-03") == (at("2013-03-01T05:00"), at("2013-04-01T04:00"))
    assert MONTHS.newest_due(at("2013-02-01T04:59")) is None
    assert MONTHS.newest_due(at("2013-02-01T05:00")) == "2013-01"
    assert MONTHS.newest_due(at("2026-01-01T00:00")) == "2013-12"
    assert MONTHS.key_at(at("2014-01-01T05:00")) is None


def test_selecting_and_telling() -> None:
    now = at("2026-11-25T12:00")
    assert MONTHS.select("2013-05", now) == ("2013-05",)
    assert MONTHS.select("2013-11..2013-12", now) == ("2013-11", "2013-12")
    for text, said in (
        ("2013-5", "is no key of a partition by month"),
        ("2013-05-01", "is no key of a partition by month"),
        ("2013-07..2013-05", "ends before it starts"),
        ("2014-01", "is no partition of the product"),
        ("", "is neither a partition nor a range"),
        ("a b", "is neither a partition nor a range"),
    ):
        with pytest.raises(PartitionsError, match=said):
            MONTHS.select(text, now)
    with pytest.raises(PartitionsError, match="not due yet: the newest that is, is 2026-11-24"):
        DAYS.select("2026-11-25", now)
    with pytest.raises(PartitionsError, match="is no Monday"):
        Calendar("week", date(2026, 1, 5)).select("2026-01-06", now)
    keys = ("2013-01", "2013-02", "2013-05", "2013-07", "2013-06")
    assert told(keys, MONTHS) == "2013-01..2013-02, 2013-05..2013-07"
    assert read_told(told(keys, MONTHS), MONTHS) == tuple(sorted(keys))
    assert read_told("2013-01-01, 2013-02", MONTHS) == ("2013-02",)


@pytest.mark.parametrize(
    ("value", "key", "said"),
    [
        ({"by": "year", "start": "2026-01-01"}, "by", "is no length"),
        ({"by": "day"}, "start", "is missing"),
        ({"by": "day", "start": "soon"}, "start", "is no day"),
        ({"by": "month", "start": "2026-01-02"}, "start", "is not the first of a month"),
        ({"by": "week", "start": "2026-01-01"}, "start", "is no Monday"),
        ({"by": "day", "start": "2026-01-02", "end": "2026-01-02"}, "end", "is not after start"),
        ({"by": "day", "start": "2026-01-01", "timezone": "Mars/Base"}, "timezone", "is no time zone"),
        ({"by": "hour", "start": "2026-01-01", "timezone": "Europe/Berlin"}, "timezone", "repeats or skips"),
        ({"by": "day", "start": "2026-01-01", "until": "2027-01-01"}, "until", "is no key"),
        ("daily", None, "wants a mapping"),
    ],
)
def test_what_is_no_calendar_is_refused(value: Any, key: str | None, said: str) -> None:
    with pytest.raises(PartitionsError, match=said) as caught:
        parse(value)
    assert caught.value.key == key
    assert caught.value.fix


def test_freshness_looks_at_what_is_newer_than_the_newest_published_one() -> None:
    now = at("2026-11-05T09:00")
    daily = parse_rate({"every": "0 6 * * *"})
    assert due_partitions(DAYS, (), at("2026-11-01T09:00")).newest is None
    nothing = due_partitions(DAYS, (), now, daily)
    assert (nothing.waiting, nothing.ended, nothing.expected) == (
        "2026-11-04",
        at("2026-11-05"),
        at("2026-11-05T06:00"),
    )
    gap = due_partitions(DAYS, ("2026-11-01", "2026-11-04"), now, daily)
    assert (gap.waiting, gap.missing) == (None, ("2026-11-02", "2026-11-03"))
    late = due_partitions(DAYS, ("2026-11-01", "2026-11-02"), now, daily)
    assert (late.waiting, late.expected, late.published) == (
        "2026-11-03",
        at("2026-11-04T06:00"),
        "2026-11-02",
    )
    # A tick at the very end of a partition is its tick.
    assert due_partitions(DAYS, (), now, parse_rate("daily")).expected == at("2026-11-05")
    assert due_partitions(DAYS, (), now, parse_rate("PT45M")).expected == at("2026-11-05T00:45")
    assert due_partitions(DAYS, (), now, parse_rate("real-time")).expected == at("2026-11-05")
