"""What watching costs: 100 products of 5 objectives each, and readings over ten thousand and ten million accesses.

First, rounds over products that have really published: their objectives a minute apart, and looks at what may have to
be told every 30 seconds, Dagster asked as well, as the sensors of products do. Told are the processor time against the
interval, the statements that are sent, and both again with a history of a million readings behind it. Then a reading
of a port's availability, error rate and latency over 30 days in which consumers called ten thousand times, and over
30 days in which they called ten million times.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import sqlalchemy

from dp_dagster.access.access_tables import BUCKETS, ROLLUPS, TABLES
from dp_dagster.alerts.store import AlertStore
from dp_dagster.alerts.watch import look_at
from dp_dagster.definitions.alert_facts import seen_by_dagster
from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.sla.evaluator import evaluator_for
from dp_dagster.sla.store import Readings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.alerts.kept import Watcher
    from dp_dagster.alerts.watch import Seen
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.sla.round import Evaluator

SHARE_OF_A_CORE = 0.10
SLOWER_AT_MOST = 2.0
INTERVAL = timedelta(minutes=1)
"""Between two rounds: the shortest interval of the objectives below."""

WATCHED = """\
product_id: {name}
version: 1.0.0
owner: {{team: watchers, email: watchers@example.com}}
input_ports:
  - {{name: raw, type: FILES, path: raw.csv}}
datasets:
  - {{name: numbers, from: raw, contract: "numbers.odcs.yaml:numbers"}}
output_ports:
  - name: numbers
    type: SQL
    dataset: numbers
    sla: {{availability: 99.9%, freshness: 6h, completeness: 99%, volume: 20%, time_to_repair: 8h}}
"""
CALLED = """\
product_id: called
version: 1.0.0
input_ports:
  - {name: raw, type: FILES, path: raw.csv}
datasets:
  - {name: numbers, from: raw, contract: "numbers.odcs.yaml:numbers"}
output_ports:
  - name: api
    type: REST_API
    dataset: numbers
    auth: none
    sla: {availability: 99.9%, error_rate: 0.1%, latency: {p95: 200ms, window: 30d}}
access: [{anyone: true}]
"""
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: watched
version: 1.0.0
status: active
schema:
  - name: numbers
    properties:
      - {name: number, logicalType: integer, physicalType: bigint, primaryKey: true}
"""


def make_product(root: Path, name: str, descriptor: str) -> ResolvedProduct:
    """A product that has published one version."""
    folder = root / "products" / name
    folder.mkdir(parents=True)
    (root / "dp_dagster.toml").write_text('storage = "data"\n')
    (folder / "product.yaml").write_text(descriptor)
    (folder / "raw.csv").write_text("number\n1\n2\n3\n")
    (folder / "numbers.odcs.yaml").write_text(CONTRACT)
    product = resolve(folder, Settings.load(folder))
    session = Session(product, "benchmark")
    land_input(session, "raw")
    publish_dataset(session, "numbers")
    for port in product.active_ports:
        project_port(session, port.label)
    return product


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is sent to databases meanwhile."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)


def rounds(
    evaluator: Evaluator, products: list[ResolvedProduct], begin: datetime, count: int
) -> tuple[float, int, int]:
    """Processor seconds of a round on average, the most statements of one, and how many readings there were."""
    sent, evaluated = [], 0
    before = time.process_time()
    for number in range(count):
        with statements() as seen:
            evaluated += len(evaluator.evaluate(products, begin + number * INTERVAL, due_only=True))
        sent.append(len(seen))
    return (time.process_time() - before) / count, max(sent), evaluated


def looks(
    instance: dg.DagsterInstance, products: list[ResolvedProduct], count: int
) -> tuple[float, float, float]:
    """Processor seconds of a look at all products on average, and the statements of one product.

    The fewest where nothing follows from a look; the most where it also gives a sign of life, which the clock decides.
    """
    store = AlertStore.of(products[0].settings)
    sent: list[int] = []
    before = time.process_time()
    for _ in range(count):
        with statements() as seen:
            for product in products:

                def see(watcher: Watcher, now: datetime, product: ResolvedProduct = product) -> Seen:
                    return seen_by_dagster(instance, product, product.id, watcher.cursor, now)

                look_at(product, store, see)
        sent.append(len(seen))
    return (time.process_time() - before) / count, min(sent) / len(products), max(sent) / len(products)


def fill_history(readings: Readings, products: list[ResolvedProduct], rows: int, now: datetime) -> None:
    """As if readings had been taken for a month."""
    database, tables = readings.opened()
    keys = [
        (one.id, port.label, each.id) for one in products for port in one.ports for each in port.objectives
    ]
    month = timedelta(days=30).total_seconds()
    with database.writing() as connection:
        for start in range(0, rows, 50_000):
            batch = [
                {
                    **dict(zip(("product", "port", "objective"), keys[number % len(keys)], strict=True)),
                    "at": now.timestamp() - month * (rows - number) / rows,
                    "state": "met",
                    "promise": "",
                    "reason": "as it was",
                    "value": 1.0,
                    "unit": "share",
                }
                for number in range(start, min(start + 50_000, rows))
            ]
            connection.execute(tables.readings.insert(), batch)
        held = [
            {
                "size": 3600,
                "start": int(now.timestamp()) // 3600 * 3600 - hour * 3600,
                "total": 60.0,
                "numbers": 60,
            }
            | dict(zip(("product", "port", "objective"), key, strict=True))
            | {"met": 60, "warning": 0, "breached": 0, "other": 0}
            for key in keys
            for hour in range(1, 720)
        ]
        connection.execute(tables.rollups.insert(), held)


def watch(root: Path, products: int, count: int, history: int) -> bool:
    """The first part; returns whether it stays within its target."""
    made = [
        make_product(root, f"watched_{one}", WATCHED.format(name=f"watched_{one}")) for one in range(products)
    ]
    settings = made[0].settings
    evaluator = evaluator_for(settings)
    begin = datetime.now(UTC)
    found: list[tuple[int, float, int, float, float, float]] = []
    with (
        tempfile.TemporaryDirectory(prefix="dagster-") as home,
        dg.instance_for_test(temp_dir=home) as instance,
    ):
        looks(instance, made, 1)
        rounds(evaluator, made, begin, 2)
        for turn, before in enumerate((0, history)):
            if before:
                fill_history(evaluator.readings, made, before, begin)
            seconds, most, read = rounds(
                evaluator, made, begin + (10 + turn * (count + 10)) * INTERVAL, count
            )
            found.append((before, seconds, most, *looks(instance, made, max(count // 5, 3))))
    interval = INTERVAL.total_seconds()
    print(f"{products} products of 5 objectives; {count} rounds, {read} readings in the last of them")
    for before, seconds, most, looked, quiet, asked in found:
        share = seconds / interval + looked / settings.alert_interval
        print(
            f"  {before:>9,} readings before: {seconds:.3f} s of processor a round of objectives, {most} statements; "
            f"{looked:.3f} s a round of looks, {quiet:.0f} to {asked:.0f} statements a product; {share:.2%} of a core"
        )
    shares = [seconds / interval + looked / settings.alert_interval for _, seconds, _, looked, _, _ in found]
    met = max(shares) < SHARE_OF_A_CORE and found[1][2] <= found[0][2] and found[1][4] <= found[0][4]
    print(
        f"  target: under {SHARE_OF_A_CORE:.0%} of a core, no more statements: {'met' if met else 'MISSED'}\n"
    )
    return met


def fill_accesses(readings: Readings, accesses: int, now: datetime) -> None:
    """Accesses of 30 days, one after the other, and what they add up to by the minute."""
    database, _ = readings.opened()
    database.make(TABLES)
    month = 30 * 24 * 60
    last = int(now.timestamp()) // 60
    with database.writing() as connection:
        connection.execute(
            sqlalchemy.text(
                """
                with recursive numbers(number) as (
                    select 0 union all select number + 1 from numbers where number + 1 < :accesses)
                insert into dp_accesses (batch, number, at, product, port, dataset, version, subject, client, method,
                    columns, rows, status, milliseconds, bytes)
                select 'b' || (number / 1000), number % 1000,
                    strftime('%Y-%m-%dT%H:%M:%S', :last * 60 - (number * :month / :accesses) * 60, 'unixepoch'),
                    'called', 'api', 'numbers', 0, 'ada', null, 'api_key', 'number', 3, 200, 5.0, 100
                from numbers
                """
            ),
            {"accesses": accesses, "last": last, "month": month},
        )
        minutes: dict[int, int] = {}
        share = max(accesses // month, 1)
        for number in range(min(accesses, month)):
            minutes[last - number * month // min(accesses, month)] = share
        connection.execute(
            ROLLUPS.insert(),
            [
                {"product": "called", "port": "api", "minute": minute, "answers": answers, "good": answers}
                | dict.fromkeys(BUCKETS, 0)
                | {BUCKETS[2]: answers}
                for minute, answers in minutes.items()
            ],
        )


def read(root: Path, accesses: int, count: int) -> tuple[float, float]:
    """Seconds of a reading in a process that has just started, and of the ones after it: medians."""
    product = make_product(root, "called", CALLED)
    now = datetime.now(UTC)
    fill_accesses(Readings(product.settings.resolved_records_url), accesses, now)
    cold, warm = [], []
    for number in range(count):
        evaluator = evaluator_for(product.settings)
        evaluator.readings.opened()
        for taken, seconds in ((cold, 2 * number), (warm, 2 * number + 1)):
            begun = time.perf_counter()
            found = evaluator.evaluate([product], now + timedelta(seconds=seconds))
            taken.append(time.perf_counter() - begun)
        if {one.state for one in found} != {"met"} or not all(one.value is not None for one in found):
            raise AssertionError(f"a port that answers well meets its promises: {found}")
    return statistics.median(cold), statistics.median(warm)


def main(arguments: list[str] | None = None) -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--history", type=int, default=1_000_000)
    parser.add_argument("--accesses", type=int, default=10_000_000)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="watching-benchmark-") as folder:
        cheap = watch(Path(folder), options.products, options.rounds, options.history)
    few = 10_000
    found = {}
    for accesses in (few, options.accesses):
        with tempfile.TemporaryDirectory(prefix="watching-benchmark-") as folder:
            found[accesses] = read(Path(folder), accesses, options.rounds)
    print("a reading of availability, error rate and latency over 30 days")
    for accesses, (cold, warm) in found.items():
        print(
            f"  {accesses:>10,} accesses   {warm * 1000:7.1f} ms; the first of a process {cold * 1000:7.1f} ms"
        )
    ratio = found[options.accesses][1] / found[few][1]
    first = found[options.accesses][0] / found[few][0]
    steady = ratio <= SLOWER_AT_MOST
    said = "met" if steady else "MISSED"
    print(f"  {ratio:.2f} times as long (the first {first:.2f}), target {SLOWER_AT_MOST:g}: {said}")
    return cheap and steady


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
