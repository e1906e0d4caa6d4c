"""Objectives of datasets with partitions: the newest that is due decides, on every calendar, clock and zone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dp_dagster.descriptor.due import due_partitions
from dp_dagster.descriptor.objective_forms import read_objectives
from dp_dagster.descriptor.objectives import OBJECTIVES
from dp_dagster.descriptor.partitions import Calendar
from dp_dagster.sla.calendar import tick_after
from dp_dagster.sla.deadlines import first_due, partition_late_at
from dp_dagster.sla.facts import (
    Facts,
    Measured,
    Partitions,
    PartitionsOnShow,
    Publication,
    Shown,
    Unknown,
)
from dp_dagster.sla.measures import AS_A_WHOLE, BY_PARTITION, measure
from dp_dagster.storage.arrivals import Arrival, first_arrivals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dp_dagster.descriptor.objectives import Objective

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
#: Clocks that change at midnight, by half an hour, by a whole day, and never.
ZONES = (
    "America/New_York",
    "America/Sao_Paulo",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
    "UTC",
)
SOME = settings(max_examples=40)
PROMISED: Mapping[str, Any] = {
    "freshness": "6h",
    "frequency": {"every": "daily", "window": "90d"},
    "time_of_availability": {"by": "07:00", "timezone": "Europe/Berlin", "window": "90d"},
    "volume": "20%",
    "completeness": "99%",
}


def promised(name: str, value: Any) -> Objective:
    (objective,) = read_objectives({name: value})
    return replace(objective, of="partition") if name == "freshness" and value == "6h" else objective


@dataclass
class Port:
    """A port of a dataset with partitions, as publications made it; each is its time and the rows of what it made."""

    calendar: Calendar
    watched_since: datetime
    publications: list[tuple[datetime, dict[str, int]]] = field(default_factory=list)
    set_aside: dict[str, int] = field(default_factory=dict)
    objectives: tuple[Objective, ...] = ()

    def publish(self, at: datetime, **rows: int) -> Port:
        made = {key.removeprefix("_").replace("_", "-"): count for key, count in rows.items()}
        return self.add(at, made)

    def add(self, at: datetime, made: dict[str, int]) -> Port:
        publications = sorted([*self.publications, (at, made)], key=lambda one: one[0])
        return replace(self, publications=publications)

    def facts(self, now: datetime) -> Facts:
        rows: dict[str, int] = {}
        published_at: dict[str, datetime] = {}
        arrivals: list[Arrival] = []
        history: list[Publication] = []
        shown = None
        for version, (at, made) in enumerate(one for one in self.publications if one[0] <= now):
            arrivals.insert(0, Arrival(version, at, frozenset(made), frozenset(made) - set(rows)))
            rows |= made
            published_at |= dict.fromkeys(made, at)
            shown = Shown(version, at, at, sum(rows.values()))
            history.insert(0, Publication(version, at, shown.rows))
        due = due_partitions(self.calendar, rows, now, None, self.watched_since)
        late_at = partition_late_at(self.objectives, due, self.calendar, self.watched_since)
        set_aside = dict.fromkeys(rows, 0) | self.set_aside
        on_show = PartitionsOnShow(rows, published_at, set_aside, first_arrivals(arrivals))
        partitions = Partitions(
            self.calendar, due, late_at, on_show if shown else Unknown("nothing is there")
        )
        # What a judgement by versions would read is there, too, and looks good.
        rows_in = (shown.rows, shown.rows) if shown is not None else (0, 0)
        return Facts(self.watched_since, late_at, shown, tuple(history), rows_in, partitions=partitions)

    def judged(self, name: str, now: datetime, value: Any = None) -> Measured:
        return measure(promised(name, PROMISED[name] if value is None else value), self.facts(now), now)


def with_promises(port: Port, names: Iterable[str] = BY_PARTITION) -> Port:
    return replace(port, objectives=tuple(promised(name, PROMISED[name]) for name in names))


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    by = draw(st.sampled_from(("hour", "day", "week", "month")))
    start = draw(st.dates(date(2010, 1, 1), date(2027, 1, 1)))
    if by == "week":
        start -= timedelta(days=start.weekday())
    if by == "month":
        start = start.replace(day=1)
    return Calendar(by, start, None, "UTC" if by == "hour" else draw(st.sampled_from(ZONES)))


def some_keys(calendar: Calendar, number: int) -> list[str]:
    found = [calendar.first()]
    while len(found) < number:
        end = calendar.local_window(found[-1])[1]
        found.append(end.strftime(calendar.format))
    return found


@st.composite
def ports(draw: st.DrawFn) -> tuple[Port, list[str]]:
    """A port on which each partition came soon after its end, but for the newest; and the keys."""
    calendar = draw(calendars())
    keys = some_keys(calendar, draw(st.integers(2, 7)))
    port = with_promises(Port(calendar, calendar.window(keys[0])[0]))
    for key in keys[:-1]:
        port = port.add(calendar.window(key)[1] + timedelta(minutes=draw(st.integers(0, 20))), {key: 100})
    return port, keys


# -- what is declared -----------------------------------------------------------------------------------------


def test_of_every_objective_it_is_said_what_it_means_for_partitions() -> None:
    assert {*BY_PARTITION, *AS_A_WHOLE} == set(OBJECTIVES)
    assert not set(BY_PARTITION) & set(AS_A_WHOLE)
    assert set(PROMISED) == set(BY_PARTITION)


# -- not due, due, late ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_PARTITION)
@SOME
@given(calendar=calendars(), share=st.floats(0, 1))
def test_before_the_first_partition_is_due_nothing_is_late_and_it_says_so(
    name: str, calendar: Calendar, share: float
) -> None:
    begin, end = calendar.window(calendar.first())
    now = begin + (end - begin) * share - SECOND
    port = with_promises(Port(calendar, begin - 400 * DAY))
    measured = port.judged(name, now)
    assert measured.state == "pending"
    assert measured.reason.startswith(f"no partition is due yet; the first, {calendar.first()}, is due ")


@pytest.mark.parametrize("name", ["availability", "retention"])
def test_a_port_without_due_partitions_is_not_late_as_a_whole_either(name: str) -> None:
    months = Calendar("month", date(2026, 3, 1))
    port = with_promises(Port(months, datetime(2026, 1, 1, tzinfo=UTC)))
    facts = port.facts(datetime(2026, 3, 31, 23, 59, tzinfo=UTC))
    assert first_due(port.objectives, port.watched_since) < datetime(2026, 3, 1, tzinfo=UTC)
    measured = measure(promised(name, OBJECTIVES[name].example), facts, datetime(2026, 3, 31, tzinfo=UTC))
    assert (measured.state, "no partition is due yet" in measured.reason) == ("pending", True)


@pytest.mark.parametrize("name", BY_PARTITION)
@SOME
@given(made=ports())
def test_a_missing_partition_is_a_breach_from_its_deadline_on_and_not_before(
    name: str, made: tuple[Port, list[str]]
) -> None:
    port, keys = made
    ended = port.calendar.window(keys[-1])[1]
    deadlines = {
        "freshness": ended + 6 * HOUR + SECOND,
        "frequency": ended + 1.5 * DAY + SECOND,
        "time_of_availability": tick_after("0 7 * * *", "Europe/Berlin", ended),
    }
    earliest = min(ended + 6 * HOUR, ended + 1.5 * DAY, deadlines["time_of_availability"])
    deadline = deadlines.get(name, earliest)
    assert port.judged(name, deadline - 2 * SECOND).state in {"met", "warning", "pending"}
    late = port.judged(name, deadline)
    assert (late.state, late.partition) == ("breached", keys[-1])
    assert f"partition {keys[-1]}" in late.reason
    assert late.onset is not None
    assert abs(late.onset - deadline) <= SECOND
    # More of them that are missing, and time that goes by, make it no better and no younger.
    later = port.judged(name, deadline + 40 * DAY)
    assert (later.state, later.onset, later.partition) == ("breached", late.onset, keys[-1])


@pytest.mark.parametrize("name", BY_PARTITION)
@SOME
@given(made=ports(), data=st.data())
def test_late_data_of_an_old_partition_makes_nothing_look_better_or_worse(
    name: str, made: tuple[Port, list[str]], data: st.DataObject
) -> None:
    port, keys = made
    assume(len(keys) > 2)
    ended = port.calendar.window(keys[-1])[1]
    now = ended + timedelta(minutes=data.draw(st.integers(1, 5000)))
    again = port.add(
        now - timedelta(minutes=data.draw(st.integers(0, 30))) if now - ended > HOUR else now,
        # Volumes are compared with the others on show, so it has as many rows as before.
        {data.draw(st.sampled_from(keys[:-2])): 100},
    )
    assert again.facts(now).shown != port.facts(now).shown, "the port does show something newer"
    assert again.judged(name, now) == port.judged(name, now)


@pytest.mark.parametrize("name", BY_PARTITION)
@SOME
@given(calendar=calendars(), watched=st.integers(0, 100_000))
def test_what_was_never_published_is_late_after_a_deadline_that_stands_still(
    name: str, calendar: Calendar, watched: int
) -> None:
    since = calendar.window(calendar.first())[0] + timedelta(minutes=watched)
    port = with_promises(Port(calendar, since))
    far = port.judged(name, since + 100 * DAY)
    assert far.state == "breached"
    assert far.onset is not None
    assert far.onset > since
    assert far.partition is not None
    assert f"partition {far.partition} was never published" in far.reason
    assert port.judged(name, far.onset - SECOND).state == "pending"
    just = port.judged(name, far.onset + SECOND)
    assert (just.state, just.onset, just.partition) == ("breached", far.onset, far.partition)


@SOME
@given(calendar=calendars(), watched=st.integers(0, 100_000))
def test_without_any_deadline_a_partition_has_until_the_next_one_is_due(
    calendar: Calendar, watched: int
) -> None:
    keys = some_keys(calendar, 4)
    port = with_promises(Port(calendar, calendar.window(keys[0])[0]), ["volume"])
    port = port.add(calendar.window(keys[1])[1], {keys[0]: 5, keys[1]: 5})
    deadline = calendar.window(keys[3])[1]
    before = port.judged("volume", deadline - SECOND)
    assert (before.state, before.partition) == ("met", keys[1])
    assert f"; partition {keys[2]} is due by " in before.reason
    late = port.judged("volume", deadline)
    assert (late.state, late.partition, late.onset) == ("breached", keys[2], deadline)


# -- deadlines on the clock -----------------------------------------------------------------------------------


@SOME
@given(calendar=calendars(), zone=st.sampled_from(ZONES), hour=st.integers(0, 23), number=st.integers(1, 30))
def test_a_deadline_asks_for_the_partition_that_had_ended_before_it(
    calendar: Calendar, zone: str, hour: int, number: int
) -> None:
    keys = some_keys(calendar, number + 1)
    ended = calendar.window(keys[-1])[1]
    deadline = tick_after(f"0 {hour} * * *", zone, ended)
    value = {"by": f"{hour:02}:00", "timezone": zone}
    port = Port(calendar, calendar.window(keys[0])[0]).add(ended, dict.fromkeys(keys[:-1], 1))
    missed = port.judged("time_of_availability", deadline, value)
    wanted = calendar.newest_due(deadline - timedelta(microseconds=1))
    assert wanted is not None
    assert wanted >= keys[-1]
    assert calendar.window(wanted)[1] < deadline
    assert (missed.state, missed.partition, missed.onset) == ("breached", keys[-1], deadline)
    # The wall shows what was promised, whatever the clocks did; a time that is skipped comes right after the gap.
    local = deadline.astimezone(ZoneInfo(zone))
    assert local.hour == hour or (local - timedelta(minutes=1)).utcoffset() != local.utcoffset()
    came = port.add(deadline, dict.fromkeys([*keys, wanted], 1))
    kept = came.judged("time_of_availability", deadline, value)
    assert (kept.state, kept.partition) == ("met", wanted)
    late = port.add(deadline + SECOND, {wanted: 1, keys[-1]: 1}).judged(
        "time_of_availability", deadline + SECOND, value
    )
    assert (late.state, late.partition) == ("warning", wanted)


BERLIN_DAYS = Calendar("day", date(2026, 3, 20), timezone="Europe/Berlin")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


def test_deadlines_over_a_change_of_the_clock() -> None:
    port = Port(BERLIN_DAYS, moment("03-20T00:00"))
    # The 28th ends at 23:00 UTC, the 29th has 23 hours and ends at 22:00 UTC.
    for day, end in ((27, "27T23:00"), (28, "28T23:00"), (29, "29T22:00")):
        port = port.add(moment(f"03-{end}") + 5 * HOUR, {f"2026-03-{day}": 10})
    summer = port.judged("time_of_availability", moment("03-30T05:00"))
    assert (summer.state, summer.partition) == ("met", "2026-03-29")
    assert summer.reason == (
        "partition 2026-03-29 was there by 2026-03-30 05:00 UTC; 3 of 10 deadlines kept"
    ), "none of the seven before was published"
    # At 05:00 UTC on the 29th it was seven already; an hour earlier it was six, and the deadline of the 28th counted.
    assert port.judged("time_of_availability", moment("03-29T04:59")).partition == "2026-03-27"
    assert port.judged("time_of_availability", moment("03-29T05:00")).partition == "2026-03-28"
    late = Port(BERLIN_DAYS, port.watched_since, port.publications[:-1])
    missing = late.judged("time_of_availability", moment("03-30T05:00"))
    assert (missing.state, missing.onset) == ("breached", moment("03-30T05:00"))
    assert missing.reason.startswith(
        "partition 2026-03-29 is missing; it was due by 2026-03-30 05:00 UTC, 0 s ago"
    )


def test_a_deadline_from_before_anybody_watched_is_not_held_against_it() -> None:
    port = Port(BERLIN_DAYS, moment("03-25T08:00")).publish(moment("03-25T08:30"), _2026_03_22=10)
    waiting = port.judged("time_of_availability", moment("03-25T09:00"))
    assert (waiting.state, waiting.partition) == ("pending", "2026-03-25")
    assert waiting.reason == (
        "watched since 2026-03-25 08:00 UTC; partition 2026-03-25 is due by 2026-03-26 06:00 UTC"
    )


def test_hours_that_end_with_the_deadline_are_those_of_the_next() -> None:
    hours = Calendar("hour", date(2026, 3, 20))
    seven = {"by": "07:00"}
    port = Port(hours, moment("03-20T00:00")).publish(moment("03-20T06:05"), _2026_03_20_05=1)
    assert port.judged("time_of_availability", moment("03-20T07:00"), seven).state == "met"
    assert port.judged("time_of_availability", moment("03-20T07:00"), {"by": "1 7 * * *"}).state == "pending"


# -- what each of them reads ----------------------------------------------------------------------------------

MONTHS = Calendar("month", date(2026, 1, 1))


def months(**rows: int) -> Port:
    port = with_promises(Port(MONTHS, moment("01-01T00:00")))
    for key, count in rows.items():
        number = int(key[1:])
        port = port.add(MONTHS.window(f"2026-{number:02}")[1] + HOUR, {f"2026-{number:02}": count})
    return port


def test_volume_compares_the_newest_partition_with_those_before_it() -> None:
    now = moment("05-01T02:00")
    port = months(m1=100, m2=1000, m3=1100, m4=900)
    measured = port.judged("volume", now, {"tolerance": "20%", "versions": 2})
    assert (measured.state, measured.value, measured.target) == ("met", 900, 1050)
    assert measured.reason == "partition 2026-04 has 900 rows; the 2 before it 1,050, 14.29 % away"
    small = months(m1=1000, m2=1000, m3=1100, m4=500).judged("volume", now)
    assert (small.state, small.partition, small.onset) == ("breached", "2026-04", moment("05-01T01:00"))
    assert small.reason.endswith("50 % away, at most 20 %")
    # All of them together would be within any tolerance, and above any minimum.
    assert port.judged("volume", now, {"minimum": 950}).reason == (
        "partition 2026-04 has 900 rows; at least 950 are promised"
    )
    assert port.judged("volume", now, {"maximum": 899}).state == "breached"
    assert port.judged("volume", now, {"minimum": 900, "maximum": 900}).state == "met"
    alone = months(m1=10).judged("volume", moment("02-01T02:00"))
    assert (alone.state, alone.partition) == ("pending", "2026-01")
    gap = months(m1=100, m3=100).judged("volume", moment("04-01T02:00"))
    assert (gap.state, gap.reason) == (
        "met",
        "partition 2026-03 has 100 rows; the 1 before it 100, 0 % away; 1 older one is missing",
    )


def test_completeness_is_that_of_the_newest_partition() -> None:
    now = moment("03-01T02:00")
    port = months(m1=100, m2=90)
    low = replace(port, set_aside={"2026-02": 10}).judged("completeness", now)
    assert (low.state, low.value, low.partition) == ("breached", 0.9, "2026-02")
    assert low.reason == "partition 2026-02 holds 90 of the 100 rows that came in"
    assert replace(port, set_aside={"2026-01": 10}).judged("completeness", now).value == 1.0
    assert months(m1=0).judged("completeness", moment("02-01T02:00")).value == 1.0, "nothing came"
    facts = port.facts(now)
    assert facts.partitions is not None
    unknown = replace(facts.partitions, on_show=PartitionsOnShow({"2026-01": 1, "2026-02": 1}))
    older = measure(promised("completeness", "99%"), replace(facts, partitions=unknown), now)
    assert (older.state, "was not kept" in older.reason) == ("not_evaluated", True)


def test_frequency_tells_of_late_ones_and_of_gaps() -> None:
    port = months(m1=1, m2=1, m3=1)
    there = port.judged("frequency", moment("04-01T02:00"))
    assert (there.state, there.reason) == (
        "met",
        "partition 2026-03, the newest that is due, was published 60 min after its end",
    )
    # In the middle of a month nothing is due, and daily means: within a day of it.
    assert port.judged("frequency", moment("04-30T23:00")).state == "met"
    waiting = port.judged("frequency", moment("05-01T12:00"))
    assert (waiting.state, waiting.partition, waiting.value) == ("met", "2026-04", 12 * 3600)
    assert port.judged("frequency", moment("05-02T07:00")).state == "warning"
    late = port.publish(moment("05-04T00:00"), _2026_04=1).judged("frequency", moment("05-05T00:00"))
    assert (late.state, late.value) == ("warning", 3 * 86400)
    assert late.reason.endswith("; partition 2026-04 waited 3 d")
    gap = months(m1=1, m3=1).judged("frequency", moment("04-01T02:00"))
    assert (gap.state, gap.reason.rpartition("; ")[2]) == (
        "warning",
        "partition 2026-02 waited 31.1 d and is missing",
    )


def test_freshness_by_a_column_looks_at_the_newest_partition_alone() -> None:
    now = moment("03-01T02:00")
    value = {"target": "6h", "column": "loaded_at"}
    facts = replace(months(m1=1, m2=1).facts(now), newest={"loaded_at": now - 7 * HOUR})
    measured = measure(promised("freshness", value), facts, now)
    assert (measured.state, measured.partition) == ("breached", "2026-02")
    assert measured.reason == "the newest loaded_at of partition 2026-02 is 2026-02-28 19:00 UTC; at most 6 h"


def test_a_source_that_has_nothing_new_is_no_excuse_for_ever() -> None:
    value = {"target": "1h", "of": "upstream"}
    port = with_promises(months(m1=1, m2=1), ["volume"])
    for now, state in (("04-01T02:00", "met"), ("04-30T23:00", "met"), ("05-01T00:00", "breached")):
        facts = replace(port.facts(moment(now)), lag=(timedelta(0), "shows the newest of everything"))
        measured = measure(promised("freshness", value), facts, moment(now))
        assert measured.state == state
        assert "partition 2026-03 is" in measured.reason


def test_a_table_that_cannot_be_read_is_not_evaluated() -> None:
    now = moment("03-01T02:00")
    facts = months(m1=1, m2=1).facts(now)
    assert facts.partitions is not None
    lost = replace(facts, partitions=replace(facts.partitions, on_show=Unknown("commit 3 cannot be read")))
    for name in ("completeness", "frequency", "time_of_availability", "volume"):
        measured = measure(promised(name, PROMISED[name]), lost, now)
        assert (measured.state, measured.reason) == ("not_evaluated", "commit 3 cannot be read")
