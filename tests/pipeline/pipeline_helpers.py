"""Small products written from a test, and runs of them through the pipeline."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import duckdb
import polars as pl
from ruamel.yaml import YAML

from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset, run_transform
from dp_dagster.pipeline.inputs import raise_if_held
from dp_dagster.ports.outputs.sql import catalog_path
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.storage import (
    Table,
    dataset_table,
    input_table,
    quarantine_table,
    transform_table,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dp_dagster.pipeline import InputOutcome, ProjectionOutcome, PublicationOutcome, TransformOutcome
    from dp_dagster.resolve import ResolvedProduct

__all__ = ["ANYTHING", "ROWS", "Product", "Run", "Workshop", "rows"]

_numbers = itertools.count(1)

#: A contract that holds for everything; what a test proves is elsewhere.
ANYTHING = """\
import pandera.polars as pa

Rows = pa.DataFrameSchema({"nothing": pa.Column(str, required=False, unique=True)})
"""

#: The contract of the small product of :meth:`Workshop.product`.
ROWS = """\
import pandera.polars as pa

Rows = pa.DataFrameSchema(
    {
        "name": pa.Column(str, pa.Check.str_matches("^[a-z]+$"), description="Who"),
        "amount": pa.Column(int, pa.Check.ge(0), description="How much"),
    },
    unique=["name"],
)
"""


def rows(source: Any) -> list[tuple[Any, ...]]:
    """Rows of a snapshot, of what a run pinned, or of files, in no particular order."""
    files = getattr(source, "files", source)
    frames = [pl.read_parquet(file, glob=False, hive_partitioning=False) for file in files]
    return sorted((row for frame in frames for row in frame.rows()), key=str)


@dataclass
class Run:
    """What one run of a product came to."""

    session: Session
    inputs: dict[str, InputOutcome] = field(default_factory=dict)
    transforms: dict[str, TransformOutcome] = field(default_factory=dict)
    datasets: dict[str, PublicationOutcome] = field(default_factory=dict)
    ports: dict[str, ProjectionOutcome] = field(default_factory=dict)

    @property
    def published(self) -> Any:
        """The outcome of the only dataset."""
        (outcome,) = self.datasets.values()
        return outcome


class Product:
    """A product's folder, and what it publishes."""

    def __init__(self, workshop: Workshop, product_id: str) -> None:
        self.workshop = workshop
        self.id = product_id
        self.root = workshop.root / "products" / product_id

    def write(self, files: Mapping[str, str | bytes]) -> None:
        """Write files of the product's folder."""
        for relative, content in files.items():
            path = self.root / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def resolved(self) -> ResolvedProduct:
        return resolve(self.root, self.workshop.settings())

    def session(self, run_id: str | None = None) -> Session:
        return Session(self.resolved(), run_id or f"run-{next(_numbers)}")

    def run(self, run_id: str | None = None, *, session: Session | None = None) -> Run:
        """Run everything in order, as Dagster does: a held dataset's ports are left alone."""
        made = Run(session or self.session(run_id))
        product = made.session.product
        for declared in product.inputs:
            made.inputs[declared.name] = outcome = land_input(made.session, declared.name)
            raise_if_held(outcome, product.id)
        for transform in product.transforms:
            made.transforms[transform.name] = run_transform(made.session, transform.name)
        for dataset in product.datasets:
            made.datasets[dataset.name] = publish_dataset(made.session, dataset.name)
        for port in product.active_ports:
            assert port.dataset is not None
            if made.datasets[port.dataset.name].snapshot is not None:
                made.ports[port.name] = project_port(made.session, port.name)
        return made

    # -- what it published ------------------------------------------------------------------------------

    def table(self, name: str = "rows", major: int = 1) -> Table:
        return Table(dataset_table(self.workshop.storage, self.id, major, name), lock_timeout=5)

    def quarantine(self, name: str = "rows", major: int = 1) -> Table:
        return Table(quarantine_table(self.workshop.storage, self.id, major, name))

    def landed(self, name: str) -> Table:
        return Table(input_table(self.workshop.storage, self.id, name))

    def kept(self, name: str) -> Table:
        return Table(transform_table(self.workshop.storage, self.id, name))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Query the product's catalog as a consumer does."""
        with duckdb.connect(str(catalog_path(self.workshop.storage, self.id)), read_only=True) as connection:
            return connection.execute(sql).fetchall()

    def leftovers(self) -> list[str]:
        """Files below the storage that no version and no open candidate is made of."""
        folder = self.workshop.root / "data" / self.id
        named = set()
        for commit in folder.rglob("_delta_log/*.json"):
            actions = [json.loads(line) for line in commit.read_text().splitlines()]
            named |= {
                str(commit.parent.parent / unquote(action["add"]["path"]))
                for action in actions
                if "add" in action
            }
        found = [str(path) for path in folder.rglob("part-*.parquet") if str(path) not in named]
        found += [str(path) for path in folder.rglob(".catalog-*")]
        found += [str(path) for path in folder.rglob(".file-*")]
        return found


class Workshop:
    """A project in a folder of its own."""

    def __init__(self, root: Path, storage: str | None = None) -> None:
        self.root = root
        self.storage = storage or str(root / "data")
        self.changes: dict[str, Any] = {"lock_timeout": 20.0}

    def settings(self) -> Settings:
        return Settings(project_root=self.root, storage=self.storage, **self.changes)

    def product(
        self,
        product_id: str = "small",
        *,
        files: Mapping[str, str | bytes] | None = None,
        contract: str = ROWS,
        **changes: Any,
    ) -> Product:
        """Write a product: one CSV, one view, one dataset ``rows``, one SQL port ``vw_rows``, unless changed.

        A change of ``None`` leaves the key out.
        """
        descriptor = {
            "api_version": "dp_dagster/v1",
            "product_id": product_id,
            "name": "Small",
            "version": "1.0.0",
            "domain": "testing",
            "owner": {"team": "testers", "email": "testers@example.com"},
            "description": "A product for tests.",
            "refresh_rate": "daily",
            "input_ports": [{"name": "source", "type": "FILES", "path": "inputs/source.csv"}],
            "transforms": [{"name": "chosen", "type": "SQL", "path": "transforms/chosen.sql"}],
            "datasets": [
                {
                    "name": "rows",
                    "from": "chosen",
                    "contract": "contracts/rows.py:Rows",
                    "key": ["nothing" if contract == ANYTHING else "name"],
                }
            ],
            "output_ports": [{"name": "vw_rows", "type": "SQL", "dataset": "rows"}],
            **changes,
        }
        made = Product(self, product_id)
        made.root.mkdir(parents=True, exist_ok=True)
        with (made.root / "product.yaml").open("w") as stream:
            YAML().dump({key: value for key, value in descriptor.items() if value is not None}, stream)
        made.write(
            {
                "inputs/source.csv": "name,amount\nada,1\nben,2\n",
                "transforms/chosen.sql": "select * from source\n",
                "contracts/rows.py": contract,
                **(files or {}),
            }
        )
        return made
