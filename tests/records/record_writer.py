"""Appends records, and tells of each one that was acknowledged. Runs in processes of test_records.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.records import Records

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def write(url: str, name: str, count: int, told: Connection) -> None:
    """Append ``count`` records; each hash goes down the pipe after the store has acknowledged it."""
    records = Records(url)
    for number in range(count):
        record = records.append("published", "flights", "v1/dataset/flights", name, "run", {"number": number})
        told.send_bytes(record.hash.encode())
    told.close()
