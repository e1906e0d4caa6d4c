"""Writes accesses until it is killed; says how many it has handed over, a line for each hundred."""

from __future__ import annotations

import sys
import time

from dp_dagster.access.log import Access, AccessLog
from dp_dagster.records import Records


def main() -> None:
    url, subject = sys.argv[1:]
    log = AccessLog(Records(url))
    log.start()
    number = 0
    while True:
        for _ in range(100):
            number += 1
            log.record(Access(time.time(), "p", "a", "d", 1, subject, None, "none", ("id",), 2, 200, 1.5))
        print(number, flush=True)
        time.sleep(0.002)


if __name__ == "__main__":
    main()
