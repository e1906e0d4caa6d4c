"""Readings are kept for good; states and trends follow from them in queries that do not grow."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy

from dp_dagster.errors import StoreError
from dp_dagster.sla.model import Budget, Reading
from dp_dagster.sla.store import Readings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
KEY = ("shops", "vw_totals", "availability")
READING = Reading(*KEY, "met", NOW, "all is well", promise="99.9%", value=1.0, target=0.999, unit="share")


@pytest.fixture
def readings(tmp_path: Path) -> Readings:
    return Readings(f"sqlite:///{tmp_path}/records.db")


def after(minutes: float, state: str = "met", **changes: object) -> Reading:
    return replace(READING, at=NOW + timedelta(minutes=minutes), state=state, **changes)


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that are sent to any database meanwhile."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)


def test_a_state_lasts_from_the_first_reading_that_found_it(readings):
    readings.record([after(0), after(5)])
    readings.record([after(10, "breached", reason="gone")])
    readings.record([after(15, "breached", reason="still gone")])
    (state,) = readings.states()
    assert (state.key, state.state, state.previous) == (KEY, "breached", "met")
    assert (state.since, state.at, state.first_at) == (
        NOW + timedelta(minutes=10),
        NOW + timedelta(minutes=15),
        NOW,
    )
    assert (state.reason, state.promise, state.reading_text, state.target_text) == (
        "still gone",
        "99.9%",
        "100 %",
        "99.9 %",
    )


def test_a_breach_counts_from_its_onset(readings):
    onset = NOW - timedelta(hours=2)
    readings.record([after(0)])
    (state,) = readings.record([after(5, "breached", onset=onset)])
    assert state.since == onset
    assert readings.breaches(NOW) == {KEY: [(onset, NOW + timedelta(minutes=5))]}
    readings.record([after(6, "breached"), after(7), after(8, "breached")])
    assert [at for _, at in readings.breaches(NOW)[KEY]] == [
        NOW + timedelta(minutes=5),
        NOW + timedelta(minutes=8),
    ]


def test_a_clock_that_was_set_back_leaves_no_state_that_begins_later(readings):
    readings.record([after(600)])
    (state,) = readings.record([after(0)])
    assert state.since == state.first_at == state.at == NOW
    (state,) = readings.record([after(-5, "breached")])
    assert state.since == NOW - timedelta(minutes=5)


def test_the_budget_is_kept(readings):
    budget = Budget(timedelta(minutes=43.2), timedelta(minutes=12), 3.5)
    (state,) = readings.record([after(0, budget=budget)])
    assert readings.states() == [state]
    assert state.budget_text == "31.2 min of 43.2 min left"
    assert state.burn_rate == 3.5
    (state,) = readings.record([after(1, budget=Budget(timedelta(minutes=43.2), timedelta(minutes=50)))])
    assert state.budget_text == "overspent by 6.8 min of 43.2 min"


def test_readings_are_only_appended(readings, tmp_path):
    readings.record([after(0), after(1, value=None)])
    assert [(one.at, one.value) for one in readings.history(KEY)] == [
        (NOW + timedelta(minutes=1), None),
        (NOW, 1.0),
    ]
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/records.db")
    for statement in ("update dp_sla_readings set state = 'met'", "delete from dp_sla_readings"):
        with (
            engine.connect() as connection,
            pytest.raises(sqlalchemy.exc.IntegrityError, match="only ever appended"),
        ):
            connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def test_a_trend_by_the_hour_and_by_the_day(readings):
    readings.record(
        [after(0, value=0.5), after(1, "warning", value=0.7), after(2, "not_evaluated", value=None)]
    )
    readings.record([after(65, "breached", value=0.2)])
    readings.record([after(60 * 24, "pending", value=None)])
    first, second = readings.trends(NOW - timedelta(hours=1), NOW + timedelta(hours=2))[KEY]
    assert (first.start, first.met, first.warning, first.breached, first.other) == (NOW, 1, 1, 0, 1)
    assert (first.mean, first.low, first.high, first.readings) == (pytest.approx(0.6), 0.5, 0.7, 3)
    assert (second.start, second.breached, second.mean) == (NOW + timedelta(hours=1), 1, 0.2)
    days = readings.trends(NOW - timedelta(days=29), NOW + timedelta(days=1))[KEY]
    assert [(one.readings, one.mean) for one in days] == [(4, pytest.approx(1.4 / 3)), (1, None)]
    assert days[0].start == datetime(2026, 3, 28, tzinfo=UTC)
    assert readings.trends(NOW + timedelta(days=2), NOW + timedelta(days=40)) == {}
    assert readings.trends(NOW, NOW + timedelta(days=1), ["other"]) == {}


def test_the_number_of_statements_grows_with_nothing(readings):
    def batch(number: int, products: int) -> list[Reading]:
        return [replace(after(number), product=f"product_{one}") for one in range(products)]

    readings.record(batch(0, 1))
    with counted() as few:
        readings.record(batch(1, 1))
        readings.states()
        readings.trends(NOW, NOW + timedelta(days=1))
    for number in range(2, 30):
        readings.record(batch(number, 20))
    with counted() as many:
        readings.record(batch(31, 700))
        readings.states()
        readings.trends(NOW, NOW + timedelta(days=1))
    assert len(many) == len(few) < 16
    assert len(readings.states()) == 700
    assert [one.product for one in readings.states(["product_7", "product_699"])] == [
        "product_699",
        "product_7",
    ]


@pytest.mark.needs("postgresql")
def test_the_same_on_postgresql(postgresql_url):
    readings = Readings(postgresql_url)
    readings.record([after(0, value=None), after(1, value=0.5)])
    readings.record([after(2, "breached", value=0.25, onset=NOW), after(3, value=None)])
    (state,) = readings.states(["shops"])
    assert (state.state, state.previous, state.value) == ("met", "breached", None)
    (stretch,) = readings.trends(NOW, NOW + timedelta(hours=1))[KEY]
    assert (stretch.readings, stretch.low, stretch.high, stretch.mean) == (4, 0.25, 0.5, 0.375)
    assert readings.breaches(NOW) == {KEY: [(NOW, NOW + timedelta(minutes=2))]}
    engine = sqlalchemy.create_engine(postgresql_url)
    with engine.connect() as connection, pytest.raises(sqlalchemy.exc.DBAPIError, match="only ever appended"):
        connection.execute(sqlalchemy.text("delete from dp_sla_breaches"))
    engine.dispose()


def test_a_database_that_cannot_be_read_says_where(tmp_path):
    (tmp_path / "records.db").write_text(
        "no database at all, and long enough to be seen as a file of another kind"
    )
    with pytest.raises(StoreError, match=r"records\.db"):
        Readings(f"sqlite:///{tmp_path}/records.db").states()


def test_a_state_and_a_reading_name_their_partition(readings):
    readings.record([after(0, partition="2026-02")])
    (state,) = readings.record([after(5, "breached", partition="2026-03")])
    assert state.partition == readings.states()[0].partition == "2026-03"
    assert [one.partition for one in readings.history(KEY)] == ["2026-03", "2026-02"]


def test_tables_of_an_earlier_release_learn_of_partitions(readings, tmp_path):
    readings.record([after(0)])
    database, tables = readings.opened()
    with database.writing() as connection:
        for table in (tables.readings, tables.states):
            connection.execute(sqlalchemy.text(f"alter table {table.name} drop column partition"))
    renewed = Readings(f"sqlite:///{tmp_path}/records.db")
    assert renewed.states()[0].partition is None
    renewed.record([after(5, partition="2026-03")])
    assert renewed.states()[0].partition == renewed.history(KEY)[0].partition == "2026-03"
