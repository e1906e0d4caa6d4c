"""The part ``large`` of the benchmark of serving: a version of millions of rows, its row store and its exports.

The product `flights` of many rows is refreshed and served. Its row store is built twice: when the server starts, and
beside serving when the version is published once more; rows are looked up all the while, one after the other. Then
all rows are exported, and the worker's memory is watched.
"""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks.serving import BIN, free_port, get, judge, memory, publish_again, run, server

if TYPE_CHECKING:
    from collections.abc import Callable

PRODUCT = "flights_scaled"
PATH = f"/{PRODUCT}/v1/flights"
PORT = """\
  - name: api
    type: REST_API
    dataset: flights
    auth: api_key
    limits:
      {requests_per_minute: unlimited, rows_per_day: unlimited, response_bytes: unlimited}
access: [{role: [reader]}]
"""
EXPORTS = ("arrow", "csv")
SLOWEST_SECONDS = 1.0
LARGEST_MIB = 400.0


class Readers:
    """Looks rows up, one after the other, until it is told to end."""

    def __init__(self, port: int, key: str, ids: list[str]) -> None:
        self.asked, self.failed, self.slowest = 0, 0, 0.0
        self._port, self._headers, self._ids = port, {"X-API-Key": key}, ids
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _read(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._is_over.is_set():
            begun = time.perf_counter()
            connection.request(
                "GET", f"{PATH}/{self._ids[self.asked % len(self._ids)]}", headers=self._headers
            )
            answer = connection.getresponse()
            answer.read()
            self.slowest = max(self.slowest, time.perf_counter() - begun)
            self.asked += 1
            self.failed += answer.status != 200
        connection.close()

    def report(self, during: str) -> bool:
        met = not self.failed and self.slowest < SLOWEST_SECONDS
        print(
            f"    lookups {during}: {self.asked:,}, failed {self.failed}, slowest {self.slowest * 1000:.0f} ms: "
            f"{'met' if met else 'MISSED'}"
        )
        return met


class Watched:
    """The most memory of a process while something is done."""

    def __init__(self, pid: int) -> None:
        self.before = self.most = memory(pid, "RssAnon")
        self._pid = pid
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(0.02):
            self.most = max(self.most, memory(self._pid, "RssAnon"))


def state_of(base: str) -> tuple[str, int]:
    (port,) = json.loads(get(f"{base}/ready", ""))["ports"]
    return port["state"], port["version"]


def waited(reached: Callable[[], bool]) -> float:
    """Seconds until something is so."""
    begun = time.perf_counter()
    while not reached():
        time.sleep(0.05)
    return time.perf_counter() - begun


def export(base: str, key: str, form: str) -> int:
    """Read all rows in a form, and keep none of it."""
    port = int(base.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("GET", f"{PATH}?limit=all&format={form}", headers={"X-API-Key": key})
    answer = connection.getresponse()
    size = 0
    while piece := answer.read(1 << 20):
        size += len(piece)
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"the export as {form} was answered {answer.status}")
    return size


def large(rows: int) -> bool:
    """Row store and exports of a large version."""
    from benchmarks import refresh

    with tempfile.TemporaryDirectory(prefix="serving-large-benchmark-") as name:
        root = Path(name)
        folder = refresh.make_project(root, rows)
        (folder / "product.yaml").write_text(refresh.DESCRIPTOR + PORT)
        begun = time.perf_counter()
        run([BIN / "dp", "run", PRODUCT], root)
        refreshed = time.perf_counter() - begun
        key = run([BIN / "dp", "keys", "create", "bench", "--role", "reader"], root).split()[0]
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        print(f"  a version of {rows:,} rows; seconds", flush=True)
        print(f"    refresh, a whole process      {refreshed:8.1f}", flush=True)
        with server([BIN / "dp", "serve", "--port", str(port)], root, f"{base}{PATH}?limit=1", key) as pid:
            page = json.loads(get(f"{base}{PATH}?limit=100", key))
            ids = [row["flight_id"] for row in page["data"]]
            with Readers(port, key, ids) as readers:
                built = waited(lambda: state_of(base) == ("ready", 0))
            print(f"    row store, from the start     {built:8.1f}", flush=True)
            met = readers.report("from the files meanwhile")
            with Readers(port, key, ids) as readers:
                version = publish_again(root, PRODUCT, "flights")
                beside = waited(lambda: state_of(base) == ("ready", version))
            print(f"    row store, beside the old one {beside:8.1f}", flush=True)
            met &= readers.report("of the old version meanwhile")
            (store, *_) = sorted((root / ".dp" / "rows").rglob("*.db"))
            print(f"    each is a file of {store.stat().st_size / 1e6:,.0f} MB")
            met &= judge("refresh / row store", refreshed / beside, 1.0)
            for form in EXPORTS:
                begun = time.perf_counter()
                with Watched(pid) as watched:
                    size = export(base, key, form)
                print(
                    f"    all rows as {form}: {size / 1e6:,.0f} MB in {time.perf_counter() - begun:.1f} s; the "
                    f"worker's own memory {watched.before:.0f} MiB before, at most {watched.most:.0f} MiB"
                )
                met &= judge("most MiB allowed / taken", LARGEST_MIB / watched.most, 1.0)
    return met
