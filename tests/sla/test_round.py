"""Rounds over products that really publish, hold and break."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset
from dp_dagster.records import Records
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.sla.consumers_see import consumers_see
from dp_dagster.sla.evaluator import evaluator_for
from dp_dagster.sla.facts import Answered
from dp_dagster.sla.probes import last_probes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from support import TestProject

    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.sla.model import ObjectiveState
    from dp_dagster.sla.probes import PortKey
    from dp_dagster.sla.round import Evaluator

SLA = """\
sla:
  availability: 99.9%
  latency: {p95: 200ms}
  completeness: 99%
  volume: 20%
  time_to_detect: 15min
  time_to_repair: 8h
  retention: 90d
  frequency: daily
  freshness: {target: 6h, column: sold_at}
"""


def shops(project: TestProject, sla: str = SLA) -> ResolvedProduct:
    folder = project.root / "products" / "shops"
    descriptor = folder / "product.yaml"
    descriptor.write_text(descriptor.read_text().partition("sla:")[0] + sla)
    contract = folder / "contracts" / "totals.py"
    if "sold_at" not in contract.read_text():
        contract.write_text(
            contract.read_text().replace(
                "import pandera.polars as pa\n", "import datetime\n\nimport pandera.polars as pa\n"
            )
            + "    sold_at: datetime.date = pa.Field(description='Day of the last sale.')\n"
        )
        sql = folder / "transforms" / "totals.sql"
        sql.write_text(
            "select shop, cast(sum(amount) as bigint) as amount, date '2026-03-09' as sold_at from sales "
            "group by shop\n"
        )
    return resolve(folder, Settings.load(folder))


def publish(product: ResolvedProduct, run: str) -> bool:
    session = Session(product, run)
    land_input(session, "sales")
    held = publish_dataset(session, "totals").snapshot is None
    for port in product.active_ports:
        if not held:
            project_port(session, port.label)
    return not held


def states(
    evaluator: Evaluator, product: ResolvedProduct, now: datetime | None = None, **how: bool
) -> dict[str, ObjectiveState]:
    return {one.objective: one for one in evaluator.evaluate([product], now, **how)}


def test_a_product_from_its_first_evaluation_to_a_breach_and_back(project: TestProject) -> None:
    product = shops(project)
    evaluator = evaluator_for(product.settings)
    start = datetime.now(UTC)
    before = states(evaluator, product, start)
    assert {
        one.state
        for name, one in before.items()
        if name not in {"latency_p95", "time_to_detect", "time_to_repair"}
    } == {"pending"}
    assert before["latency_p95"].state == "not_evaluated"
    assert "a served port has them" in before["latency_p95"].reason
    assert consumers_see(product.settings, "shops", "vw_totals").text == "nothing: never published"
    # Nothing comes: late, and not unknown, from the first deadline on.
    late = states(evaluator, product, start + timedelta(hours=7))
    assert late["freshness"].state == late["completeness"].state == "breached"
    assert late["freshness"].since == start + timedelta(hours=6)
    assert late["frequency"].state == "pending"

    assert publish(product, "first")
    now = datetime.now(UTC)
    after = states(evaluator, product, now)
    assert (after["availability"].state, after["availability"].reason) == (
        "met",
        "100 % good, of 1 probe while nobody called",
    )
    assert after["availability"].budget_text == "43.2 min of 43.2 min left"
    assert (after["completeness"].state, after["completeness"].value) == ("met", 1.0)
    assert after["completeness"].previous == "breached"
    assert (after["volume"].state, after["volume"].value) == ("pending", 3)
    assert after["retention"].state == after["frequency"].state == after["time_to_repair"].state == "met"
    assert after["freshness"].reason.startswith("the newest sold_at is 2026-03-09 00:00 UTC")
    assert after["freshness"].state == ("breached" if now > datetime(2026, 3, 9, 6, tzinfo=UTC) else "met")
    assert consumers_see(product.settings, "shops", "vw_totals").text.endswith("(3 rows)")
    kinds = [
        (one.kind, one.payload.get("objective"))
        for one in Records(product.settings.resolved_records_url).query(product="shops")
    ]
    assert ("sla_breached", "completeness") in kinds
    assert ("sla_recovered", "completeness") in kinds
    assert Records(product.settings.resolved_records_url).verify() == []

    # Bad data is held: what consumers see stays, and the clock of the repair runs.
    (product.root / "inputs" / "sales.csv").write_text("sale,shop,amount\n1,NORTH9,-5\n")
    assert not publish(product, "second")
    held = states(evaluator, product, now + timedelta(hours=9))
    assert held["completeness"].state == "met"
    assert (held["time_to_repair"].state, "still held since" in held["time_to_repair"].reason) == (
        "breached",
        True,
    )
    assert held["time_to_detect"].value is not None
    (product.root / "inputs" / "sales.csv").write_text("sale,shop,amount\n1,north,5\n2,south,5\n")
    assert publish(product, "third")
    mended = states(evaluator, product)
    assert mended["time_to_repair"].state == "met"
    assert (mended["volume"].state, mended["volume"].target) == ("breached", 3)


def test_a_port_that_cannot_be_opened_spends_its_budget(project: TestProject) -> None:
    product = shops(project, "sla: 99.9%\n")
    assert publish(product, "first")
    evaluator = evaluator_for(product.settings)
    now = datetime.now(UTC) - timedelta(hours=2)
    assert states(evaluator, product, now)["availability"].state == "met"
    catalog = project.storage / "shops" / "shops.duckdb"
    moved = catalog.rename(catalog.with_suffix(".away"))
    for minute in range(1, 61):
        state = states(evaluator, product, now + timedelta(minutes=minute), due_only=True)["availability"]
    assert state.state == "breached"
    assert state.budget_seconds == 43.2 * 60
    assert state.burn_rate is not None
    assert state.burn_rate > 900
    down = last_probes(evaluator.readings)["shops", "vw_totals"]
    assert not down.good
    assert "shops.v1.vw_totals cannot be read" in down.reason
    moved.rename(catalog)
    assert states(evaluator, product, now + timedelta(minutes=61))["availability"].value == pytest.approx(
        2 / 62
    )
    assert last_probes(evaluator.readings, ["shops"])["shops", "vw_totals"].good
    assert last_probes(evaluator.readings, ["other"]) == {}


def test_only_what_is_due_is_evaluated(project: TestProject) -> None:
    product = shops(project)
    evaluator = evaluator_for(product.settings)
    now = datetime(2026, 3, 10, tzinfo=UTC)
    assert len(states(evaluator, product, now, due_only=True)) == 9
    assert states(evaluator, product, now + timedelta(seconds=30), due_only=True) == {}
    minute = states(evaluator, product, now + timedelta(seconds=61), due_only=True)
    assert set(minute) == {"availability", "latency_p95", "time_to_detect", "time_to_repair"}
    # A clock that is set back is no reason to wait for it.
    assert len(states(evaluator, product, now - timedelta(days=1), due_only=True)) == 9
    assert evaluator.evaluate([], now) == []


class Counted:
    """As if a served port had answered."""

    def __init__(self, answers: Answered) -> None:
        self.answers = answers

    def totals(
        self, wanted: Mapping[datetime, Collection[PortKey]], until: datetime
    ) -> Mapping[datetime, Mapping[PortKey, Answered]]:
        assert max(wanted) < until
        return {since: dict.fromkeys(ports, self.answers) for since, ports in wanted.items()}


def test_nobody_probes_while_somebody_calls(project: TestProject) -> None:
    product = shops(project, "sla: 99.9%\n")
    assert publish(product, "first")
    evaluator = evaluator_for(product.settings)
    now = datetime.now(UTC)
    evaluator.answers = Counted(Answered(1000, 999, now - timedelta(days=30)))
    state = states(evaluator, product, now)["availability"]
    assert (state.value, state.reason.partition(";")[0]) == (
        0.999,
        "99.9 % good, of 1,000 answers and 0 probes",
    )
    assert last_probes(evaluator.readings) == {}


def test_a_deprecated_version_is_promised_until_its_sunset(project: TestProject) -> None:
    folder = project.root / "products" / "shops"
    descriptor = folder / "product.yaml"
    text = descriptor.read_text().replace(
        "key: [shop]}",
        'key: [shop], versions: [{major: 0, from: totals, contract: "contracts/totals.py:Totals", '
        "deprecated: {sunset: 2030-01-01}}]}",
    )
    descriptor.write_text(text)
    product = resolve(folder, Settings.load(folder))
    older = product.port("vw_totals@0")
    (life,) = [one for one in older.objectives if one.name == "end_of_life"]
    assert (life.promise, life.origin) == ("2030-01-01", "deprecated")
    assert not [one for one in product.port("vw_totals").objectives if one.name == "end_of_life"]
    found = evaluator_for(product.settings).evaluate([product], datetime(2026, 3, 10, tzinfo=UTC))
    assert {(one.port, one.objective) for one in found} >= {
        ("vw_totals@0", "end_of_life"),
        ("vw_totals", "freshness"),
    }
