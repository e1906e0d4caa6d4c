"""What it costs to compute the events of a publication, against the same join written by hand in DuckDB.

Two versions of three million rows and ten columns, of which one row in a hundred was inserted, updated or deleted.
Whole processes from start to exit, taken in turns, medians; and the peak of their memory.

* ``dp_dagster``: what a projection does: compare, put the changes in order, keep them and the document about them.
* ``by hand``: one full join by the key, with ``is distinct from`` on each column, ordered by the key, into Parquet.

Then, in the process that would serve them: how fast events are read for a consumer who sees all, and for one with a
row filter and masks.

    python benchmarks/events.py --rows 3000000 --rounds 5
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Timing, report

TARGET = 1.5

BEFORE = """
select i as id, 'C' || (i % 100000)::varchar as customer, 'user' || (i % 500000) || '@example.com' as email,
    ['DE', 'FR', 'US', 'GB', 'IT'][1 + (hash(i, 1) % 5)::integer] as country,
    ((hash(i, 2) % 1000000) / 100.0)::decimal(12, 2) as amount, (hash(i, 3) % 1000) / 2000.0::double as discount,
    (i % 99)::integer as quantity, timestamp '2020-01-01' + to_seconds(i::bigint) as created,
    case when i % 10 <> 0 then 'note ' || (i % 1000) end as note, i % 2 = 0 as active
from range({rows}) as r(i)
"""
#: Of a thousand rows, eight are updated, one is deleted, and one is new.
AFTER = """
select * replace ((case when id % 125 = 7 then amount + 1 else amount end)::decimal(12, 2) as amount)
from '{before}' where id % 1000 <> 0
union all select * replace (id + {rows} as id) from '{before}' where id % 1000 = 0
order by id
"""
BY_HAND = """
copy (
    select coalesce(n.id, o.id) as id, o, n from '{before}' o full join '{after}' n on o.id = n.id
    where o.id is null or n.id is null or {differs}
    order by 1
) to '{out}'
"""
COLUMNS = ("customer", "email", "country", "amount", "discount", "quantity", "created", "note", "active")
KEY = "id"


def make(folder: Path, rows: int) -> None:
    import duckdb

    before, after = folder / "before.parquet", folder / "after.parquet"
    duckdb.execute(f"copy ({BEFORE.format(rows=rows)}) to '{before}'")
    duckdb.execute(f"copy ({AFTER.format(rows=rows, before=before)}) to '{after}'")
    from pyarrow import parquet

    from dp_dagster.contracts.model import Contract
    from dp_dagster.contracts.verdict import Verdict
    from dp_dagster.storage import Table, dataset_table
    from dp_dagster.storage.contracts import keep_contract
    from dp_dagster.storage.types import columns_of

    table = Table(dataset_table(str(folder / "data"), "shop", 1, "orders"))
    contract = Contract(
        "Orders", "0" * 64, "pandera", "", columns_of(parquet.read_schema(before)), (), (KEY,)
    )
    keep_contract(table.location.root, "shop", contract)
    for file in (before, after):
        draft = table.draft("benchmark")
        draft.new_file().hardlink_to(file)
        candidate = draft.seal()
        verdict = Verdict(
            id=candidate.id, candidate_id=candidate.id, contract_hash=contract.hash, contract_version=None,
            decision="accepted", rows_in=rows, rows_accepted=rows, rows_rejected=0, input_hash=candidate.hash,
            accepted_hash=candidate.hash, results=(), reason="for a benchmark", at="2024-01-01T00:00:00+00:00",
        )  # fmt: skip
        table.publish(candidate, verdict, {}, contract_hash=contract.hash)


def run_dp_dagster(folder: Path) -> int:
    import shutil

    from dp_dagster.changes.kept import Changes
    from dp_dagster.storage import Table, dataset_table

    table = Table(dataset_table(str(folder / "data"), "shop", 1, "orders"))
    changes = Changes(table.location)
    shutil.rmtree(changes.folder, ignore_errors=True)
    newest = table.newest()
    assert newest is not None
    return changes.bring_up_to(newest, (KEY,)).counts.total


def run_by_hand(folder: Path) -> int:
    import duckdb

    differs = " or ".join(f"o.{name} is distinct from n.{name}" for name in COLUMNS)
    out = folder / "by_hand.parquet"
    duckdb.execute(
        BY_HAND.format(
            before=folder / "before.parquet", after=folder / "after.parquet", differs=differs, out=out
        )
    )
    return int((duckdb.execute(f"select count(*) from '{out}'").fetchone() or (0,))[0])


@dataclass(frozen=True)
class Run:
    seconds: float
    mebibytes: float
    events: int


def contender(name: str, folder: Path) -> Run:
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.events", "--folder", str(folder), "--only", name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stdout}\n{done.stderr}")
    told = json.loads(done.stdout.splitlines()[-1])
    return Run(seconds, told["mebibytes"], told["events"])


def read_all(folder: Path) -> None:
    from dp_dagster.access.masks import Masks
    from dp_dagster.access.view import DatasetView
    from dp_dagster.changes.kept import Changes
    from dp_dagster.changes.read import ChangeQuery, changes_sql
    from dp_dagster.engines.duckdb import in_memory
    from dp_dagster.predicates.model import EVERYTHING, Condition
    from dp_dagster.storage import dataset_table

    changes = Changes(dataset_table(str(folder / "data"), "shop", 1, "orders"))
    run_dp_dagster(folder)
    one = changes.of(1)
    assert one is not None
    every = (KEY, *COLUMNS)
    views = {
        "who sees all": DatasetView("orders", every, {}, EVERYTHING),
        "filter and masks": DatasetView(
            "orders", every, {"email": "partial", "customer": "hash"}, Condition("country", "eq", "DE")
        ),
    }
    for name, view in views.items():
        statement = changes_sql(
            changes.path(one), one, ChangeQuery(view, every), Masks(b"a secret of sixteen bytes")
        )
        with in_memory() as connection:
            begun = time.perf_counter()
            place = found = 0
            while rows := connection.execute(statement.text, (*statement.parameters, place, 1000)).fetchall():
                found += len(rows)
                place = rows[-1][0] + 1
            seconds = time.perf_counter() - begun
        print(f"  {name:24} {found:7,} events in pages of 1,000: {found / seconds:9,.0f} a second")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=["dp_dagster", "by hand"])
    options = parser.parse_args()
    runs = {"dp_dagster": run_dp_dagster, "by hand": run_by_hand}
    if options.only:
        events = runs[options.only](options.folder)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"events": events, "mebibytes": peak}))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, options.rows)
        timings = {name: Timing() for name in runs}
        peaks = dict.fromkeys(runs, 0.0)
        found = set()
        for number in range(options.rounds + 1):
            for one in runs:
                run = contender(one, folder)
                found.add(run.events)
                peaks[one] = max(peaks[one], run.mebibytes)
                if number:
                    timings[one].seconds.append(run.seconds)
        if len(found) != 1:
            sys.exit(f"the two do not find the same changes: {found}")
        report(
            f"{options.rows:,} rows, {found.pop():,} changes, whole processes",
            timings, ("dp_dagster", "by hand"), TARGET,
        )  # fmt: skip
        print("  peak of memory: " + ", ".join(f"{one} {peak:,.0f} MiB" for one, peak in peaks.items()))
        read_all(folder)


if __name__ == "__main__":
    main()
