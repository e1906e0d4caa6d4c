"""A landing that is killed at any point neither loses nor doubles a row: real processes, a real PostgreSQL."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from input_helpers import Landed
from landing_process import BEFORE_THE_COMMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from input_helpers import Shop
    from support import TestProject

pytestmark = [pytest.mark.slow, pytest.mark.needs("postgresql")]

SCRIPT = Path(__file__).with_name("landing_process.py")
TABLE = "create table events (id bigserial primary key, name text not null, at timestamptz not null default now())"
ROWS = "insert into events (name) select 'event ' || n from generate_series(1, 500) n"
MODES: dict[str, dict[str, Any]] = {
    "append": {"cursor": "id"},
    "merge": {"cursor": "at", "key": ["id"]},
}
COLLECTED = 'import pandera.polars as pa\n\nRows = pa.DataFrameSchema({"id": pa.Column(int, unique=True)})\n'


def start(landed: Landed, task: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), task, str(landed.root), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def declare(landed: Landed, shop: Shop, mode: str) -> None:
    landed.declare(
        {
            "type": "SQL",
            "url": shop.url,
            "table": "events",
            "batch_rows": 100,
            "contract": "contracts/rows.py:Rows",
            **MODES[mode],
        },
        {"contracts/rows.py": COLLECTED},
    )


def source_ids(shop: Shop) -> list[tuple[Any, ...]]:
    with shop.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text("select id, name from events order by id"))]


KILLED = {
    "append": ["reading", "committing", "committed", "not yet on record"],
    "merge": ["brought together", "committed"],
}


@pytest.mark.parametrize("mode", MODES)
def test_killed_at_a_stage(mode: str, shop: Shop, make_project: Callable[[], TestProject]) -> None:
    shop.run(TABLE, ROWS)
    killed = {stage: Landed(make_project().root) for stage in KILLED[mode]}
    for landed in killed.values():
        declare(landed, shop, mode)
        landed.land()
    before = source_ids(shop)
    shop.run(ROWS)
    if mode != "append":  # what changes behind the cursor is not read again
        shop.run("update events set name = 'changed', at = now() where id = 7")
    doomed = {stage: start(landed, "die", stage) for stage, landed in killed.items()}
    for stage, process in doomed.items():
        _, errors = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, f"{stage}: {errors}"
    after = source_ids(shop)
    for stage, landed in killed.items():
        assert landed.rows("id, name") == (before if stage in BEFORE_THE_COMMIT else after), stage
    shop.run(ROWS)
    for stage, landed in killed.items():
        assert not landed.land().unchanged
        assert landed.rows("id, name") == source_ids(shop), stage
        assert landed.land().unchanged


def test_killed_at_random_while_rows_come_in(shop: Shop, landed: Landed) -> None:
    shop.run(TABLE, ROWS)
    declare(landed, shop, "append")
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.02):
            shop.run("insert into events (name) select 'late ' || n from generate_series(1, 20) n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            before = len(landed.table.history())
            process = start(landed, "loop")
            deadline = time.monotonic() + 120
            while len(landed.table.history()) == before:
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(random.random() * 0.3)
            process.kill()
            process.communicate(timeout=60)
    finally:
        stop.set()
        writer.join()
    landed.land()
    assert landed.rows("id, name") == source_ids(shop)
    assert len(landed.table.history()) > 3
