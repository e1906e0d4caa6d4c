"""What it costs to publish a candidate, against copying its files.

Publication copies nothing: it is one commit that names files which are already there, so it must cost next to
nothing beside a copy (target: at most 0.05 of it). Everything around the commit is measured in the same calls and
reported beside it: proving that the bytes are those that were audited (they are read once more), and the lock,
reading the log before and after, and the notes that are left.

    python benchmarks/commit.py --rows 10000000 --rounds 5 [--json]
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import statistics
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import duckdb

from dp_dagster.contracts.verdict import Verdict
from dp_dagster.storage import Table, dataset_table
from dp_dagster.storage import table as table_module
from dp_dagster.storage.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dp_dagster.storage import Candidate

P = ParamSpec("P")
T = TypeVar("T")

TARGET = 0.05
CONTRACT = "0" * 64

# The nineteen columns of the flights out of New York, of the same types, with values as varied as theirs.
QUERY = """
select
    2013::smallint as year,
    (1 + hash(i, 1) % 12)::tinyint as month,
    (1 + hash(i, 2) % 28)::tinyint as day,
    (hash(i, 3) % 2400)::smallint as dep_time,
    (hash(i, 4) % 2400)::smallint as sched_dep_time,
    case when hash(i, 5) % 40 = 0 then null else (hash(i, 6) % 240)::smallint - 60 end as dep_delay,
    (hash(i, 7) % 2400)::smallint as arr_time,
    (hash(i, 8) % 2400)::smallint as sched_arr_time,
    case when hash(i, 9) % 35 = 0 then null else (hash(i, 10) % 300)::smallint - 80 end as arr_delay,
    ['AA', 'B6', 'DL', 'EV', 'UA', 'US', 'WN'][1 + (hash(i, 11) % 7)::integer] as carrier,
    (hash(i, 12) % 8000)::smallint as flight,
    'N' || (10000 + hash(i, 13) % 4000)::varchar as tailnum,
    ['EWR', 'JFK', 'LGA'][1 + (hash(i, 14) % 3)::integer] as origin,
    'D' || (hash(i, 15) % 105)::varchar as dest,
    (20 + hash(i, 16) % 650)::smallint as air_time,
    (17 + hash(i, 17) % 4900)::smallint as distance,
    (hash(i, 18) % 24)::tinyint as hour,
    (hash(i, 19) % 60)::tinyint as minute,
    timestamp '2013-01-01' + to_minutes((hash(i, 20) % 525600)::bigint) as time_hour
from range({rows}) as r(i)
"""


@contextmanager
def timed(into: list[float]) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    into.append(time.perf_counter() - begun)


def clocked(call: Callable[P, T], into: list[float]) -> Callable[P, T]:
    @functools.wraps(call)
    def with_clock(*arguments: P.args, **options: P.kwargs) -> T:
        with timed(into):
            return call(*arguments, **options)

    return with_clock


def accepted(candidate: Candidate) -> Verdict:
    return Verdict(
        id=f"verdict-{candidate.id}",
        candidate_id=candidate.id,
        contract_hash=CONTRACT,
        contract_version=None,
        decision="accepted",
        rows_in=candidate.rows,
        rows_accepted=candidate.rows,
        rows_rejected=0,
        input_hash=candidate.hash,
        accepted_hash=candidate.hash,
        results=(),
        reason="measured, not judged",
        at=datetime.now(UTC).isoformat(),
    )


def measure(folder: Path, rows: int, rounds: int, files: int) -> dict[str, object]:
    """Alternate copying and publishing; the first round warms up and is not counted."""
    sources = [folder / f"source-{number}.parquet" for number in range(files)]
    with duckdb.connect() as connection:
        for number, source in enumerate(sources):
            part = QUERY.format(rows=rows) + f" where i % {files} = {number}"
            connection.execute(f"copy ({part}) to '{source}' (format parquet, compression snappy)")
    times: dict[str, list[float]] = {name: [] for name in ("copy", "commit", "verify", "publish", "seal")}
    # The same calls as ever, with a clock.
    table_module.prove = clocked(table_module.prove, times["verify"])
    Log.commit = clocked(Log.commit, times["commit"])  # type: ignore[method-assign]  # with a clock
    table = Table(dataset_table(str(folder / "store"), "flights", 1, "flights"))
    size = 0
    for _ in range(rounds + 1):
        draft = table.draft("benchmark")
        for source in sources:
            shutil.copyfile(source, draft.new_file())
        with timed(times["seal"]):
            candidate = draft.seal()
        size = sum(file.size for file in candidate.files)

        copies = folder / "copies"
        copies.mkdir()
        with timed(times["copy"]):
            for path in candidate.paths:
                shutil.copyfile(path, copies / Path(path).name)
        shutil.rmtree(copies)

        verdict = accepted(candidate)
        with timed(times["publish"]):
            snapshot = table.publish(candidate, verdict, {}, contract_hash=CONTRACT)
        assert snapshot.rows == rows
        table.vacuum(0)
    counted = {name: values[1:] for name, values in times.items()}
    parts = zip(counted["publish"], counted["verify"], counted["commit"], strict=True)
    counted["around"] = [whole - proof - commit for whole, proof, commit in parts]
    medians = {name: statistics.median(values) for name, values in counted.items()}
    ratio = medians["commit"] / medians["copy"]
    return {
        "rows": rows,
        "rounds": rounds,
        "files": files,
        "bytes": size,
        "seconds": {
            name: medians[name] for name in ("copy", "commit", "around", "verify", "publish", "seal")
        },
        "ratio": ratio,
        "target": TARGET,
        "met": ratio <= TARGET,
    }


def show(result: dict[str, object]) -> None:
    seconds = result["seconds"]
    assert isinstance(seconds, dict)
    print(
        f"{result['rows']:,} rows, {result['bytes']:,} bytes in {result['files']} file(s), "
        f"median of {result['rounds']}"
    )
    meaning = {
        "copy": "copying the candidate's files",
        "commit": "the commit",
        "around": "around it: lock, reading the log before and after, notes",
        "verify": "verification of the bytes",
        "publish": "publishing, all of the three",
        "seal": "(before the audit: checksums and footers)",
    }
    for name, text in meaning.items():
        print(f"  {seconds[name] * 1000:10.1f} ms  {seconds[name] / seconds['copy']:8.3f}  {text}")
    print(
        f"commit / copy = {result['ratio']:.3f}, target {result['target']}: {'met' if result['met'] else 'MISSED'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=1, help="files of the candidate")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="commit-benchmark-") as folder:
        result = measure(Path(folder), arguments.rows, arguments.rounds, arguments.files)
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
