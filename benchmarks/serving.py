"""Serving a million rows: REST with authentication on, against ROAPI (which has none) and against the web server alone.

One worker each, over loopback, one after the other in every round. `wrk` asks for point lookups by random key and for
filtered pages of 100 rows; exports of 100,000 rows are asked for one at a time, each a first time and then again. The
limit is the same web server with an application that sends the same bytes from memory. Then, under load, 20 versions
are published. Another part, ``large``, builds the row store of a large version beside serving, against the refresh
that made the version, and exports all of it; see :mod:`benchmarks.serving_large`.

    python -m benchmarks serving                                            all but large, about three minutes
    python -m benchmarks.serving --parts large [--large 10000000]           about three minutes more
    python -m benchmarks.serving --parts lookups pages [--rows 1000000] [--seconds 5] [--rounds 3]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PARTS = ("lookups", "pages", "exports", "publications", "large")
PARTS_HELP = f"of {', '.join(PARTS)}; by default all but the last one, which takes minutes"
VERSIONS = 20
EXPORTED = 100_000
PATH = "/shop/v1/orders"
ACCEPTED = {
    "json": "application/json",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/parquet",
}

DESCRIPTOR = """\
product_id: shop
version: 1.0.0
input_ports:
  - {name: raw, type: FILES, path: raw.parquet}
datasets:
  - {name: orders, from: raw, contract: "contracts/orders.py:Orders", key: [id], sort_by: [id]}
output_ports:
  - name: api
    type: REST_API
    dataset: orders
    auth: api_key
    limits: {requests_per_minute: unlimited, page_size: 1000000}
access: [{role: [reader]}]
"""
CONTRACT = """\
import pandera.polars as pa
import polars as pl


class Orders(pa.DataFrameModel):
    id: int = pa.Field(unique=True)
    name: str
    country: str
    qty: pl.Int32
    price: float
    amount: pl.Decimal(12, 2)
    day: pl.Date
    at: pl.Datetime("us", "UTC")
    flag: bool
    note: str = pa.Field(nullable=True)
"""
QUERY = """
select
    i::bigint as id,
    'customer ' || i as name,
    ['AA', 'BB', 'CC', 'DD'][1 + (hash(i) % 4)::int] as country,
    (hash(i, 1) % 10000)::int as qty,
    (hash(i, 2) % 1000000) / 100.0::double as price,
    ((hash(i, 3) % 1000000)::bigint / 100)::decimal(12, 2) as amount,
    date '2013-01-01' + (hash(i, 4) % 3000)::int as day,
    timestamptz '2013-01-01 00:00:00+00' + to_minutes((hash(i, 5) % 525600)::bigint) as at,
    (hash(i, 6) % 2) = 0 as flag,
    case when hash(i, 7) % 10 > 0 then 'note ' || (hash(i, 8) % 100000) end as note
from range({rows}) as t(i)
"""
LUA = """\
math.randomseed(tonumber(os.getenv("SEED")))
local before, after, most = os.getenv("BEFORE"), os.getenv("AFTER"), tonumber(os.getenv("MOST"))
local headers = {["X-API-Key"] = os.getenv("KEY")}
request = function()
  return wrk.format("GET", before .. math.random(0, most) .. after, headers)
end
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %f %d %d %f\\n", summary.requests / summary.duration * 1e6, summary.requests,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout, latency.max / 1000))
end
"""
LIMIT = """\
import sys
from pathlib import Path

BODIES = [path.read_bytes() for path in (Path(sys.argv[-1]) / "one", Path(sys.argv[-1]) / "page")]


async def application(scope, receive, send):
    body = BODIES[bool(scope["query_string"])]
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(application, port=int(sys.argv[1]), lifespan="off", access_log=False, log_level="error")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_project(root: Path, rows: int) -> None:
    import duckdb

    folder = root / "products" / "shop"
    (folder / "contracts").mkdir(parents=True)
    (root / "dp_dagster.toml").write_text('storage = "data"\n')
    (folder / "product.yaml").write_text(DESCRIPTOR)
    (folder / "contracts" / "orders.py").write_text(CONTRACT)
    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    connection.execute(f"copy ({QUERY.format(rows=rows)}) to '{folder / 'raw.parquet'}' (format parquet)")
    connection.close()


def run(command: list[str | Path], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def server(command: list[str | Path], cwd: Path, address: str, key: str) -> Iterator[int]:
    """A server that answers an address; gives its process id."""
    with (cwd / f"{Path(command[0]).name}.log").open("a") as log:
        process = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError):
                if get(address, key):
                    break
            if time.monotonic() > deadline or process.poll() is not None:
                sys.exit(f"{command} does not answer: {log.name}")
            time.sleep(0.1)
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def get(address: str, key: str, accept: str = "application/json") -> bytes:
    request = urllib.request.Request(address, headers={"X-API-Key": key, "Accept": accept})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return bytes(answer.read())


class Load:
    """What `wrk` reports."""

    def __init__(self, output: str) -> None:
        found = re.search(r"RESULT (\S+) (\d+) (\d+) (\S+)", output)
        if found is None:
            sys.exit(f"wrk said: {output}")
        self.rate, self.slowest = float(found[1]), float(found[4])
        self.requests, self.failed = int(found[2]), int(found[3])


def wrk(
    folder: Path, base: str, *, before: str, after: str = "", most: int, key: str, seconds: float
) -> Load:
    script = folder / "load.lua"
    script.write_text(LUA)
    environment = os.environ | {
        "SEED": str(time.monotonic_ns() % 1_000_000),
        "BEFORE": before,
        "AFTER": after,
        "MOST": str(most),
        "KEY": key,
    }
    done = subprocess.run(
        ["wrk", "-t1", "-c16", f"-d{seconds:g}s", "--timeout", "10s", "-s", script, base],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return Load(done.stdout)


def memory(pid: int, kind: str = "VmRSS") -> float:
    """MiB that a process has; ``RssAnon`` is without the files that it has mapped, which take no memory from others."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{kind}:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]  # always there


def judge(name: str, value: float, target: float) -> bool:
    met = value >= target
    print(f"    {name} = {value:.2f}, target {target:g}: {'met' if met else 'MISSED'}")
    return met


# -- rates ---------------------------------------------------------------------------------------------------


def rates(
    folder: Path, bases: dict[str, str], name: str, *, rows: int, key: str, seconds: float, rounds: int
) -> bool:
    """Requests by second of ``lookups`` or ``pages``."""
    asked: dict[str, dict[str, tuple[str, str]]] = {
        "lookups": {
            "dp_dagster": (f"{PATH}/", ""),
            "ROAPI": ("/api/tables/orders?filter[id]=", "&limit=1"),
            "limit": ("/", ""),
        },
        "pages": {
            "dp_dagster": (f"{PATH}?country=AA&id[gte]=", "&limit=100"),
            "ROAPI": ("/api/tables/orders?filter[country]='AA'&filter[id]gte=", "&limit=100"),
            "limit": ("/?", ""),
        },
    }
    targets = {"lookups": (15.0, 0.2), "pages": (20.0, None)}
    contenders = asked[name]
    found: dict[str, list[float]] = {contender: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender, (before, after) in contenders.items():
            # The last keys would make pages with fewer rows.
            load = wrk(
                folder,
                bases[contender],
                before=before,
                after=after,
                most=rows - rows // 100,
                key=key,
                seconds=seconds if number else 1,
            )
            if load.failed:
                sys.exit(f"{contender}: {load.failed} of {load.requests} {name} failed")
            if number:
                found[contender].append(load.rate)
    medians = {contender: statistics.median(values) for contender, values in found.items()}
    print(f"  {name}, requests by second")
    for contender, values in found.items():
        print(f"    {contender:12} {medians[contender]:10.0f}  ({min(values):.0f} to {max(values):.0f})")
    over_roapi, of_limit = targets[name]
    met = judge("dp_dagster / ROAPI", medians["dp_dagster"] / medians["ROAPI"], over_roapi)
    if of_limit is not None:
        met &= judge("dp_dagster / limit", medians["dp_dagster"] / medians["limit"], of_limit)
    return met


# -- exports -------------------------------------------------------------------------------------------------


def exports(bases: dict[str, str], key: str, rounds: int) -> bool:
    """Seconds of an export of 100,000 rows, one at a time: the first time that it is asked for, and again."""
    targets = {"json": (None, None), "arrow": (1.0, 3.0), "parquet": (None, 10.0)}
    met = True
    for form, accept in ACCEPTED.items():
        found: dict[str, list[float]] = {"first": [], "again": [], "ROAPI": []}
        for number in range(rounds * 4):
            # Another beginning each time, so that nobody has the answer yet.
            start = number * 1000 + list(ACCEPTED).index(form) * 100
            own = f"{bases['dp_dagster']}{PATH}?id[gte]={start}&id[lt]={start + EXPORTED}&limit=all&format={form}"
            other = (
                f"{bases['ROAPI']}/api/tables/orders?filter[id]gte={start}&filter[id]lt={start + EXPORTED}"
            )
            for name, address in (("first", own), ("ROAPI", other), ("again", own)):
                begun = time.perf_counter()
                body = get(address, key, accept)
                found[name].append(time.perf_counter() - begun)
                if len(body) < EXPORTED:
                    sys.exit(f"{address} as {form} gave {len(body)} bytes")
        medians = {name: statistics.median(values) for name, values in found.items()}
        print(f"  {EXPORTED:,} rows as {form}, milliseconds")
        for name, values in found.items():
            print(
                f"    {name:12} {medians[name] * 1000:10.1f}  ({min(values) * 1000:.1f} to {max(values) * 1000:.1f})"
            )
        for name, target in zip(("first", "again"), targets[form], strict=True):
            if target is not None:
                met &= judge(f"ROAPI / {name}", medians["ROAPI"] / medians[name], target)
    return met


# -- publications --------------------------------------------------------------------------------------------


def publish_again(root: Path, product_id: str = "shop", dataset: str = "orders") -> int:
    """Publish the rows once more as a new version, as a run does, and have the port show it."""
    from dp_dagster.contracts.verdict import Verdict
    from dp_dagster.resolve import find_product
    from dp_dagster.settings import Settings
    from dp_dagster.storage import Table, dataset_table
    from dp_dagster.storage.manifest import update_manifest

    settings = Settings.load(root)
    product = find_product(product_id, settings)
    table = Table(dataset_table(settings.storage, product_id, 1, dataset))
    with table.lock("benchmark"):
        newest = table.newest()
        assert newest is not None
        draft = table.draft("benchmark")
        shutil.copyfile(newest.files[0], draft.new_file())
        candidate = draft.seal()
        contract = product.datasets[0].contract
        verdict = Verdict(
            id=f"verdict-{candidate.id}",
            candidate_id=candidate.id,
            contract_hash=contract.hash,
            contract_version=None,
            decision="accepted",
            rows_in=candidate.rows,
            rows_accepted=candidate.rows,
            rows_rejected=0,
            input_hash=candidate.hash,
            accepted_hash=candidate.hash,
            results=(),
            reason="published again, not judged",
            at=newest.published_at.isoformat(),
        )
        snapshot = table.publish(candidate, verdict, {}, contract_hash=contract.hash)

    def change(manifest: Any) -> Any:
        entry = manifest.port(1, "api")
        return manifest.with_port(1, "api", replace(entry, version=snapshot.version))

    update_manifest(settings.storage, product_id, change)
    return snapshot.version


def publications(root: Path, base: str, pid: int, rows: int, key: str) -> bool:
    """Lookups while versions are published one after the other."""
    loads: list[Load] = []
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            loads.append(wrk(root, base, before=f"{PATH}/", most=rows - 1, key=key, seconds=5))

    wrk(root, base, before=f"{PATH}/", most=rows - 1, key=key, seconds=5)  # warms up
    before, mapped = memory(pid, "RssAnon"), memory(pid)
    thread = threading.Thread(target=load)
    thread.start()
    newest = 0
    sizes = []
    for _ in range(VERSIONS):
        newest = publish_again(root)
        time.sleep(1)
        sizes.append(memory(pid, "RssAnon"))
    deadline = time.monotonic() + 120
    while _shown(base) != newest and time.monotonic() < deadline:
        time.sleep(0.2)
    shown = _shown(base)
    stop.set()
    thread.join()
    failed = sum(one.failed for one in loads)
    slowest = max(one.slowest for one in loads)
    after = memory(pid, "RssAnon")
    grown = max(*sizes, after) / before
    print(
        f"  {VERSIONS} versions of {rows:,} rows published under load, shown at the end: {shown} of {newest}"
    )
    print(f"    requests {sum(one.requests for one in loads):,}, failed {failed}, slowest {slowest:.0f} ms")
    print(
        f"    memory {before:.0f} MiB before, at most {max(sizes):.0f}, {after:.0f} after ({grown:.2f}); with "
        f"mapped files {mapped:.0f} before, {memory(pid):.0f} after"
    )
    met = failed == 0 and slowest < 1000 and shown == newest and grown < 1.5
    print(f"    no failure, nothing over a second, memory flat: {'met' if met else 'MISSED'}")
    return met


def _shown(base: str) -> int:
    ports = json.loads(get(f"{base}/ready", ""))["ports"]
    return int(ports[0]["version"])


def main(arguments: list[str] | None = None) -> bool:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=10_000_000, help="rows of the part large")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=PARTS[:4], metavar="PART", help=PARTS_HELP
    )
    options = parser.parse_args(arguments)
    met = True
    if set(options.parts) & set(PARTS[:4]):
        met &= served_rows(options)
    if "large" in options.parts:
        from benchmarks.serving_large import large

        met &= large(options.large)
    return met


def served_rows(options: argparse.Namespace) -> bool:
    """What is measured on one table of ``--rows`` rows."""
    met = True
    with tempfile.TemporaryDirectory(prefix="serving-benchmark-") as name:
        root = Path(name)
        make_project(root, options.rows)
        run([BIN / "dp", "run", "shop"], root)
        key = run([BIN / "dp", "keys", "create", "bench", "--role", "reader"], root).split()[0]
        (published,) = (root / "data" / "shop" / "v1" / "dataset" / "orders").glob("*.parquet")
        ports = {contender: free_port() for contender in ("dp_dagster", "ROAPI", "limit")}
        bases = {contender: f"http://127.0.0.1:{port}" for contender, port in ports.items()}
        own: list[str | Path] = [BIN / "dp", "serve", "--port", str(ports["dp_dagster"])]
        other: list[str | Path] = [BIN / "roapi", "--table", f"orders={published}"]
        other += ["--addr-http", f"127.0.0.1:{ports['ROAPI']}", "--addr-postgres", f"127.0.0.1:{free_port()}"]
        other += ["--addr-flight-sql", f"127.0.0.1:{free_port()}"]
        (root / "limit.py").write_text(LIMIT)
        limit: list[str | Path] = [sys.executable, root / "limit.py", str(ports["limit"]), root]
        with server(own, root, f"{bases['dp_dagster']}{PATH}?limit=1", key) as pid:
            while json.loads(get(f"{bases['dp_dagster']}/ready", ""))["ports"][0]["state"] != "ready":
                time.sleep(0.1)
            (root / "one").write_bytes(get(f"{bases['dp_dagster']}{PATH}/77", key))
            (root / "page").write_bytes(get(f"{bases['dp_dagster']}{PATH}?country=AA&limit=100", key))
            with (
                server(other, root, f"{bases['ROAPI']}/api/tables/orders?limit=1", key),
                server(limit, root, f"{bases['limit']}/", key),
            ):
                print(f"serving {options.rows:,} rows, one worker each, 16 connections")
                for part in ("lookups", "pages"):
                    if part in options.parts:
                        met &= rates(
                            root,
                            bases,
                            part,
                            rows=options.rows,
                            key=key,
                            seconds=options.seconds,
                            rounds=options.rounds,
                        )
                if "exports" in options.parts:
                    met &= exports(bases, key, options.rounds)
            if "publications" in options.parts:
                met &= publications(root, bases["dp_dagster"], pid, options.rows, key)
    return met


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
