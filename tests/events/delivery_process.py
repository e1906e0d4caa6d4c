"""Projects a port whenever it is told to, each time in a process of its own that somebody may kill: ``ROOT``.

It imports everything once, so that a kill hits the work and not the imports. A line on its input starts the work, and
is answered with the id of the process that does it; the next line has it waited for, and is answered with how it ended.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import confluent_kafka  # noqa: F401 - before the first fork
import deltalake  # noqa: F401
import duckdb  # noqa: F401
from pyarrow import parquet  # noqa: F401

from dp_dagster.access import masks  # noqa: F401
from dp_dagster.pipeline import Session, project_port
from dp_dagster.ports.outputs.event_stream import changes_pages, delivering, kafka  # noqa: F401
from dp_dagster.records import Records  # noqa: F401
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings


def main(root: Path) -> None:
    # Small batches, so that there are many places to be killed at.
    changes_pages.PAGE = delivering.PAGE = 7
    product = resolve(root / "products" / "shop", Settings.load(root))
    print("ready", flush=True)
    for _ in sys.stdin:
        process = os.fork()
        if not process:
            try:
                metadata = project_port(Session(product, "delivery"), "people_events").metadata
                (root / "delivered").write_text(str(metadata["delivery"]))
            finally:
                os._exit(0)
        print(process, flush=True)
        sys.stdin.readline()
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
