"""What it costs to watch: one look at each of 100 products, with a short and with a long history.

python -m benchmarks.alerts [--products 100] [--history 100000]
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
from sqlalchemy import Engine, event

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support import TestProject

from dp_dagster.alerts.store import AlertStore
from dp_dagster.alerts.watch import look_at
from dp_dagster.definitions.alert_facts import seen_by_dagster
from dp_dagster.definitions.platform import ProductStates, look_at_platform
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings


def lengthen(settings: Settings, products: int, count: int) -> None:
    """Add records of what products published long ago; they are read, so their chain is of no matter here."""
    path = settings.resolved_records_url.removeprefix("sqlite:///")
    payload = json.dumps({"version": 1, "rows": 3, "commit": {}})
    at = datetime(2026, 1, 1, tzinfo=UTC).isoformat(timespec="microseconds")
    with sqlite3.connect(path) as connection:
        (last,) = connection.execute("select count from dp_records_head").fetchone()
        connection.executemany(
            "insert into dp_records values (?, ?, 'published', ?, 'v1/dataset/totals', 'run', 'r', ?, ?, ?)",
            (
                (number, at, f"shops_{number % products}", payload, f"p{number}", f"h{number}")
                for number in range(last + 1, last + count + 1)
            ),
        )
        connection.execute("update dp_records_head set count = ?", (last + count,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=100)
    parser.add_argument("--history", type=int, default=100_000)
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    statements = 0

    def counted(*_: object) -> None:
        nonlocal statements
        statements += 1

    event.listen(Engine, "before_cursor_execute", counted)
    with tempfile.TemporaryDirectory() as folder, dg.instance_for_test(temp_dir=folder) as instance:
        root = Path(folder) / "project"
        root.mkdir()
        (root / "dp_dagster.toml").touch()
        project = TestProject(root)
        places = [project.add_product(f"shops_{number}") for number in range(wanted.products)]
        settings = Settings.load(root)
        products = [resolve(place, settings) for place in places]
        store = AlertStore.of(settings)
        states = ProductStates(settings)

        def round_of_looks() -> tuple[float, int]:
            nonlocal statements
            statements, started = 0, time.process_time()
            for product in products:
                look_at(
                    product,
                    AlertStore.of(settings),
                    lambda watcher, now, product=product: seen_by_dagster(
                        instance, product, product.id, watcher.cursor, now
                    ),
                )
            look_at_platform(settings, store, instance, states)
            return time.process_time() - started, statements

        for history in (0, wanted.history):
            lengthen(settings, wanted.products, history)
            round_of_looks()
            found = sorted(round_of_looks() for _ in range(3))
            seconds, count = found[1]
            share = 100 * seconds / settings.alert_interval
            print(
                f"{wanted.products} products, {history:,} records before: {seconds:.2f} s of processor time a "
                f"round ({share:.1f} % of a core at {settings.alert_interval:g} s), "
                f"{count / wanted.products:.0f} statements a product"
            )


if __name__ == "__main__":
    main()
