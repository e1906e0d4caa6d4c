"""A shop in memory: customers and their orders as published versions, and a client that asks its GRAPHQL port."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from dp_dagster.access.view import ANONYMOUS, DatasetView
from dp_dagster.contracts.model import Column, Contract
from dp_dagster.errors import NotPublishedError, VersionGoneError
from dp_dagster.ports.base import OutputContext, Relationship
from dp_dagster.ports.outputs.graphql import GraphqlConfig, GraphqlOutput
from dp_dagster.ports.served import EXCHANGE, Exchange
from dp_dagster.predicates.model import EVERYTHING, AllOf, AnyOf, Negation
from dp_dagster.rows.query import Page, Position
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

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
        {"zip": f"z{number}", "geo": {"lat": 1.5, "lon": "NaN" if number == 3 else 2.5}},
        ["a", None],
        [{"key": "k", "value": version}],
        [{"to": "x", "at": "2024-01-01"}],
        "odd",
    )


COMPARISONS: dict[str, Any] = {
    "eq": lambda value, wanted: value == wanted,
    "ne": lambda value, wanted: value != wanted,
    "lt": lambda value, wanted: value < wanted,
    "le": lambda value, wanted: value <= wanted,
    "gt": lambda value, wanted: value > wanted,
    "ge": lambda value, wanted: value >= wanted,
    "in": lambda value, wanted: value in wanted,
    "not_in": lambda value, wanted: value not in wanted,
    "contains": lambda value, wanted: wanted in value,
    "starts_with": lambda value, wanted: value.startswith(wanted),
    "ends_with": lambda value, wanted: value.endswith(wanted),
}


def holds(predicate, row):
    if isinstance(predicate, AllOf):
        return all(holds(part, row) for part in predicate.parts)
    if isinstance(predicate, AnyOf):
        return any(holds(part, row) for part in predicate.parts)
    if isinstance(predicate, Negation):
        return not holds(predicate.part, row)
    value = row[predicate.column]
    if predicate.operator == "is_null":
        return (value is None) == predicate.value
    return value is not None and COMPARISONS[predicate.operator](value, predicate.value)


class FakeVersion:
    """A published version in memory, as :class:`dp_dagster.rows.query.ServedVersion`; ``calls`` says what was asked."""

    def __init__(self, version, columns, key, rows):
        self.version, self.columns, self.key, self.rows = version, columns, key, len(rows)
        self.published_at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=version)
        names = [column.name for column in columns]
        self.data = [dict(zip(names, row, strict=True)) for row in rows]
        self.calls: list[str] = []

    def shown(self, view, row, columns):
        return tuple("•••" if name in view.masks else row[name] for name in columns)

    def seen(self, view, where=EVERYTHING):
        return [row for row in self.data if holds(view.rows, row) and holds(where, row)]

    async def fetch_page(self, view, query):
        self.calls.append("page")
        order = [*((one.column, one.descending) for one in query.sort), *((name, False) for name in self.key)]
        rows = self.seen(view, query.where)
        for name, descending in reversed(order):
            rows.sort(
                key=lambda row, n=name, d=descending: ((row[n] is None) != d, row[n] or 0), reverse=descending
            )
        positions = [Position(tuple(row[name] for name, _ in order)) for row in rows]
        low = positions.index(query.after) + 1 if query.after else 0
        high = positions.index(query.before) if query.before else len(rows)
        if query.backward:
            more, low = high - low > query.limit, max(low, high - query.limit)
        else:
            more, high = high - low > query.limit, min(high, low + query.limit)
        rows, positions = rows[low:high], positions[low:high]
        return Page(
            query.columns,
            [self.shown(view, row, query.columns) for row in rows],
            positions[0] if positions else None,
            positions[-1] if positions else None,
            more,
            tuple(positions) if query.positions else (),
        )

    async def fetch_row(self, view, key, columns):
        self.calls.append("row")
        found = [row for row in self.seen(view) if tuple(row[name] for name in self.key) == key]
        return self.shown(view, found[0], columns) if found else None

    async def fetch_related(self, view, by, values, columns, *, limit=None):
        self.calls.append("related")
        found: dict[Any, list[Any]] = {}
        for row in self.seen(view):
            key = tuple(row[name] for name in by)
            if key in values:
                found.setdefault(key, []).append(self.shown(view, row, columns))
        return {key: rows[:limit] for key, rows in found.items()}

    async def fetch_count(self, view, where=EVERYTHING):
        self.calls.append("count")
        return len(self.seen(view, where))


@dataclass
class FakeHost:
    """Versions of a dataset, newest last."""

    versions: list[FakeVersion] = field(default_factory=list)
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

    def __init__(self, folder: Path, **options: Any) -> None:
        self.customers = FakeHost(
            [
                FakeVersion(number, CUSTOMERS, ("id",), [customer(one, number) for one in range(6)])
                for number in (1, 2)
            ]
        )
        orders = [(number, [0, 1, 2, 9, None][number % 5], Decimal(number)) for number in range(20)]
        self.orders = FakeHost([FakeVersion(5, ORDERS, ("number",), orders)])
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
