"""Evaluating a contract against the same rules written by hand, and against pandera.

Ten columns, twenty rules, whole processes from start to exit, taken in turns, medians. The contract is compiled
beforehand, as it is in every run but the first. ``python benchmarks/contracts.py --help`` shows the choices.

* ``dp_dagster``: load the compiled contract, evaluate it; with dirty rows also split them and write the good ones.
* ``by hand``: one streaming Polars scan with one expression a rule, and a distinct count for the key; with dirty
  rows also a file of the good and one of the bad rows.
* ``by hand, two scans``: the same, but with the key checked by comparing neighbours in a scan of its own. Only
  right for files sorted by the key; the fastest that we know.
* ``dataframely``: the same schema, filtered by dataframely on a Polars LazyFrame; it gives both parts at once.
* ``pandera``: the same schema, validated by pandera on a Polars LazyFrame.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCHEMA = r"""
import datetime
from decimal import Decimal
import pandera.polars as pa
import polars as pl


class Orders(pa.DataFrameModel):
    id: int = pa.Field(unique=True)
    customer: str = pa.Field(str_matches=r"^C\d{6}$")
    email: str = pa.Field(str_matches=r"^[a-z0-9.]+@[a-z0-9.]+\.[a-z]{2,}$")
    country: str = pa.Field(isin=["DE", "FR", "US", "GB", "IT"])
    status: str = pa.Field(isin=["new", "paid", "sent", "done"])
    amount: pl.Decimal(12, 2) = pa.Field(ge=Decimal(0), le=Decimal(1000000))
    discount: float = pa.Field(ge=0, le=1, nullable=True)
    quantity: pl.Int32 = pa.Field(ge=1, le=1000, nullable=True)
    created: pl.Datetime("us") = pa.Field(ge=datetime.datetime(2019, 1, 1))
    note: str = pa.Field(str_length={"max_value": 100}, nullable=True)

    class Config:
        strict = True
"""


def make_rows(file: Path, rows: int, dirty: float, *, shuffled: bool) -> None:
    import polars as pl

    number = pl.col("id")
    mixed = number.hash(seed=1)
    bad = (mixed % 1_000_000) < int(dirty * 1_000_000)
    keys = pl.int_range(rows, eager=True).alias("id")
    base = pl.DataFrame({"id": keys.shuffle(seed=1) if shuffled else keys}).lazy()
    countries, states = ["DE", "FR", "US", "GB", "IT"], ["new", "paid", "sent", "done"]
    base.select(
        number,
        pl.format("C{}", (number % 100_000).cast(pl.String).str.zfill(6)).alias("customer"),
        pl.when(bad)
        .then(pl.lit("nobody"))
        .otherwise(pl.format("user{}@example.com", number % 500_000))
        .alias("email"),
        pl.lit(pl.Series(countries)).gather(mixed % 5).alias("country"),
        pl.lit(pl.Series(states)).gather((mixed // 5) % 4).alias("status"),
        ((mixed % 1_000_000).cast(pl.Decimal(12, 2)) / 100).cast(pl.Decimal(12, 2)).alias("amount"),
        pl.when(bad).then(1.5).otherwise((mixed % 1000) / 2000).alias("discount"),
        (mixed % 99 + 1).cast(pl.Int32).alias("quantity"),
        (pl.datetime(2020, 1, 1) + pl.duration(seconds=number)).alias("created"),
        pl.when(number % 10 != 0).then(pl.format("note {}", number % 1000)).alias("note"),
    ).sink_parquet(file, compression="snappy", row_group_size=122_880)


def run_dp_dagster(file: Path, folder: Path, dirty: bool) -> int:
    from dp_dagster.contracts.evaluate import evaluate
    from dp_dagster.contracts.load import load_contract
    from dp_dagster.contracts.split import split

    contract = load_contract(
        "contracts/orders.py:Orders", product_root=folder, cache_directory=folder / "cache"
    )
    found = evaluate(contract, [str(file)], product_root=folder)
    if not all(result.evaluated for result in found.results):
        raise SystemExit("a rule was not evaluated")
    if dirty:
        accepted = folder / "accepted.parquet"
        parts = split(contract, [str(file)], accepted, product_root=folder, evaluation=found)
        kept = sum(batch.num_rows for batch in parts.rejected())
        if kept != found.rejected:
            raise SystemExit("the split disagrees with the evaluation")
    return found.rejected


def run_by_hand(file: Path, folder: Path, dirty: bool, *, two_scans: bool) -> int:
    from datetime import datetime
    from decimal import Decimal

    import polars as pl

    col = pl.col
    bad = [
        *(
            col(name).is_null()
            for name in ["id", "customer", "email", "country", "status", "amount", "created"]
        ),
        ~col("customer").str.contains(r"^C\d{6}$"),
        ~col("email").str.contains(r"^[a-z0-9.]+@[a-z0-9.]+\.[a-z]{2,}$"),
        ~col("country").is_in(["DE", "FR", "US", "GB", "IT"]),
        ~col("status").is_in(["new", "paid", "sent", "done"]),
        col("amount") < Decimal(0),
        col("amount") > Decimal(1000000),
        col("discount") < 0,
        col("discount") > 1,
        col("quantity") < 1,
        col("quantity") > 1000,
        col("created") < datetime(2019, 1, 1),  # noqa: DTZ001 - the column has no zone
        col("note").str.len_chars() > 100,
    ]
    scan = pl.scan_parquet(file)
    counts = [expression.sum().alias(f"rule_{number}") for number, expression in enumerate(bad)]
    if two_scans:
        repeated = scan.select((col("id").shift(1) >= col("id")).sum()).collect(engine="streaming").item()
    else:
        counts.append((pl.len() - col("id").n_unique()).alias("repeated"))
        repeated = 0
    found = repeated + sum(scan.select(counts).collect(engine="streaming").row(0))
    if dirty:
        rejected = pl.any_horizontal(expression.fill_null(value=False) for expression in bad)
        scan.filter(~rejected).sink_parquet(
            folder / "good.parquet", compression="snappy", row_group_size=122_880
        )
        scan.filter(rejected).sink_parquet(folder / "bad.parquet", compression="snappy")
    return found


def run_pandera(file: Path, folder: Path) -> int:
    os.environ["PANDERA_VALIDATION_DEPTH"] = "SCHEMA_AND_DATA"
    import pandera.errors
    import polars as pl

    sys.path.insert(0, str(folder / "contracts"))
    model = importlib.import_module("orders").Orders
    try:
        model.validate(pl.scan_parquet(file), lazy=True)
    except pandera.errors.SchemaErrors as error:
        return len(error.schema_errors)
    return 0


def run_dataframely(file: Path, folder: Path, dirty: bool) -> int:
    from datetime import datetime
    from decimal import Decimal

    import dataframely as dy
    import polars as pl

    countries, states = ["DE", "FR", "US", "GB", "IT"], ["new", "paid", "sent", "done"]

    class Orders(dy.Schema):
        id = dy.Int64(primary_key=True)
        customer = dy.String(regex=r"^C\d{6}$")
        email = dy.String(regex=r"^[a-z0-9.]+@[a-z0-9.]+\.[a-z]{2,}$")
        country = dy.String(check=lambda column: column.is_in(countries))
        status = dy.String(check=lambda column: column.is_in(states))
        amount = dy.Decimal(12, 2, min=Decimal(0), max=Decimal(1000000))
        discount = dy.Float64(min=0, max=1, nullable=True)
        quantity = dy.Int32(min=1, max=1000, nullable=True)
        created = dy.Datetime(min=datetime(2019, 1, 1))  # noqa: DTZ001 - the column has no zone
        note = dy.String(max_length=100, nullable=True)

    found = Orders.filter(pl.scan_parquet(file), eager=False).collect_all(engine="streaming")
    if dirty:
        found.result.write_parquet(folder / "good.parquet", compression="snappy", row_group_size=122_880)
        found.failure.write_parquet(folder / "bad.parquet", compression="snappy")
    return len(found.failure)


RUNNERS = {
    "dp_dagster": run_dp_dagster,
    "by hand": functools.partial(run_by_hand, two_scans=False),
    "by hand, two scans": functools.partial(run_by_hand, two_scans=True),
    "dataframely": run_dataframely,
    "pandera": lambda file, folder, dirty: run_pandera(file, folder),  # noqa: ARG005 - called like the others
}


def measure(
    rows: int, rounds: int, dirty: float, *, shuffled: bool, who: list[str]
) -> dict[str, list[tuple[float, float]]]:
    """Seconds and peak memory in MiB of each, round by round, whole processes in turns."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "contracts").mkdir()
        (folder / "contracts" / "orders.py").write_text(SCHEMA)
        file = folder / "orders.parquet"
        make_rows(file, rows, dirty, shuffled=shuffled)

        def once(name: str) -> tuple[float, float, str]:
            command = [sys.executable, __file__, "--child", name, str(file), str(folder), str(dirty)]
            started = time.perf_counter()
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            seconds = time.perf_counter() - started
            found, peak = done.stdout.split()
            return seconds, float(peak), found

        answers = {name: once(name)[2] for name in who}  # warms the file cache, compiles the contract
        if dirty == 0 and set(answers.values()) != {"0"}:
            raise SystemExit(f"clean rows were found dirty: {answers}")
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in who}
        for _ in range(rounds):
            for name in who:
                taken[name].append(once(name)[:2])
    return taken


def report(found: dict[str, list[tuple[float, float]]]) -> None:
    """Print medians, and the ratios to the scan by hand with the spread over the rounds."""
    limit = found.get("by hand", next(iter(found.values())))
    for name, runs in found.items():
        ratios = [one[0] / other[0] for one, other in zip(runs, limit, strict=True)]
        peaks = [one[1] / other[1] for one, other in zip(runs, limit, strict=True)]
        print(
            f"  {name:20} {statistics.median(seconds for seconds, _ in runs):7.2f} s"
            f"  {statistics.median(ratios):5.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"
            f"   peak {max(peak for _, peak in runs):6.0f} MiB {statistics.median(peaks):5.2f} x"
        )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--dirty", type=float, nargs="+", default=[0.0, 0.01], help="shares of rows that break rules"
    )
    parser.add_argument("--shuffled", action="store_true", help="rows not in the order of the key")
    parser.add_argument("--who", nargs="+", choices=list(RUNNERS), default=list(RUNNERS))
    chosen = parser.parse_args(arguments)
    for rows, dirty in itertools.product(chosen.rows, chosen.dirty):
        found = measure(rows, chosen.rounds, dirty, shuffled=chosen.shuffled, who=chosen.who)
        order = "shuffled" if chosen.shuffled else "sorted by the key"
        print(f"\n{rows:,} rows, {order}, {dirty:.1%} dirty, medians of {chosen.rounds} whole processes")
        report(found)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _, _, runner, child_file, child_folder, child_dirty = sys.argv
        found_rows = RUNNERS[runner](Path(child_file), Path(child_folder), float(child_dirty) > 0)
        print(found_rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    else:
        main()
