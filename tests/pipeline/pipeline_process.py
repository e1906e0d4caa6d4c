"""A process that runs a product through the pipeline. Run by test_runs_in_processes.py, also from a nursery.

Usage::

    pipeline_process.py run PROJECT PRODUCT COUNT     runs the product COUNT times; prints the versions as JSON
    pipeline_process.py parts PROJECT PRODUCT KEY COUNT    makes one partition COUNT times; prints the versions as JSON
    pipeline_process.py die PROJECT PRODUCT STAGE     dies by SIGKILL at a stage of a run
    pipeline_process.py wait PROJECT PRODUCT          says "ready", then runs the product without end
    pipeline_process.py read PROJECT PRODUCT STOP     queries the SQL port without pause until the file STOP appears
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import deltalake  # noqa: F401 - as what follows, once for all that a nursery starts
import duckdb
import pandera.polars  # noqa: F401
import sqlalchemy  # noqa: F401
import sqlglot  # noqa: F401
from pipeline_helpers import Product, Workshop

from dp_dagster import records_database  # noqa: F401
from dp_dagster.contracts import pandera_checks, pandera_format  # noqa: F401
from dp_dagster.engines import duckdb as duckdb_engine
from dp_dagster.errors import RetryableError
from dp_dagster.pipeline import Session, publication
from dp_dagster.pipeline.publication import Publisher
from dp_dagster.ports.inputs.files import FilesInput
from dp_dagster.ports.outputs.sql import SqlOutput, catalog_path, duckdb_catalog
from dp_dagster.records import Records
from dp_dagster.storage import Table
from dp_dagster.storage import manifest as manifest_module
from dp_dagster.storage.log import Log


def die(*_: object, **__: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def die_after(owner: Any, name: str, *, subject: str = "") -> None:
    """Let a function do its work, then die, so that nobody hears of it."""
    original = getattr(owner, name)

    def patched(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        if subject in f"{arguments}{options}":
            die()
        return result

    setattr(owner, name, patched)


def die_in_the_middle_of(kind: str) -> None:
    """Die when a step has written half a file where its rows were to go."""
    original = duckdb_engine.write_rows

    def patched(relation: Any, destination: Path, what: str, sort_by: Any = ()) -> None:
        if f"/{kind}/" in what:
            destination.write_bytes(b"PAR1 half")
            die()
        original(relation, destination, what, sort_by)

    duckdb_engine.write_rows = patched


def die_at_the_commit_of(kind: str) -> None:
    original = Log.commit

    def patched(self: Log, *arguments: Any, **options: Any) -> int:
        if kind in str(self.location.area):
            die()
        return original(self, *arguments, **options)

    Log.commit = patched  # type: ignore[method-assign]


STAGES: dict[str, Any] = {
    "writing the input": lambda: die_in_the_middle_of("input"),
    "committing the input": lambda: die_at_the_commit_of("input"),
    "landed the input": lambda: die_after(FilesInput, "write"),
    "writing the transform": lambda: die_in_the_middle_of("transform"),
    "committing the transform": lambda: die_at_the_commit_of("transform"),
    "writing the dataset": lambda: die_in_the_middle_of("dataset"),
    "written the dataset": lambda: die_after(Publisher, "_written"),
    "audited": lambda: die_after(publication, "judge"),
    "quarantined": lambda: die_after(publication, "put_aside"),
    "verdict recorded": lambda: die_after(Table, "record_verdict"),
    "committing the dataset": lambda: die_at_the_commit_of("dataset"),
    "committed the dataset": lambda: setattr(Publisher, "_record_published", die),
    "published": lambda: die_after(Records, "append", subject="published"),
    "building the catalog": lambda: setattr(duckdb_catalog, "_create_port_view", die),
    "replaced the catalog": lambda: die_after(SqlOutput, "project"),
    "replaced the manifest": lambda: die_after(manifest_module, "replace_document"),
}


def read(product: Product, stop: Path) -> dict[str, int]:
    """Query as a consumer would: each answer must be one whole version, and versions never go back."""
    path = catalog_path(product.workshop.storage, product.id)
    seen, reads, last = set(), 0, -1
    while not stop.exists():
        with duckdb.connect(str(path), read_only=True) as connection:
            query = (
                "select count(*), min(batch), max(batch), sum(number), count(distinct name) "
                f"from {product.id}.v1.vw_rows"
            )
            for _ in range(2):
                (answer,) = connection.execute(query).fetchall()
                count, lowest, highest, total, names = answer
                assert lowest == highest, f"rows of {lowest} and {highest} mixed"
                assert (count, total, names) == (1000, 499_500, 1000), f"torn: {answer}"
                assert lowest >= last, f"{lowest} after {last}"
                last = lowest
                seen.add(lowest)
        reads += 1
        if reads == 1:
            print("ready", flush=True)
    return {"reads": reads, "versions": len(seen), "last": last}


def main(task: str, project: str, product_id: str, *arguments: str) -> None:
    product = Product(Workshop(Path(project)), product_id)
    if task == "run":
        versions, lost = [], 0
        for _ in range(int(arguments[0])):
            try:
                versions.append(
                    product.run(f"{os.getpid()}-{len(versions)}-{lost}").published.snapshot.version
                )
            except RetryableError:
                lost += 1
        print(json.dumps({"versions": versions, "lost": lost}))
    elif task == "parts":
        made = []
        for number in range(int(arguments[1])):
            session = Session(product.resolved(), f"{os.getpid()}-{number}", partitions=[arguments[0]])
            made.append(product.run(session=session).published.snapshot.version)
        print(json.dumps(made))
    elif task == "die":
        STAGES[arguments[0]]()
        product.run(f"doomed-{os.getpid()}")
    elif task == "wait":
        product.resolved()
        print("ready", flush=True)
        for number in range(1_000_000):
            product.run(f"doomed-{os.getpid()}-{number}")
    elif task == "read":
        print(json.dumps(read(product, Path(arguments[0]))))


if __name__ == "__main__":
    main(*sys.argv[1:])
