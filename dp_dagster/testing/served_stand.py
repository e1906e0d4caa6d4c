"""Products with a served port and their server in this process, and how consumers ask it, in no protocol's words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_dagster.settings import Settings
from dp_dagster.testing.access import ACCESS, COLUMNS, CONSUMERS, ROWS, Keys
from dp_dagster.testing.access import CONTRACT as CONSUMERS_CONTRACT
from dp_dagster.testing.access import DATASET as PEOPLE
from dp_dagster.testing.published import publish_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from dp_dagster.ports.served import ServedPort
    from dp_dagster.predicates.model import Operator
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.serving.shell import Served, Shell
    from dp_dagster.testing.access import Consumer
    from dp_dagster.testing.asgi import Client


@dataclass(frozen=True)
class Question:
    """What a consumer wants to know, in no protocol's words.

    Attributes:
        columns: Which columns of the rows.
        where: Column, operator and value of a filter.
        sort: A column to sort by, upwards.
        key: The key of the only row that is wanted.
        count: Whether the number of rows is wanted, and no row.
        as_of: The version that is asked for.
    """

    columns: tuple[str, ...]
    where: tuple[str, Operator, Any] | None = None
    sort: str | None = None
    key: Any = None
    count: bool = False
    as_of: int | None = None


@dataclass(frozen=True)
class Reply:
    """What the consumer is told.

    Attributes:
        status: HTTP status.
        rows: Rows by column, as JSON has them, all that were asked for; of a key that no row has, none.
        count: The number of rows.
        version: The version that was read, where the protocol says so.
        refused: Why there is no answer, in the port's words.
    """

    status: int
    rows: tuple[dict[str, Any], ...] | None = None
    count: int | None = None
    version: int | None = None
    refused: str | None = None


@dataclass(frozen=True, kw_only=True)
class ServedSample:
    """A working served port, and how a consumer asks it.

    Attributes:
        options: What stands in ``product.yaml`` besides name, type and ``auth``.
        ask: Puts a question to the port that a client reaches below a path.
    """

    ask: Callable[[Client, str, Question], Reply]
    options: Mapping[str, Any] = field(default_factory=dict)


def people(number: int) -> pa.Table:
    """The first rows of the table of consumers, as they are published."""
    import pyarrow as pa

    types = (pa.int64(), pa.string(), pa.string(), pa.decimal128(10, 2), pa.string(), pa.date32())
    columns = list(zip(*ROWS[:number], strict=True))
    return pa.table(
        {name: pa.array(values, kind) for name, values, kind in zip(COLUMNS, columns, types, strict=True)}
    )


def as_json(consumer: Consumer, row: tuple[Any, ...]) -> dict[str, Any]:
    """A row that a consumer sees, as JSON has it."""
    return {name: _plain(value) for name, value in zip(consumer.columns, row, strict=True)}


class Stand:
    """Products on disk, each with the dataset and a port of the kind under test, and a server of them in this process.

    Attributes:
        products: By id.
        keys: API keys of the consumers.
        served: What the access log was told, in order.
    """

    def __init__(self, folder: Path, kind: type[ServedPort[Any]], sample: ServedSample) -> None:
        from dp_dagster.access.authentication.api_keys import ApiKeys
        from dp_dagster.records import Records

        self.folder = folder
        self.kind = kind
        self.sample = sample
        # Without a wait for row stores: what is shown is the same.
        self.settings = Settings(project_root=folder, serve_patience=0.0)
        Path(self.settings.storage).mkdir()
        self.products: dict[str, ResolvedProduct] = {}
        self.keys = Keys(ApiKeys(Records(self.settings.resolved_records_url)))
        for consumer in CONSUMERS:
            # A server looks for new keys now and then only, so they are made before it begins.
            self.keys.headers(consumer)
        self.served: list[Served] = []

    def add(self, product_id: str) -> ResolvedProduct:
        """Another product."""
        from dp_dagster.registry import Registry
        from dp_dagster.resolve import resolve

        root = self.folder / "products" / product_id
        (root / "contracts").mkdir(parents=True)
        (root / "raw.csv").write_text("id\n1\n")
        (root / "contracts" / "people.py").write_text(CONSUMERS_CONTRACT)
        port = {"name": "served", "type": self.kind.kind, "auth": "api_key", **self.sample.options}
        descriptor = {
            "product_id": product_id,
            "version": "1.0.0",
            "input_ports": [{"name": "raw", "type": "FILES", "path": "raw.csv"}],
            "datasets": [{"name": PEOPLE, "from": "raw", "contract": "contracts/people.py:People"}],
            "output_ports": [port],
            "access": ACCESS,
        }
        (root / "product.yaml").write_text(json.dumps(descriptor))
        installed = Registry.load().find("input_ports", "FILES")
        assert installed is not None
        registry = Registry.of({"input_ports": [_class_of(installed)], "output_ports": [self.kind]})
        self.products[product_id] = made = resolve(root, self.settings, registry)
        return made

    def publish(self, product_id: str, rows: int) -> int:
        """Publish that many rows, have the port show them, and give the version's number."""
        from dp_dagster.pipeline import Session, project_port

        product = self.products[product_id]
        contract = product.dataset(PEOPLE).contract
        snapshot = publish_rows(self.settings, product_id, PEOPLE, contract, people(rows))
        project_port(Session(product, f"rows-{rows}"), "served")
        return snapshot.version

    def path(self, product_id: str) -> str:
        """Where a product's port is mounted."""
        from dp_dagster.pipeline import Session
        from dp_dagster.pipeline.projections import output_context

        product = self.products[product_id]
        port = product.port("served")
        return self.kind().path(port.config, output_context(Session(product, "tests"), port))

    def serve(self) -> Shell:
        """The server's application, which also tells us what it tells the access log."""
        from dp_dagster.serving.app import assemble

        shell = assemble(self.products.values(), self.settings)
        for product_id in self.products:
            route = shell.route_of(self.path(product_id))
            assert route is not None
            route.finished = self._listening(route.finished)
        return shell

    def ask(self, client: Client, consumer: Consumer, question: Question, product_id: str = "shop") -> Reply:
        """Put a question as a consumer."""
        client.headers = self.keys.headers(consumer)
        return self.sample.ask(client, self.path(product_id), question)

    def _listening(self, finished: Callable[[Served], None] | None) -> Callable[[Served], None]:
        def told(served: Served) -> None:
            self.served.append(served)
            if finished is not None:
                finished(served)

        return told


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:.2f}"
    return value.isoformat() if isinstance(value, date) else value


def _class_of(kind: Any) -> type[Any]:
    found: type[Any] = kind.implementation
    return found
