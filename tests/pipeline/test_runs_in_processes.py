"""Real processes: killed at any point, two at once, and a reader beside a hundred publications."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from nursery import Nursery
from pipeline_helpers import Workshop, rows
from pipeline_process import STAGES

from dp_dagster.pipeline import Session
from dp_dagster.resolve import resolve
from dp_dagster.storage import Table, TableLocation
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline_helpers import Product

SCRIPT = Path(__file__).with_name("pipeline_process.py")
RANDOM_ROUNDS = 24
# What consumers see can have changed only when the dataset's commit and its projection are through.
SHOWS_NEW = {"replaced the catalog", "replaced the manifest"}
COMMITTED = {"committed the dataset", "published", "building the catalog", *SHOWS_NEW}


def start(product: Product, task: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), task, str(product.workshop.root), product.id, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(SCRIPT) as nursery:
        yield nursery


def result(process: subprocess.Popen[str], timeout: float = 120) -> Any:
    output, errors = process.communicate(timeout=timeout)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])


def numbered(number: int, *, bad: bool = False) -> str:
    """A CSV of which every row says which version it belongs to."""
    lines = ["name,amount", *(f"n{'abcdefghij'[index]},{number}" for index in range(10))]
    return "\n".join([*lines, f"BAD,{number}"] if bad else lines) + "\n"


def killable(workshop: Workshop) -> Product:
    return workshop.product(
        files={
            "inputs/source.csv": numbered(0),
            "transforms/halfway.sql": "from source",
            "transforms/chosen.sql": "from halfway",
        },
        transforms=[
            {"name": "halfway", "type": "SQL", "path": "transforms/halfway.sql", "materialized": "table"},
            {"name": "chosen", "type": "SQL", "path": "transforms/chosen.sql"},
        ],
        datasets=[
            {
                "name": "rows",
                "from": "chosen",
                "contract": "contracts/rows.py:Rows",
                "key": ["name"],
                "quarantine": {"max_invalid": "50%"},
            }
        ],
    )


def shown(product: Product) -> int:
    """The number of the version on show; fails if rows of several are mixed or any is missing."""
    found = product.query("from small.v1.vw_rows")
    assert len(found) == 10
    (number,) = {amount for _, amount in found}
    return int(number)


def committed(product: Product) -> int:
    newest = product.table().newest()
    assert newest is not None
    found = rows(newest)
    assert len(found) == 10
    (number,) = {amount for _, amount in found}
    return int(number)


def check_after_death(product: Product, old: int, attempted: int) -> tuple[int, int]:
    """What consumers see and what is committed is whole, and old or new; every version can be read."""
    seen, newest = shown(product), committed(product)
    assert seen in {old, attempted}
    assert newest in {old, attempted}
    manifest = read_manifest(product.workshop.storage, "small")
    assert manifest is not None
    for entry in manifest.ports["v1"].values():
        Table(manifest.location(product.workshop.storage, entry)).snapshot(entry.version)
    return seen, newest


def wait_for_commit_of(product: Product, number: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while committed(product) != number:
        assert time.monotonic() < deadline, f"{number} was not committed within {seconds} s"
        time.sleep(0.02)


def next_run(product: Product, number: int) -> None:
    """The next run waits for nobody, works, and nothing of the dead one is left."""
    product.write({"inputs/source.csv": numbered(number)})
    hasty = resolve(product.root, product.workshop.settings().model_copy(update={"lock_timeout": 0}))
    run = product.run(session=Session(hasty, f"next-{number}"))
    assert run.published.snapshot is not None
    assert (shown(product), committed(product)) == (number, number)
    for area in ("input/source", "transform/halfway", "v1/dataset/rows", "v1/quarantine/rows"):
        Table(TableLocation(product.workshop.storage, "small", area)).clean(0)
    assert product.leftovers() == []
    records = run.session.records
    assert records.verify() == []
    published = {record.payload["version"] for record in records.query(product="small", kind="published")}
    assert published == {entry.version for entry in product.table().history()}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_a_stage(workshop: Workshop, nursery: Nursery, stage: str) -> None:
    product = killable(workshop)
    product.run()
    number = 0
    for _ in range(3):
        old, attempted = number, number + 1
        product.write({"inputs/source.csv": numbered(attempted, bad=stage == "quarantined")})
        process = nursery.start("die", str(product.workshop.root), product.id, stage)
        _, errors = process.communicate()
        assert process.returncode == -9, errors
        seen, newest = check_after_death(product, old, attempted)
        assert (newest == attempted) == (stage in COMMITTED)
        assert (seen == attempted) == (stage in SHOWS_NEW)
        number = attempted + 1
        next_run(product, number)


@pytest.mark.slow
def test_the_first_run_of_all_killed_at_each_stage(make_workshop: Any, nursery: Nursery) -> None:
    for stage in STAGES:
        if stage == "quarantined":
            continue
        product = killable(make_workshop())
        process = nursery.start("die", str(product.workshop.root), product.id, stage)
        _, errors = process.communicate()
        assert process.returncode == -9, errors
        next_run(product, 1)


@pytest.mark.slow
def test_killed_at_any_time(workshop: Workshop, nursery: Nursery) -> None:
    product = killable(workshop)
    begun = time.monotonic()
    product.run()
    length = time.monotonic() - begun
    chance = random.Random(20260102)
    number, deaths = 0, []
    for round_number in range(RANDOM_ROUNDS):
        old, attempted = number, number + 1
        process = nursery.start("wait", str(product.workshop.root), product.id)
        assert process.stdout.readline() == "ready\n"
        product.write({"inputs/source.csv": numbered(attempted)})
        if round_number % 3 == 2:  # on a slow machine, too, some runs come to their end
            wait_for_commit_of(product, attempted)
        # From the first step of a run (the first round: at once) to well into the next one.
        time.sleep(chance.uniform(0, 2 * length) if round_number else 0)
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == -9, errors
        deaths.append(check_after_death(product, old, attempted))
        number = attempted + 1
        next_run(product, number)
    assert len({seen == newest for seen, newest in deaths}) >= 1
    assert {newest % 2 for _, newest in deaths} == {0, 1}  # some died before the commit, some after


@pytest.mark.slow
def test_two_processes_at_once(workshop: Workshop) -> None:
    product = workshop.product()
    runs = 8
    outcomes = [result(one) for one in [start(product, "run", str(runs)) for _ in range(3)]]
    versions = sorted(version for outcome in outcomes for version in outcome["versions"])
    assert len(versions) + sum(outcome["lost"] for outcome in outcomes) == 3 * runs
    assert versions == list(range(len(versions)))
    assert len(versions) >= runs
    for version in versions:
        assert rows(product.table().snapshot(version)) == [("ada", 1), ("ben", 2)]
    assert len(product.landed("source").history()) == 1
    manifest = read_manifest(workshop.storage, "small")
    assert manifest is not None
    assert manifest.ports["v1"]["vw_rows"].version == versions[-1]
    assert product.query("from small.v1.vw_rows") == [("ada", 1), ("ben", 2)]
    assert product.leftovers() == []
    records = product.session().records
    assert records.verify() == []
    assert len(records.query(product="small", kind="published")) == len(versions)


def test_two_threads_at_once(workshop: Workshop) -> None:
    product = workshop.product()
    versions: list[int] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            versions.extend(product.run().published.snapshot.version for _ in range(4))
        except BaseException as error:  # noqa: BLE001 - told by the test
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(versions) == list(range(8))
    assert len(product.landed("source").history()) == 1
    manifest = read_manifest(workshop.storage, "small")
    assert manifest is not None
    assert manifest.ports["v1"]["vw_rows"].version == 7
    assert product.leftovers() == []


def test_steps_of_one_run_in_several_threads(workshop: Workshop) -> None:
    """Inputs that do not depend on each other may land at the same time, in one run."""
    names = [f"source_{number}" for number in range(4)]
    product = workshop.product(
        input_ports=[{"name": name, "type": "FILES", "path": "inputs/source.csv"} for name in names],
        files={
            "transforms/chosen.sql": f"select source_0.* from {' join '.join(names[:1])} "
            + " ".join(f"join {name} using (name)" for name in names[1:])
        },
    )
    from concurrent.futures import ThreadPoolExecutor

    from dp_dagster.pipeline import land_input, publish_dataset

    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(lambda name: land_input(product.session("one"), name), names))
    session = product.session("one")
    for name, outcome in zip(names, outcomes, strict=True):
        assert session.pinned(name) == outcome.pinned
    published = publish_dataset(session, "rows").snapshot
    assert published is not None
    assert set(json.loads(published.metadata["dp.upstream"])) == set(names)


def test_threads_open_and_close_one_work_database(tmp_path: Path) -> None:
    """Each closes what the others are about to open, as steps of one run do."""
    from concurrent.futures import ThreadPoolExecutor

    from dp_dagster.engines.duckdb import connect

    def steps(number: int) -> None:
        for _ in range(100):
            with connect(tmp_path / "work.duckdb") as connection:
                connection.execute(f"create or replace temp table made as select {number} as number")

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(steps, range(4))) == [None] * 4


@pytest.mark.slow
def test_a_reader_without_pause_during_a_hundred_publications(workshop: Workshop, tmp_path: Path) -> None:
    contract = (
        "import pandera.polars as pa\n"
        "Rows = pa.DataFrameSchema({'batch': pa.Column(int), 'number': pa.Column(int), 'name': pa.Column(str)}, "
        "unique=['name'])\n"
    )
    product = workshop.product(
        contract=contract,
        files={
            "inputs/source.csv": "batch\n0\n",
            "transforms/chosen.sql": "select batch, range as number, 'n' || range as name from source, range(1000)",
        },
    )
    product.run()
    stop = tmp_path / "stop"
    with start(product, "read", str(stop)) as reader:
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
            for batch in range(1, 101):
                product.write({"inputs/source.csv": f"batch\n{batch}\n"})
                assert product.run().ports["vw_rows"].changed
                assert reader.poll() is None, reader.communicate()[1]
        finally:
            stop.touch()
        found = result(reader)
    assert found["reads"] > 50
    assert found["versions"] > 20
    assert found["last"] in {99, 100}
