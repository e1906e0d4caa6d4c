"""A shop: customers and their orders as published versions, and a client that asks its GRAPHQL port."""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
from pyarrow import parquet

from dp_dagster.access.masks import Masks
from dp_dagster.access.view import ANONYMOUS, DatasetView
from dp_dagster.contracts.model import Column, Contract
from dp_dagster.errors import NotPublishedError, VersionGoneError
from dp_dagster.ports.base import OutputContext, Relationship
from dp_dagster.ports.outputs.graphql import GraphqlConfig, GraphqlOutput
from dp_dagster.ports.served import EXCHANGE, Exchange
from dp_dagster.predicates.model import EVERYTHING
from dp_dagster.rows.build import build
from dp_dagster.rows.export import Exports
from dp_dagster.rows.files import FilesEngine
from dp_dagster.rows.layout import Layout
from dp_dagster.rows.source import Source
from dp_dagster.rows.store import StoreFile
from dp_dagster.rows.version import Limits, PublishedVersion
from dp_dagster.settings import Settings
from dp_dagster.storage.types import arrow_schema

CUSTOMERS = (
    Column("id", "int64", nullable=False, description="Number of the customer."),
    Column("name", "string", nullable=False),
    Column("email", "string", classification="pii"),
    Column("score", "float64", nullable=False, unit="points"),
    Column("spent", "decimal(10,2)"),
    Column("since", "date"),
    Column("seen", "timestamp(UTC)"),
    Column("local", "timestamp"),
    Column("vip", "bool"),
    Column("photo", "binary"),
    Column("small", "int16"),
    Column("address", "struct<zip: string, geo: struct<lat: float64, lon: float64>>"),
    Column("tags", "list<string>"),
    Column("counts", "map<string, int64>"),
    Column("moves", "list<struct<to: string, at: date>>"),
    Column("odd name", "string"),
)
ORDERS = (
    Column("number", "int64", nullable=False),
    Column("customer", "int64"),
    Column("amount", "decimal(10,2)", nullable=False),
)
RELATIONSHIPS = (Relationship("orders", ("customer",), "customers", ("id",), to_one=True, from_one=False),)


def customer(number: int, version: int) -> tuple[Any, ...]:
    """A row of customers. Customer 2 has as little as may be."""
    if number == 2:
        return (number, "nobody", None, float("nan"), *[None] * 12)
    return (
        number,
        f"name {number}",
        f"c{number}@example.com",
        number / 2,
        Decimal(number) + Decimal("0.50"),
        date(2024, 2, 29),
        datetime(2024, 2, 29, 23, 59, 59, 5, tzinfo=UTC),
        datetime.fromisoformat("2024-02-29"),
        number % 2 == 0,
        bytes([number, 255]),
        -number,
        {"zip": f"z{number}", "geo": {"lat": 1.5, "lon": math.nan if number == 3 else 2.5}},
        ["a", None],
        [("k", version)],
        [{"to": "x", "at": date(2024, 1, 1)}],
        "odd",
    )


class Versions:
    """Opens published versions, each once, with its row store; made for all tests of a session."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = FilesEngine(memory="256MB", spill=folder / "spill", threads=1)
        self.exports = Exports(self.engine, folder / "exports", room=10**7, largest=10**7, seconds=30)
        self.workers = ThreadPoolExecutor(1)
        self.opened: dict[str, CountedVersion] = {}

    def open(self, number, columns, key, rows):
        """The version of that number with these rows; it was asked nothing yet."""
        name = repr((number, columns, key, rows))
        if name not in self.opened:
            self.opened[name] = self._made(number, columns, key, rows)
        version = self.opened[name]
        version.calls.clear()
        return version

    def _made(self, number, columns, key, rows):
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        values = {column.name: [row[place] for row in rows] for place, column in enumerate(columns)}
        parquet.write_table(pa.table(values, schema=arrow_schema(columns)), folder / "rows.parquet")
        layout = Layout(
            tuple((column.name, column.type) for column in columns),
            key,
            (str(folder / "rows.parquet"),),
            (("customer",),) if "customer" in values else (),
            texts=True,
        )
        build(folder / "rows.db", layout)
        version = CountedVersion(
            Source(
                layout,
                {column.name: column for column in columns},
                Masks(b"a secret of the tests, long enough"),
            ),
            version=number,
            published_at=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=number),
            rows=len(rows),
            engine=self.engine,
            exports=self.exports,
            workers=self.workers,
            limits=Limits(),
        )
        version.store = StoreFile(folder / "rows.db")
        return version

    def close(self):
        self.workers.shutdown()
        self.exports.close()
        for version in self.opened.values():
            version.store.close()
        self.engine.close()


class CountedVersion(PublishedVersion):
    """A published version that keeps what it was asked for, in ``calls``."""

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        self.calls: list[str] = []

    async def fetch_page(self, view, query):
        self.calls.append("page")
        return await super().fetch_page(view, query)

    async def fetch_row(self, view, key, columns):
        self.calls.append("row")
        return await super().fetch_row(view, key, columns)

    async def fetch_related(self, view, by, values, columns, *, limit=None):
        self.calls.append("related")
        return await super().fetch_related(view, by, values, columns, limit=limit)

    async def fetch_count(self, view, where=EVERYTHING):
        self.calls.append("count")
        return await super().fetch_count(view, where)


@dataclass
class Host:
    """Versions of a dataset, newest last."""

    versions: list[CountedVersion] = field(default_factory=list)
    others: dict[str, Any] = field(default_factory=dict)
    fault: Exception | None = None

    def newest(self):
        if self.fault:
            raise self.fault
        if not self.versions:
            raise NotPublishedError("nothing has been published yet")
        return self.versions[-1]

    def at(self, version):
        found = [one for one in self.versions if one.version == version]
        if not found:
            raise VersionGoneError(f"version {version} is not kept; ask for the newest")
        return found[0]

    def as_of(self, moment):
        found = [one for one in self.versions if one.published_at <= moment]
        if not found:
            raise VersionGoneError("nothing was on show then; ask for the newest")
        return found[-1]

    def related(self, dataset, identity):  # noqa: ARG002 - the interface's
        return self.others.get(dataset)


def whole(dataset, columns, **masks):
    return DatasetView(dataset, tuple(column.name for column in columns), masks)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    exchange: Exchange

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def data(self):
        assert self.status == 200, self.body
        assert "errors" not in self.json, self.json["errors"]
        return self.json["data"]

    @property
    def message(self):
        (error,) = self.json["errors"]
        return error["message"]


class Shop:
    """A GRAPHQL port on customers, and its clients."""

    def __init__(self, folder: Path, versions: Versions, **options: Any) -> None:
        self.version = versions.open
        self.customers = Host(
            [
                self.version(number, CUSTOMERS, ("id",), [customer(one, number) for one in range(6)])
                for number in (1, 2)
            ]
        )
        orders = [(number, [0, 1, 2, 9, None][number % 5], Decimal(number)) for number in range(20)]
        self.orders = Host([self.version(5, ORDERS, ("number",), orders)])
        self.view = whole("customers", CUSTOMERS)
        self.show_orders(whole("orders", ORDERS))
        self.kind = GraphqlOutput()
        self.config = GraphqlConfig.model_validate({"auth": "none", **options})
        self.context = OutputContext(
            product_id="shop",
            product_root=folder,
            major=1,
            port_name="customers_graphql",
            dataset="customers",
            contract=Contract("customers", "hash", "odcs", "shop.yaml:customers", CUSTOMERS, ()),
            description="All customers.",
            settings=Settings.load(folder),
            relationships=RELATIONSHIPS,
        )
        self._application: Any = None

    def show_orders(self, view: DatasetView | None) -> None:
        self.customers.others = {"orders": (self.orders, view)} if view is not None else {}

    @property
    def application(self):
        if self._application is None:
            self._application = self.kind.application(self.config, self.context, self.customers)
        return self._application

    def send(self, method="POST", path="", query=b"", body=b"", headers=None):
        sent: list[dict[str, Any]] = []
        parts = [body[:10], body[10:]]

        async def receive():
            return {"type": "http.request", "body": parts.pop(0), "more_body": len(parts) > 0}

        async def send(message):
            sent.append(message)

        exchange = Exchange(ANONYMOUS, self.view)
        given = {"content-type": "application/json", **(headers or {})}
        scope = {
            "type": "http",
            "method": method,
            "path": self.kind.path(self.config, self.context) + path,
            "query_string": query,
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            EXCHANGE: exchange,
        }
        asyncio.run(self.application(scope, receive, send))
        start, content = sent
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], found, content["body"], exchange)

    def ask(self, document, **variables):
        return self.send(body=json.dumps({"query": document, "variables": variables}).encode())

    def get(self, document, headers=None, **more):
        return self.send("GET", query=urlencode({"query": document, **more}).encode(), headers=headers)
