"""The audit log with a million records: proving that it is whole, and asking it questions.

python -m benchmarks.audit [--records 1000000]
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dp_dagster.records import KINDS, Records
from dp_dagster.records.model import GENESIS, hash_of

START = datetime(2026, 1, 1, tzinfo=UTC)
QUESTIONS: dict[str, dict[str, Any]] = {
    "newest": {},
    "product": {"product": "product_7"},
    "actor, rare": {"actor": "user:rare"},
    "actor, unknown": {"actor": "user:nobody"},
    "kind and product": {"kind": "published", "product": "product_7"},
    "an hour in the middle": {
        "since": START + timedelta(days=30),
        "until": START + timedelta(days=30, hours=1),
    },
    "a page in the middle": {"before": 500_000},
}


def fill(path: Path, count: int) -> None:
    """Write the chain that so many appends would have written."""
    Records(f"sqlite:///{path}").query(limit=1)  # makes the tables
    connection = sqlite3.connect(path)
    previous = GENESIS
    payload = '{"environment":"production","rows":336772,"verdict":{"decision":"accepted","id":"0123456789"}}'

    def rows() -> Any:
        nonlocal previous
        for number in range(1, count + 1):
            at = (START + timedelta(seconds=10 * number)).isoformat(timespec="microseconds")
            actor = "user:rare" if number % 100_000 == 0 else f"schedule:product_{number % 100}_daily"
            fields = (
                at,
                KINDS[number % len(KINDS)],
                f"product_{number % 100}",
                "v1/dataset/rows",
                actor,
                "run",
            )
            digest = hash_of(number, *fields, payload, previous)
            yield (number, *fields, payload, previous, digest)
            previous = digest

    with connection:
        connection.executemany(f"insert into dp_records values ({', '.join('?' * 10)})", rows())
        connection.execute("update dp_records_head set count = ?, hash = ?", (count, previous))
    connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    count = parser.parse_args().records
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.db"
        fill(path, count)
        records = Records(f"sqlite:///{path}")
        started = time.perf_counter()
        verified = records.verification([records.anchor()])
        assert verified.is_whole
        print(f"verify {verified.count:,} records: {time.perf_counter() - started:.1f} s")
        for name, wanted in QUESTIONS.items():
            times = []
            for _ in range(5):
                started = time.perf_counter()
                found = records.query(limit=50, **wanted)
                times.append(time.perf_counter() - started)
            print(f"{name}: {len(found)} records, {1000 * sorted(times)[2]:.1f} ms")


if __name__ == "__main__":
    main()
