"""Ten trivial SQL assets through a product, against the same ten as plain Dagster assets on the same executor.

The time is that of the run inside the process, imports and definitions left out.

    python -m benchmarks.assets [--rounds 7]
"""

# No postponed annotations: Dagster reads those of its functions.
import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import dagster as dg
from dagster_duckdb import DuckDBResource

from benchmarks.harness import report, take_turns
from dp_dagster import load_product

ASSETS = 10
TARGET = 1.2


def make_product(root: Path) -> Path:
    folder = root / "products" / "chain"
    (folder / "transforms").mkdir(parents=True)
    (root / "dp_dagster.toml").write_text('storage = "data"\n')
    lines = ["product_id: chain", "version: 1.0.0", "transforms:"]
    for number in range(ASSETS):
        (folder / "transforms" / f"step_{number}.sql").write_text(query(number))
        lines.append(f"  - {{name: step_{number}, type: SQL, path: transforms/step_{number}.sql}}")
    (folder / "product.yaml").write_text("\n".join(lines) + "\n")
    return folder


def query(number: int) -> str:
    return "select 1 as x" if number == 0 else f"select x + 1 as x from step_{number - 1}"


def run_product(folder: Path) -> float:
    return execute(load_product(folder), "chain_refresh")


def run_plain(folder: Path) -> float:
    def plain(number: int) -> dg.AssetsDefinition:
        @dg.asset(
            key=dg.AssetKey(["chain", "transform", f"step_{number}"]),
            deps=[dg.AssetKey(["chain", "transform", f"step_{number - 1}"])] if number else [],
        )
        def step(duckdb: DuckDBResource) -> dg.MaterializeResult:
            with duckdb.get_connection() as connection:
                connection.execute(f"create or replace view step_{number} as {query(number)}")
            return dg.MaterializeResult()

        return step

    definitions = dg.Definitions(
        assets=[plain(number) for number in range(ASSETS)],
        jobs=[dg.define_asset_job("chain_refresh", selection="*")],
        resources={"duckdb": DuckDBResource(database=str(folder / "plain.duckdb"))},
        executor=dg.in_process_executor,
    )
    return execute(definitions, "chain_refresh")


def execute(definitions: dg.Definitions, job: str) -> float:
    with tempfile.TemporaryDirectory() as home, dg.DagsterInstance.local_temp(home) as instance:
        resolved = definitions.resolve_job_def(job)
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        begun = time.perf_counter()
        result = resolved.execute_in_process(instance=instance, run_config=quiet)
        seconds = time.perf_counter() - begun
    assert result.success
    return seconds


def main(arguments: list[str] | None = None) -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--child", choices=["product", "plain"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args(arguments)
    if options.child:
        seconds = {"product": run_product, "plain": run_plain}[options.child](options.folder)
        print(json.dumps({"seconds": seconds}))
        return True
    with tempfile.TemporaryDirectory() as root:
        folder = make_product(Path(root))
        child = [sys.executable, "-m", "benchmarks.assets", "--folder", str(folder), "--child"]
        timings = take_turns(
            {"product": [*child, "product"], "plain": [*child, "plain"]}, options.rounds, inside=True
        )
    return report(f"{ASSETS} trivial SQL assets, one run", timings, ("product", "plain"), TARGET)


if __name__ == "__main__":
    main()
