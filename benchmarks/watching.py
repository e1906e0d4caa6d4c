"""What watching costs: 100 products of 5 objectives each, and readings over ten thousand and ten million accesses.

First, rounds over products that have really published, each product by itself as its sensors do it: objectives a minute
apart, and looks at what may have to be told every 30 seconds, Dagster asked as well, on a clock of their own. Told
are the processor time against the interval, the statements that are sent, and how much work they are to SQLite
(:mod:`benchmarks.database_work`). The same schedule twice more with a month behind it in which each objective was read
and each port probed every hour, and every minute: no round and no look may send more statements than the same one did
without, signs of life and probes included, and sixty times the rows may not be more work. Then ``dp sla --window 30d``
of one product over that month.

Last, a reading of a port's availability, error rate and latency over 30 days in which consumers called ten thousand
times, and over 30 days in which they called ten million times, the first of a process and later ones.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import sqlalchemy

from benchmarks.database_work import counted_work
from dp_dagster.access.access_tables import BUCKETS, TABLES, add_counts
from dp_dagster.alerts.store import AlertStore
from dp_dagster.alerts.watch import look_at
from dp_dagster.definitions.alert_facts import seen_by_dagster
from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.sla.evaluator import evaluator_for
from dp_dagster.sla.store import Readings

if TYPE_CHECKING:
    from collections.abc import Callable

    from dp_dagster.alerts.kept import Watcher
    from dp_dagster.alerts.watch import Seen
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.sla.round import Evaluator

SHARE_OF_A_CORE = 0.10
SLOWER_AT_MOST = 2.0
COMMAND_SECONDS = 1.0
MORE_WORK_AT_MOST = 1.02
"""What is left is that of hours and days that begin in one phase and not in the other."""
INTERVAL = timedelta(minutes=1)
"""Between two rounds: the shortest interval of the objectives below."""
LOOK = timedelta(seconds=30)
_MONTH = 30 * 24 * 60
_EDGE = 6 * 60

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
    sla: {{availability: 99.9%, freshness: 60d, completeness: 99%, volume: 20%, time_to_repair: 8h}}
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


@dataclass(frozen=True)
class Phase:
    """A schedule of rounds and looks, at all products.

    Attributes:
        seconds: Of the processor, of a round of objectives and of a round of looks on average.
        statements: Of each round and each look, in order.
        steps: How much work that was to SQLite, each.
        read: How many readings there were.
    """

    seconds: tuple[float, float]
    statements: tuple[int, ...]
    steps: tuple[int, ...]
    read: int


def phase(
    instance: dg.DagsterInstance,
    evaluators: list[tuple[ResolvedProduct, Evaluator]],
    begin: datetime,
    count: int,
) -> Phase:
    """Rounds a minute apart, then looks half a minute apart, by a clock of their own.

    The first round and look warm up. They come long after whatever was before, so that everything is due in them, and
    what is due afterwards (probes, signs of life, objectives of other intervals) is the same in each phase.
    """
    statements: list[int] = []
    steps: list[int] = []
    read = 0
    seconds = []
    store = AlertStore.of(evaluators[0][0].settings)

    def evaluate(now: datetime) -> None:
        nonlocal read
        for product, evaluator in evaluators:
            read += len(evaluator.evaluate([product], now, due_only=True))

    def look(now: datetime) -> None:
        for product, _ in evaluators:

            def see(watcher: Watcher, at: datetime, product: ResolvedProduct = product) -> Seen:
                return seen_by_dagster(instance, product, product.id, watcher.cursor, at)

            look_at(product, store, see, now=lambda: now)

    watched: tuple[tuple[Callable[[datetime], None], timedelta], ...] = ((evaluate, INTERVAL), (look, LOOK))
    for done, interval in watched:
        done(begin)
        before = time.process_time()
        for number in range(1, count + 1):
            with counted_work() as work:
                done(begin + number * interval)
            statements.append(len(work.statements))
            steps.append(work.steps)
        seconds.append((time.process_time() - before) / count)
    return Phase((seconds[0], seconds[1]), tuple(statements), tuple(steps), read)


def grown(before: Phase, after: Phase, *, work: bool) -> list[str]:
    """What a longer history costs in addition; nothing, if watching is as it should be.

    Args:
        before: With a shorter one.
        after: With a longer one, by the same schedule.
        work: Compare the work, too.
    """
    more = [
        f"turn {number} sent {now} statements instead of {then}"
        for number, (then, now) in enumerate(zip(before.statements, after.statements, strict=True), 1)
        if now > then
    ]
    then, now = sum(before.steps), sum(after.steps)
    if work and now > then * MORE_WORK_AT_MOST:
        more.append(f"SQLite took {now * 100:,} steps instead of {then * 100:,}")
    return more


_SPARSE = f"(number % 60 = 0 or number <= {_EDGE} or number > :minutes - {_EDGE})"
_FILLS = {
    "dp_sla_readings": "(at, product, port, objective, state, promise, reason, value, unit) select "
    "{at}, :product, :port, :objective, 'met', '99%', 'as it was', 1.0, 'share' from numbers where {some}",
    "dp_sla_probes": "(at, product, port, good, seconds, reason) select {at}, :product, :port, true, 0.01, '' "
    "from numbers where {some}",
    "dp_sla_rollups": "(size, product, start, port, objective, met, warning, breached, other, numbers, total) "
    "select :size, :product, {at} / :size * :size as begun, :port, :objective, count(*), 0, 0, 0, count(*), "
    "count(*) * 1.0 from numbers group by begun",
    "dp_sla_probe_hours": "(product, port, start, probes, good) select :product, :port, {at} / 3600 * 3600 as begun, "
    "count(*), count(*) from numbers group by begun",
}


def fill_history(
    readings: Readings, products: list[ResolvedProduct], minutes: int, now: datetime, *, sparse: bool
) -> None:
    """As if readings had been taken and ports been probed until now, for so many minutes.

    First once an hour, and each minute where a window begins and ends; then in the minutes that this left out. The
    second makes no hour and no day that was not there, so that nothing may be more work with it.
    """
    database, _ = readings.opened()
    names = ("product", "port", "objective")
    keys = [
        dict(zip(names, (one.id, port.label, each.id), strict=True))
        for one in products
        for port in one.ports
        for each in port.objectives
    ]
    ports = {(key["product"], key["port"]): key for key in keys}
    known = {"minutes": minutes, "last": int(now.timestamp()) // 60 * 60}
    some = _SPARSE if sparse else f"not {_SPARSE}"
    fills = [("dp_sla_readings", key) for key in keys]
    fills += [("dp_sla_probes", key) for key in ports.values()]
    if sparse:
        fills += [("dp_sla_rollups", {**key, "size": str(size)}) for key in keys for size in (3600, 86_400)]
        fills += [("dp_sla_probe_hours", key) for key in ports.values()]
    for table, key in fills:
        rest = _FILLS[table].format(at="(:last - 60 * number)", some=some)
        of = {**known, **key, **({"size": int(key["size"])} if "size" in key else {})}
        with database.writing() as connection:
            connection.execute(
                sqlalchemy.text(
                    "with recursive numbers(number) as "
                    "(select 1 union all select number + 1 from numbers where number < :minutes) "
                    f"insert or ignore into {table} {rest}"
                ),
                of,
            )


def watch(root: Path, products: int, count: int, minutes: int) -> bool:
    """The first part; returns whether it stays within its targets."""
    made = [
        make_product(root, f"watched_{one}", WATCHED.format(name=f"watched_{one}")) for one in range(products)
    ]
    # Each product's sensor has an evaluator of its own.
    evaluators = [(one, evaluator_for(one.settings)) for one in made]
    readings = evaluators[0][1].readings
    begin = datetime.now(UTC)
    found: dict[str, Phase] = {}
    with (
        tempfile.TemporaryDirectory(prefix="dagster-") as home,
        dg.instance_for_test(temp_dir=home) as instance,
    ):
        phase(instance, evaluators, begin - timedelta(hours=2), 1)
        found["none"] = phase(instance, evaluators, begin, count)
        fill_history(readings, made, minutes, begin, sparse=True)
        hourly = f"{minutes:,} minutes, hourly"
        found[hourly] = phase(instance, evaluators, begin + timedelta(hours=2), count)
        fill_history(readings, made, minutes, begin, sparse=False)
        each = f"{minutes:,} minutes, each of them"
        found[each] = phase(instance, evaluators, begin + timedelta(hours=4), count)
    more = grown(found["none"], found[each], work=False) + grown(found[hourly], found[each], work=True)
    print(f"{products} products of 5 objectives, each by itself; {count} rounds and looks")
    shares = []
    for said, one in found.items():
        objectives, looks = one.seconds
        shares.append(objectives / INTERVAL.total_seconds() + looks / LOOK.total_seconds())
        sent = [number / products for number in one.statements]
        print(
            f"  history: {said}\n"
            f"    objectives: {objectives:.3f} s of processor a round, {min(sent[:count]):.1f} to "
            f"{max(sent[:count]):.1f} statements a product, {one.read} readings\n"
            f"    looks:      {looks:.3f} s of processor a round, {min(sent[count:]):.1f} to "
            f"{max(sent[count:]):.1f} statements a product\n"
            f"    {shares[-1]:.2%} of a core, {sum(one.steps) * 100 / products / count:,.0f} steps of SQLite a product"
        )
    for line in more:
        print(f"  {line}")
    met = max(shares) < SHARE_OF_A_CORE and not more
    print(f"  target: under {SHARE_OF_A_CORE:.0%} of a core, nothing grows: {'met' if met else 'MISSED'}")
    return told(root, made[0]) and met


def told(root: Path, product: ResolvedProduct) -> bool:
    """``dp sla`` of one product, as its owner calls it. What it takes of the processor is held against the target.

    On a machine that does nothing else that is how long it takes; on a busy one the time on the clock says little.
    """
    command = [str(Path(sys.executable).with_name("dp")), "sla", product.id, "--window", "30d", "--json"]
    waited, worked = [], []
    for _ in range(5):
        begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, cwd=root)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        waited.append(time.perf_counter() - begun)
        worked.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    seconds = statistics.median(worked[1:])
    said = "met" if seconds < COMMAND_SECONDS else "MISSED"
    clock = statistics.median(waited[1:])
    print(
        f"  dp sla {product.id} --window 30d: {seconds:.2f} s of processor ({clock:.2f} s on the clock), "
        f"target {COMMAND_SECONDS:g} s: {said}\n"
    )
    return seconds < COMMAND_SECONDS


def fill_accesses(readings: Readings, accesses: int, now: datetime) -> None:
    """Accesses of 30 days, one after the other, and what they add up to by the minute."""
    database, _ = readings.opened()
    database.make(TABLES)
    month = _MONTH
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
        # Every access adds to its minute, hour and day, as the log of accesses does it.
        for start in range(0, month, 1000):
            add_counts(
                connection,
                {
                    ("called", "api", last - ago): [
                        number,
                        number,
                        *(number * (one == 2) for one in range(len(BUCKETS))),
                    ]
                    for ago in range(start, min(start + 1000, month))
                    # So many accesses have this number of minutes: those are number * month / accesses, rounded down.
                    if (number := -(-(ago + 1) * accesses // month) + (ago * -accesses // month))
                },
            )


@dataclass
class Reading:
    """Seconds of readings in a process that has just started, of the ones after it, and hundreds of SQLite's steps."""

    first: list[float]
    later: list[float]
    steps: list[int]


def read(folders: dict[int, Path], count: int) -> dict[int, Reading]:
    """Readings by how many accesses there were, in turns, so that a slow minute hits both alike."""
    now = datetime.now(UTC)
    products = {}
    for accesses, folder in folders.items():
        products[accesses] = make_product(folder, "called", CALLED)
        fill_accesses(Readings(products[accesses].settings.resolved_records_url), accesses, now)
    found = {accesses: Reading([], [], []) for accesses in folders}
    for number in range(count + 1):
        for accesses, product in products.items():
            evaluator = evaluator_for(product.settings)
            evaluator.readings.opened()
            taken = found[accesses]
            with counted_work() as work:
                for some, seconds in ((taken.first, 2 * number), (taken.later, 2 * number + 1)):
                    begun = time.perf_counter()
                    states = evaluator.evaluate([product], now + timedelta(seconds=seconds))
                    some.append(time.perf_counter() - begun)
            taken.steps.append(work.steps)
            if {one.state for one in states} != {"met"} or any(one.value is None for one in states):
                raise AssertionError(f"a port that answers well meets its promises: {states}")
    for taken in found.values():
        # Everybody's very first one imports what they need.
        del taken.first[0], taken.later[0], taken.steps[0]
    return found


def compare_readings(few: int, many: int, count: int) -> bool:
    """The second part; returns whether many accesses make a reading no more than twice as slow."""
    with (
        tempfile.TemporaryDirectory(prefix="watching-benchmark-") as one,
        tempfile.TemporaryDirectory(prefix="watching-benchmark-") as other,
    ):
        found = read({few: Path(one), many: Path(other)}, count)
    print("a reading of availability, error rate and latency over 30 days")
    for accesses, taken in found.items():
        later, first = statistics.median(taken.later) * 1000, statistics.median(taken.first) * 1000
        print(
            f"  {accesses:>10,} accesses   {later:7.1f} ms; the first of a process {first:7.1f} ms; "
            f"{statistics.median(taken.steps) * 50:,.0f} steps of SQLite"
        )
    later, first, steps = (
        statistics.median(getattr(found[many], name)) / statistics.median(getattr(found[few], name))
        for name in ("later", "first", "steps")
    )
    steady = max(later, first, steps) <= SLOWER_AT_MOST
    print(
        f"  {later:.2f} times as long (the first {first:.2f}), {steps:.2f} times the work, "
        f"target {SLOWER_AT_MOST:g}: {'met' if steady else 'MISSED'}"
    )
    return steady


def main(arguments: list[str] | None = None) -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--minutes", type=int, default=_MONTH, help="with readings and probes, before")
    parser.add_argument("--accesses", type=int, default=10_000_000)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="watching-benchmark-") as folder:
        cheap = watch(Path(folder), options.products, options.rounds, options.minutes)
    return compare_readings(10_000, options.accesses, options.rounds) and cheap


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
