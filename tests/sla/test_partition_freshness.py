"""Freshness of a dataset with partitions: the newest that is due decides, not the last publication."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from dp_dagster.descriptor.due import due_partitions
from dp_dagster.descriptor.objectives import Freshness
from dp_dagster.descriptor.partitions import Calendar
from dp_dagster.descriptor.refresh import parse
from dp_dagster.sla.facts import Facts, Measured, Partitions, Shown
from dp_dagster.sla.measures import measure

DAYS = Calendar("day", date(2026, 3, 1))
DAILY = parse({"every": "0 6 * * *", "maximum_lag": "PT4H", "warn_lag": "PT2H"})
PROMISED = Freshness(
    target=timedelta(hours=4),
    warn=timedelta(hours=2),
    of="partition",
    declared="daily",
    origin="refresh_rate",
)


def judged(now: datetime, *published: str, objective: Freshness = PROMISED, **facts: Any) -> Measured:
    """What freshness comes to; the port was published just now, whatever it shows."""
    shown = Shown(3, now, now, 10) if published else None
    since = facts.get("watched_since", now - timedelta(days=30))
    due = due_partitions(DAYS, published, now, DAILY, since)
    known = {"watched_since": since, "shown": shown, "partitions": Partitions(DAYS, due), **facts}
    return measure(objective, Facts(**known), now)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-{text}").replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        ("10T00:00", "met"),  # the 9th has just ended, and is due at 6
        ("10T07:59", "met"),
        ("10T08:01", "warning"),
        ("10T10:01", "breached"),
        ("12T00:00", "breached"),  # that the 10th and 11th are due by now makes it no better
    ],
)
def test_the_first_one_that_is_missing_since_the_newest_decides(now: str, state: str) -> None:
    measured = judged(at(now), "2026-03-07", "2026-03-08")
    assert measured.state == state
    if state == "breached":
        assert measured.onset == at("10T10:00")
        assert "partition 2026-03-09 was due 2026-03-10 06:00 UTC" in measured.reason


def test_an_old_partition_that_was_published_just_now_makes_nothing_fresh() -> None:
    assert judged(at("12T00:00"), "2026-03-01").state == "breached"
    there = judged(at("12T00:00"), "2026-03-01", "2026-03-11")
    assert there.state == "met"
    assert "9 older ones are missing" in there.reason


def test_never_published_is_late_after_the_deadline() -> None:
    young = judged(at("12T00:00"), watched_since=at("11T23:00"))
    assert young.state == "pending"
    late = judged(at("12T10:01"), watched_since=at("11T23:00"))
    assert (late.state, late.onset) == ("breached", at("12T10:00"))
    assert judged(at("01T12:00")).state == "pending", "no partition is due yet"


def test_an_age_that_was_promised_counts_from_the_end_of_the_partition() -> None:
    promised = replace(PROMISED, origin="sla", target=timedelta(hours=1), warn=None)
    assert judged(at("10T00:59"), "2026-03-08", objective=promised).state == "warning"
    assert judged(at("10T01:01"), "2026-03-08", objective=promised).state == "breached"
