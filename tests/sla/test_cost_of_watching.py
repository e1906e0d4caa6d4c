"""What watching asks of databases does not grow with what was read before, and the benchmark notices where it does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy

from benchmarks import watching
from benchmarks.database_work import counted_work, plan
from dp_dagster.alerts.store import AlertStore
from dp_dagster.alerts.watch import Seen, look_at
from dp_dagster.sla.evaluator import evaluator_for
from dp_dagster.sla.round import Evaluator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dp_dagster.resolve import ResolvedProduct

NOW = datetime(2026, 3, 28, 12, 34, tzinfo=UTC)
MINUTES = 3000
SPAN = timedelta(days=30)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> ResolvedProduct:
    """Two days of readings and probes behind it, each minute."""
    root = tmp_path_factory.mktemp("watched")
    made = watching.make_product(root, "watched", watching.WATCHED.format(name="watched"))
    readings = evaluator_for(made.settings).readings
    for sparse in (True, False):
        watching.fill_history(readings, [made], MINUTES, NOW, sparse=sparse)
    return made


def ask_everything(product: ResolvedProduct) -> list[tuple[str, object]]:
    """What a round, a look and ``dp sla`` send to the database of the records."""
    store = AlertStore.of(product.settings)
    evaluator = evaluator_for(product.settings)
    evaluator.evaluate([product], NOW)
    # The first look removes alerts that were over long ago, as every hundredth that writes.
    for now in (NOW, NOW + timedelta(hours=1)):
        look_at(product, store, lambda _watcher, _now: Seen(), now=lambda now=now: now)
    with counted_work() as work:
        states = evaluator.evaluate([product], NOW + timedelta(minutes=5))
        evaluator.readings.trends(NOW - SPAN, NOW, ["watched"])
        evaluator.readings.trends(NOW - timedelta(days=1), NOW, ["watched"])
        evaluator.readings.history(states[0].key)
        evaluator.readings.breaches(NOW - SPAN, ["watched"])
        evaluator.answers.totals({NOW - SPAN: [("watched", "numbers")]}, NOW)
        look_at(product, store, lambda _watcher, _now: Seen(), now=lambda: NOW + timedelta(hours=2))
    return work.statements


def test_nothing_that_is_asked_goes_through_a_whole_table(product: ResolvedProduct) -> None:
    asked = ask_everything(product)
    database, _ = evaluator_for(product.settings).readings.opened()
    plans = []
    with database.reading() as connection:
        for statement, parameters in asked:
            if "dp_" in statement and not statement.startswith("PRAGMA"):
                plans += plan(connection, statement, parameters)
    searched = {line.split()[1] for line in plans if line.startswith("SEARCH")}
    assert searched >= {
        "dp_sla_readings",
        "dp_sla_rollups",
        "dp_sla_states",
        "dp_sla_breaches",
        "dp_sla_probes",
        "dp_sla_probe_hours",
        "dp_access_rollups",
        "dp_access_sums",
        "dp_records",
        "dp_alerts",
        "dp_alert_items",
        "dp_alert_deliveries",
        "dp_alert_watchers",
    }
    assert [line for line in plans if line.startswith("SCAN dp_")] == []


def test_a_table_that_is_gone_through_is_noticed(product: ResolvedProduct) -> None:
    database, tables = evaluator_for(product.settings).readings.opened()
    with database.reading() as connection:
        with counted_work() as work:
            connection.execute(tables.probes.select().where(tables.probes.c.good)).all()
        statement, parameters = work.statements[-1]
        assert plan(connection, statement, parameters) == ["SCAN dp_sla_probes"]


def test_a_month_of_readings_is_read_by_the_day(product: ResolvedProduct) -> None:
    """However many readings there were: a month of one product is one stretch of the rollups' key."""
    readings = evaluator_for(product.settings).readings
    readings.opened()
    with counted_work() as work:
        found = readings.trends(NOW - SPAN, NOW, ["watched"])
    assert len(found) == 5
    assert {len(stretches) for stretches in found.values()} == {3}
    assert [one.partition(" ")[0] for one, _ in work.statements] == ["begin", "SELECT"]
    assert work.steps < 20, "some rows, and not fifteen thousand"


# -- the benchmark's own rule ---------------------------------------------------------------------------------


def turn(statements: Sequence[int], steps: int = 100) -> watching.Phase:
    return watching.Phase((0.0, 0.0), tuple(statements), (steps,) * len(statements), 0)


def test_one_statement_more_in_one_look_is_too_many() -> None:
    before = turn([24, 24, 13, 17, 13])
    assert watching.grown(before, turn([24, 24, 13, 17, 13]), work=True) == []
    assert watching.grown(before, turn([24, 24, 14, 17, 13]), work=True) == [
        "turn 3 sent 14 statements instead of 13"
    ]
    # Signs of life are in the same turns of both: one that is hidden behind another is found, too.
    assert watching.grown(before, turn([24, 24, 17, 13, 13]), work=True) == [
        "turn 3 sent 17 statements instead of 13"
    ]
    assert watching.grown(before, turn([24, 24, 13, 17, 13], 103), work=True) == [
        "SQLite took 51,500 steps instead of 50,000"
    ]
    assert watching.grown(before, turn([24, 24, 13, 17, 13], 103), work=False) == []


def _asks_by_the_day(self: Evaluator, *_: object, **__: object) -> None:
    """A statement for each thousand readings that there were."""
    database, tables = self.readings.opened()
    with database.reading() as connection:
        newest = (
            connection.execute(sqlalchemy.select(sqlalchemy.func.max(tables.readings.c.id))).scalar() or 0
        )
        for first in range(0, newest, 1000):
            connection.execute(tables.readings.select().where(tables.readings.c.id == first)).all()


def _goes_through_all(self: Evaluator, *_: object, **__: object) -> None:
    """One statement whatever the history, but through all of it."""
    database, tables = self.readings.opened()
    with database.reading() as connection:
        connection.execute(sqlalchemy.select(sqlalchemy.func.sum(tables.readings.c.value))).scalar()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (None, []),
        (_asks_by_the_day, ["statements instead of"]),
        (_goes_through_all, ["steps instead of"]),
    ],
)
def test_the_benchmark_finds_what_grows(
    fault: object,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watching, "told", lambda *_: True)
    # How busy the machine is must not decide.
    monkeypatch.setattr(watching, "SHARE_OF_A_CORE", 1000.0)
    if fault is not None:
        evaluate = Evaluator.evaluate

        def faulty(self: Evaluator, *arguments: object, **named: object) -> object:
            fault(self)
            return evaluate(self, *arguments, **named)

        monkeypatch.setattr(Evaluator, "evaluate", faulty)
    assert watching.watch(tmp_path, 1, 4, MINUTES) is not bool(said)
    printed = capsys.readouterr().out
    assert all(one in printed for one in said), printed
    assert ("instead of" in printed) == bool(said)
