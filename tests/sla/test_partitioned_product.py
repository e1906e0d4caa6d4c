"""A product cut by day, through the real pipeline: what its objectives say of the day that is due, and tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dp_dagster.alerts.conditions import from_objectives
from dp_dagster.definitions.sla import _shown as shown_in_dagster
from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset
from dp_dagster.records import Records
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.sla.calendar import tick_after
from dp_dagster.sla.evaluator import evaluator_for
from dp_dagster.sla.page import render, sections_of
from dp_dagster.storage import Table, dataset_table
from dp_dagster.storage.partitions import read_set_aside

if TYPE_CHECKING:
    from pathlib import Path

    from support import TestProject

    from dp_dagster.descriptor.partitions import Calendar
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.sla.model import ObjectiveState

ZONE = "Europe/Berlin"
BY_PARTITION = {"completeness", "freshness", "frequency", "time_of_availability", "volume"}
DESCRIPTOR = """\
product_id: days
version: 1.0.0
owner: {{team: watchers, email: watchers@example.com}}
partitions: {{by: day, start: {start}, timezone: Europe/Berlin}}
input_ports:
  - {{name: sales, type: FILES, path: sales.csv, partitioned_by: day}}
transforms:
  - {{name: chosen, type: SQL, path: transforms/chosen.sql}}
datasets:
  - name: sold
    from: chosen
    contract: contracts/sold.py:Sold
    key: [sale]
    partitioned_by: day
    {quarantine}
output_ports:
  - {{name: vw_sold, type: SQL, dataset: sold}}
sla:
  volume: 20%
  completeness: 99%
  frequency: daily
  freshness: 6h
  time_of_availability: {{by: "07:00", timezone: Europe/Berlin}}
  time_to_repair: 8h
"""
CONTRACT = """\
import pandera.polars as pa
import polars as pl

Sold = pa.DataFrameSchema(
    {"sale": pa.Column(str, unique=True), "day": pa.Column(pl.Date), "amount": pa.Column(int, pa.Check.ge(0))}
)
"""


@dataclass
class Days:
    """The product, its source, and the clock of the test."""

    folder: Path
    calendar: Calendar
    keys: list[str]
    sales: dict[str, list[int]]
    now: datetime
    runs: int = 0

    @property
    def product(self) -> ResolvedProduct:
        return resolve(self.folder, Settings.load(self.folder))

    def run(self, *asked: str) -> bool:
        """Run the product over its source as it is now; returns whether something was published."""
        lines = [
            f"{day}-{number},{day},{one}"
            for day, some in self.sales.items()
            for number, one in enumerate(some)
        ]
        (self.folder / "sales.csv").write_text("\n".join(["sale,day,amount", *lines, ""]))
        self.runs += 1
        session = Session(self.product, f"run-{self.runs}", partitions=asked or None)
        land_input(session, "sales")
        is_published = publish_dataset(session, "sold").snapshot is not None
        if is_published:
            project_port(session, "vw_sold")
        return is_published

    def table(self) -> Table:
        return Table(dataset_table(self.product.settings.storage, "days", 1, "sold"))

    def states(self, now: datetime) -> dict[str, ObjectiveState]:
        product = self.product
        return {one.objective: one for one in evaluator_for(product.settings).evaluate([product], now)}


@pytest.fixture
def days(project: TestProject, request: pytest.FixtureRequest) -> Days:
    """Eight days that are over; the newest of them is not there yet, all others have ten rows."""
    folder = project.root / "products" / "days"
    start = (datetime.now(UTC) - timedelta(days=8)).date()
    quarantine = getattr(request, "param", "quarantine: {max_invalid: 60%}")
    for name, text in {
        "product.yaml": DESCRIPTOR.format(start=start, quarantine=quarantine),
        "transforms/chosen.sql": "select sale, day, amount from sales\n",
        "contracts/sold.py": CONTRACT,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "sales.csv").write_text("sale,day,amount\n")
    calendar = resolve(folder, Settings.load(folder)).calendar
    assert calendar is not None
    now = datetime.now(UTC)
    keys = list(calendar.due(now))
    return Days(folder, calendar, keys, {key: [1] * 10 for key in keys[:-1]}, now)


def test_the_day_that_is_due_decides_and_is_named(days: Days) -> None:
    newest = days.keys[-1]
    ended = days.calendar.window(newest)[1]
    # Hours after every deadline of it; the day that has ended meanwhile is missing as well, and not yet late.
    later = ended + timedelta(hours=40)
    before = days.states(days.now)
    assert {before[name].state for name in BY_PARTITION} == {"pending"}
    assert days.run()
    late = days.states(later)
    deadline = tick_after("0 7 * * *", ZONE, ended)
    assert {name: (late[name].state, late[name].partition, late[name].since) for name in BY_PARTITION} == {
        "completeness": ("breached", newest, min(deadline, ended + timedelta(hours=6))),
        "freshness": ("breached", newest, ended + timedelta(hours=6)),
        "frequency": ("breached", newest, ended + timedelta(hours=36)),
        "time_of_availability": ("breached", newest, deadline),
        "volume": ("breached", newest, min(deadline, ended + timedelta(hours=6))),
    }
    assert all(f"partition {newest} " in late[name].reason for name in BY_PARTITION)
    _is_told_everywhere(days, late["volume"], later)

    # Late data publishes an old day again: the port shows something newer, and the day that is due is missing still.
    version = days.table().newest().version
    days.sales[days.keys[2]].append(1)
    assert days.run()
    assert days.table().newest().version == version + 1
    again = days.states(later)
    for name in BY_PARTITION:
        assert (again[name].state, again[name].since, again[name].partition) == (
            "breached",
            late[name].since,
            newest,
        )

    # It comes, with half of its rows bad: among all the others nobody would see it.
    days.sales[newest] = [1] * 6 + [-1] * 6
    assert days.run()
    came = days.states(days.now)
    assert (came["freshness"].state, came["freshness"].partition) == ("met", newest)
    assert came["frequency"].state == "met"
    assert (came["volume"].state, came["volume"].value, came["volume"].target) == ("breached", 6, 10)
    assert (came["completeness"].state, came["completeness"].value) == ("breached", 0.5)
    assert came["completeness"].reason.startswith(f"partition {newest} holds 6 of the 12 rows that came in")
    # The next deadline wants that day, if it is not yet seven o'clock, or else today.
    following = tick_after("0 7 * * *", ZONE, datetime.now(UTC))
    wanted = days.calendar.newest_due(following - timedelta(seconds=1))
    found = days.states(following)["time_of_availability"]
    assert (found.state, found.partition) == ("met" if wanted == newest else "breached", wanted)

    # Another old day is published, all of its rows good: that says nothing of the day that is due.
    days.sales[days.keys[1]].append(1)
    assert days.run()
    snapshot = days.table().newest()
    assert read_set_aside(snapshot.metadata)[newest] == 6
    assert read_set_aside(snapshot.metadata)[days.keys[1]] == 0
    after = days.states(days.now)
    for name in ("volume", "completeness"):
        assert (after[name].state, after[name].value, after[name].since) == (
            "breached",
            came[name].value,
            came[name].since,
        )


def _is_told_everywhere(days: Days, state: ObjectiveState, now: datetime) -> None:
    """Its partition stands in alerts, in the check of Dagster, on the page and on record."""
    product, key = days.product, state.partition
    found, _, _ = from_objectives(product, [state])
    assert (found[0].facts["partition"], f"partition {key} is missing" in found[0].reason) == (key, True)
    check: dict[str, Any] = shown_in_dagster(state)
    assert (check["metadata"]["partition"], f"partition {key}" in check["description"]) == (key, True)
    page = render(sections_of([product], [state]), {}, now - timedelta(days=1), now)
    assert f'<small class="soft">partition {key}</small>' in page
    records = Records(product.settings.resolved_records_url).query(product="days", kind="sla_breached")
    assert {one.payload["partition"] for one in records} == {key}


@pytest.mark.parametrize("days", [""], indirect=True)
def test_what_was_held_is_mended_by_its_own_partition_alone(days: Days) -> None:
    assert days.run()
    days.sales[days.keys[-1]] = [1] * 9 + [-1]
    days.sales[days.keys[3]].append(1)
    assert not days.run(days.keys[-1])
    # A run of another day, which late data has changed, publishes something; what was held is held still.
    assert days.run(days.keys[3])
    held = days.states(datetime.now(UTC) + timedelta(hours=9))["time_to_repair"]
    assert (held.state, "still held since" in held.reason) == ("breached", True)
    days.sales[days.keys[-1]] = [1] * 10
    assert days.run(days.keys[-1])
    mended = days.states(datetime.now(UTC) + timedelta(hours=9))["time_to_repair"]
    assert (mended.state, "still held" in mended.reason) == ("met", False)
