"""Appends records and prints the hash of each one that was acknowledged. Run by test_records.py."""

from __future__ import annotations

import sys

from dp_dagster.records import Records


def main(url: str, name: str, count: int) -> None:
    records = Records(url)
    for number in range(count):
        record = records.append("published", "flights", "v1/dataset/flights", name, "run", {"number": number})
        print(record.hash, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
