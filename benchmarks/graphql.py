"""A page over GraphQL beside the same page over REST: one worker, loopback, wrk, in turns.

The same dataset, filter and rows by both ports of one server. Neither asks who asks, so that the kinds are compared and
nothing else. Run it by ``python -m benchmarks graphql``; rows, seconds and rounds are arguments of the module.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

COLUMNS = {
    "id": "number",
    "name": "'name ' || number",
    "amount": "(number % 100000)::decimal(12, 2) / 100",
    "quantity": "number % 97",
    "ratio": "number / 7.0::double",
    "at": "timestamptz '2024-01-01 00:00:00+00' + to_seconds(number)",
    "day": "date '2024-01-01' + (number % 365)::int",
    "region": "['north', 'south', 'east', 'west'][1 + number % 4]",
    "note": "repeat('x', (number % 40)::int)",
    "flag": "number % 3 = 0",
}
PAGE = 100
TARGET = 0.3

PRODUCT = """\
product_id: bench
version: 1.0.0
access:
  - anyone: true
input_ports:
  - {name: raw, type: FILES, path: rows.parquet}
datasets:
  - {name: rows, from: raw, contract: "contracts/rows.odcs.yaml:rows", key: [id], sort_by: [id]}
output_ports:
  - {name: rest, type: REST_API, dataset: rows, auth: none, limits: {requests_per_minute: unlimited}}
  - {name: graphql, type: GRAPHQL, dataset: rows, auth: none, limits: {requests_per_minute: unlimited}}
"""
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: bench
version: 1.0.0
status: active
schema:
  - name: rows
    properties:
      - {name: id, logicalType: integer, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: name, logicalType: string}
      - {name: amount, logicalType: number}
      - {name: quantity, logicalType: integer}
      - {name: ratio, logicalType: number}
      - {name: at, logicalType: timestamp}
      - {name: day, logicalType: date}
      - {name: region, logicalType: string}
      - {name: note, logicalType: string}
      - {name: flag, logicalType: boolean}
"""
#: Counts up by a prime from a start of its own in each thread, so that no page is asked twice in a row.
LUA = """
local number = {start}
request = function()
  number = (number + 7919) % {rows}
  {request}
end
"""


def make_project(root: Path, rows: int) -> None:
    import duckdb

    folder = root / "products" / "bench"
    (folder / "contracts").mkdir(parents=True)
    (root / "dp_dagster.toml").write_text('products = ["products/*"]\nstorage = "data"\n')
    (folder / "product.yaml").write_text(PRODUCT)
    (folder / "contracts" / "rows.odcs.yaml").write_text(CONTRACT)
    select = ", ".join(f"{expression} as {name}" for name, expression in COLUMNS.items())
    duckdb.sql(f"copy (select {select} from range({rows}) as made(number)) to '{folder / 'rows.parquet'}'")


@contextlib.contextmanager
def served(root: Path):
    """``dp serve`` of a project whose product is published; gives the server's address."""
    dp = Path(sys.executable).with_name("dp")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DP_")}
    environment["DAGSTER_HOME"] = str(root / ".dp" / "dagster")
    subprocess.run([dp, "run", "bench"], cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [dp, "serve", "--port", str(port)],
        cwd=root,
        env=environment,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300
        # Until the row store is there: before, pages come from the published files.
        while {one["state"] for one in ready(address)} != {"ready"}:
            if time.monotonic() > deadline or server.poll() is not None:
                sys.exit("the server did not become ready")
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def ready(address: str) -> list[dict[str, str]]:
    try:
        with urllib.request.urlopen(f"{address}/ready") as answer:
            return json.load(answer)["ports"]
    except urllib.error.HTTPError as error:
        return json.load(error)["ports"]
    except OSError:
        return []


def rest_script(rows: int) -> str:
    request = f'return wrk.format("GET", "/bench/v1/rows?id[gte]=" .. number .. "&limit={PAGE}")'
    return LUA.format(start=random.randrange(rows), rows=rows, request=request)


def graphql_script(rows: int, *, edges: bool = False) -> str:
    fields = " ".join(COLUMNS)
    inner = f"edges {{ cursor node {{ {fields} }} }}" if edges else f"nodes {{ {fields} }}"
    document = (
        f"query ($from: Long!) {{ rows(first: {PAGE}, where: {{id: {{gte: $from}}}}) "
        f"{{ {inner} pageInfo {{ hasNextPage endCursor }} }} }}"
    )
    start, end = json.dumps({"query": document, "variables": {"from": 0}}).rsplit("0", 1)
    headers = '{["content-type"] = "application/json"}'
    request = f"return wrk.format('POST', '/bench/v1/graphql', {headers}, [[{start}]] .. number .. [[{end}]])"
    return LUA.format(start=random.randrange(rows), rows=rows, request=request)


def wrk(address: str, script: str, seconds: int, connections: int) -> float:
    """Answers a second. Fails on any that is no success."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        told = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", file.name, address],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        sys.exit(told)
    found = re.search(r"Requests/sec:\s*([0-9.]+)", told)
    assert found is not None
    return float(found[1])


def compare(address: str, rows: int, *, seconds: int, rounds: int, connections: int) -> dict[str, float]:
    """Pages a second, each the median of rounds in turns: ``rest``, ``graphql`` and ``graphql with cursors``."""
    scripts = {
        "rest": rest_script(rows),
        "graphql": graphql_script(rows),
        "graphql with cursors": graphql_script(rows, edges=True),
    }
    found: dict[str, list[float]] = {name: [] for name in scripts}
    for script in scripts.values():
        wrk(address, script, 1, connections)
    for _ in range(rounds):
        for name, script in scripts.items():
            found[name].append(wrk(address, script, seconds, connections))
    return {name: statistics.median(rates) for name, rates in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=8)
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing; it is a package of Debian")
    with tempfile.TemporaryDirectory() as folder:
        make_project(Path(folder), given.rows)
        with served(Path(folder)) as address:
            rates = compare(
                address, given.rows, seconds=given.seconds, rounds=given.rounds, connections=given.connections
            )
    print(f"a page of {PAGE} rows and {len(COLUMNS)} columns out of {given.rows:,}, one worker")
    for name, rate in rates.items():
        print(f"{name:22} {rate:8,.0f} /s   {rate / rates['rest']:.2f} of REST")
    ratio = rates["graphql"] / rates["rest"]
    print(f"target: at least {TARGET} of REST: {'met' if ratio >= TARGET else 'MISSED'}")


if __name__ == "__main__":
    main()
