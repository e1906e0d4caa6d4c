"""A product with the people of the table of consumers, and a port of theirs on a server."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from dp_dagster.pipeline import Session, project_port
from dp_dagster.pipeline.projections import output_context
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.testing.access import ACCESS, CONTRACT, DATASET, KEY, ROWS
from dp_dagster.testing.published import publish_rows
from dp_dagster.testing.served_stand import people

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dp_dagster.pipeline import ProjectionOutcome
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.storage import Snapshot

PORT = "people_sql"


class Shop:
    """The product, and the database that its port is in.

    ``place`` is ``host:port/database``.
    """

    def __init__(self, folder: Path, place: str) -> None:
        self.folder = folder
        self.place = place
        self.settings = Settings(project_root=folder, lock_timeout=5.0)
        self.root = folder / "products" / "shop"
        (self.root / "contracts").mkdir(parents=True)
        (self.root / "raw.csv").write_text("id\n1\n")
        self.port: dict[str, Any] = {
            "name": PORT,
            "type": "SQL",
            "endpoint": f"postgresql://{place}/public_data/people",
            "description": 'It\'s "all"; --\nmore',
        }
        self.access: list[dict[str, Any]] | None = ACCESS
        self.contract = CONTRACT
        self.version = "1.0.0"
        self._resolved: Any = None
        self._resolved_from: Any = None

    def product(self) -> ResolvedProduct:
        (self.root / "contracts" / "people.py").write_text(self.contract)
        descriptor = {
            "product_id": "shop",
            "version": self.version,
            "input_ports": [{"name": "raw", "type": "FILES", "path": "raw.csv"}],
            "datasets": [
                {"name": DATASET, "from": "raw", "contract": "contracts/people.py:People", "key": list(KEY)}
            ],
            "output_ports": [self.port],
            **({} if self.access is None else {"access": self.access}),
        }
        text = json.dumps(descriptor)
        if (text, self.contract, self.settings) != self._resolved_from:
            (self.root / "product.yaml").write_text(text)
            self._resolved = resolve(self.root, self.settings)
            self._resolved_from = (text, self.contract, self.settings)
        return self._resolved

    def publish(self, rows: Any = None) -> Snapshot:
        product = self.product()
        table = people(len(ROWS) if rows is None else rows) if rows is None or isinstance(rows, int) else rows
        return publish_rows(self.settings, "shop", DATASET, product.dataset(DATASET).contract, table)

    def project(self) -> ProjectionOutcome:
        return project_port(Session(self.product(), "tests"), PORT)

    def run(self, rows: Any = None) -> ProjectionOutcome:
        self.publish(rows)
        return self.project()

    def probe(self) -> None:
        product = self.product()
        port = product.port(PORT)
        assert port.port is not None
        port.port.probe(port.config, output_context(Session(product, "tests"), port))

    # -- the database ------------------------------------------------------------------------------------------

    @contextmanager
    def signed_in(self, user: str = "tester") -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(f"postgresql://{user}@{self.place}", autocommit=True) as connection:
            yield connection

    def ask(self, query: str, user: str = "tester", values: Any = None) -> list[tuple[Any, ...]]:
        with self.signed_in(user) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def tables(self) -> set[str]:
        """Names of the tables behind the views."""
        return {
            row[0]
            for row in self.ask(
                "select relname from pg_class c join pg_namespace n on n.oid = relnamespace "
                "where nspname = 'dp_shop' and relkind in ('r', 'p')"
            )
        } - {"ports", "generations", "claims"}
