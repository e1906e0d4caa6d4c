"""A shop whose things and places are served, and two consumers: one who sees all, one who sees less."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dp_dagster.access.view import Identity
from dp_dagster.pipeline import Session, project_port
from dp_dagster.ports.outputs.rest import RestOutput
from dp_dagster.registry import Registry
from dp_dagster.resolve import resolve
from dp_dagster.serving.app import assemble
from dp_dagster.settings import Settings
from dp_dagster.storage.types import arrow_schema
from dp_dagster.testing.published import publish_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dp_dagster.serving.shell import Served, Shell
    from dp_dagster.storage import Snapshot
    from dp_dagster.testing.asgi import Client, Response

THINGS = "/shop/v1/things"
PLACES = "/shop/v1/places"
COUNT = 250
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: shop
version: 1.0.0
status: active
schema:
  - name: things
    description: Things that are sold, <b>all</b> of them.
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, required: true, primaryKey: true, primaryKeyPosition: 1,
         description: Number of the thing., logicalTypeOptions: {minimum: 0}, examples: [7, 11]}
      - {name: name, logicalType: string, required: true, classification: pii, description: Who <i>made</i> it.,
         logicalTypeOptions: {pattern: "^maker"}}
      - {name: price, logicalType: number, physicalType: "decimal(12,2)", description: "What it costs, in euros.",
         examples: ["12.5", "3"]}
      - {name: ratio, logicalType: number, physicalType: double}
      - {name: sold_at, logicalType: timestamp, physicalType: timestamptz}
      - {name: local, logicalType: timestamp, physicalType: timestamp}
      - {name: day, logicalType: date, examples: ["2024-02-29"]}
      - {name: flag, logicalType: boolean, required: true}
      - {name: raw, physicalType: blob}
      - {name: small, logicalType: integer, physicalType: smallint}
      - {name: secret_margin, logicalType: integer, physicalType: bigint, required: true}
  - name: places
    properties:
      - {name: country, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: street, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 2}
      - {name: number, logicalType: integer, physicalType: bigint, required: true, primaryKey: true,
         primaryKeyPosition: 3}
"""
PRODUCT = """
product_id: shop
version: 1.2.0
input_ports: [{name: raw, type: FILES, path: raw.csv}]
datasets:
  - {name: things, from: raw, contract: "contracts/shop.odcs.yaml:things", description: "All <i>things</i>."}
  - {name: places, from: raw, contract: "contracts/shop.odcs.yaml:places"}
output_ports:
  - {name: api, type: REST_API, dataset: things, auth: api_key, page_size: 40, limits: {page_size: 100}}
  - {name: places_api, type: REST_API, dataset: places, auth: api_key}
access:
  - {role: owner, datasets: [things], unmask: [name]}
  - {role: owner, datasets: [places]}
  - {role: visitor, datasets: [things], columns: [id, name, price, flag], rows: "flag = true"}
"""
OWNER = Identity("owner", roles=frozenset({"owner"}))
VISITOR = Identity("visitor", roles=frozenset({"visitor"}))
STREETS = ("High/Low Street", "a,b", "100 %", "é 日本", "?x=1&y#z", "..", "+ plus")


def thing(number: int, version: int = 0) -> dict[str, Any]:
    """A row of things as JSON has it."""
    at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=number, microseconds=number % 2)
    return {
        "id": number,
        "name": f"maker {number % 7}",
        "price": None if number % 5 == 4 else f"{Decimal(number) / 4 + version:.2f}",
        "ratio": [0.1, "NaN", "inf", None][number % 4],
        "sold_at": at.isoformat(timespec="microseconds"),
        "local": at.replace(tzinfo=None).isoformat(timespec="microseconds"),
        "day": (date(2024, 2, 28) + timedelta(days=number % 3)).isoformat(),
        "flag": number % 3 == 0,
        "raw": bytes([number]).hex(),
        "small": None if number % 2 else -number,
        "secret_margin": 2**62 + number,
    }


def things_table(columns: Any, version: int) -> pa.Table:
    rows = [thing(number, version) for number in range(COUNT)]
    readers: Mapping[str, Any] = {
        "price": Decimal,
        "ratio": float,
        "sold_at": datetime.fromisoformat,
        "local": datetime.fromisoformat,
        "day": date.fromisoformat,
        "raw": bytes.fromhex,
    }
    values = {
        column.name: [
            None
            if row[column.name] is None
            else readers.get(column.name, lambda value: value)(row[column.name])
            for row in rows
        ]
        for column in columns
    }
    return pa.table(values, schema=arrow_schema(columns))


class Shop:
    """The product on disk and its server in this process. ``served`` is what the access log was told."""

    def __init__(self, folder: Path, descriptor: str = PRODUCT) -> None:
        self.settings = Settings(project_root=folder, serve_patience=0.0)
        self.root = folder / "products" / "shop"
        (self.root / "contracts").mkdir(parents=True)
        (self.root / "raw.csv").write_text("id\n1\n")
        (self.root / "contracts" / "shop.odcs.yaml").write_text(CONTRACT)
        (self.root / "product.yaml").write_text(descriptor)
        files = Registry.load().find("input_ports", "FILES")
        assert files is not None
        assert files.implementation is not None
        registry = Registry.of({"input_ports": [files.implementation], "output_ports": [RestOutput]})  # type: ignore[list-item]
        self.product = resolve(self.root, self.settings, registry)
        self.served: list[Served] = []
        places = {"country": ["X"] * len(STREETS), "street": STREETS, "number": range(len(STREETS))}
        self._publish("places", "places_api", pa.table(places), 1)

    def publish(self, version: int, *, files: int = 2) -> Snapshot:
        """Publish things."""
        columns = self.product.dataset("things").contract.columns
        return self._publish("things", "api", things_table(columns, version), files)

    def _publish(self, dataset: str, port: str, rows: pa.Table, files: int) -> Snapshot:
        contract = self.product.dataset(dataset).contract
        snapshot = publish_rows(self.settings, "shop", dataset, contract, rows, files=files)
        project_port(Session(self.product, "tests"), port)
        return snapshot

    def serve(self) -> Shell:
        """The server's application; it believes who somebody says that they are."""
        shell = assemble([self.product], self.settings)
        by_name = {identity.subject: identity for identity in (OWNER, VISITOR)}

        async def identify(headers: Mapping[str, str]) -> Identity:
            return by_name[headers.get("x-consumer", "owner")]

        for path in (THINGS, PLACES):
            route = shell.route_of(path)
            assert route is not None
            route.identify = identify
            route.finished = self.served.append
        return shell


def problem(response: Response) -> dict[str, Any]:
    """The problem document of an answer."""
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = json.loads(response.body)
    assert found["status"] == response.status
    return found


def all_pages(client: Client, target: str, **headers: str) -> list[dict[str, Any]]:
    """The rows of all pages from one on, by their links."""
    rows: list[dict[str, Any]] = []
    following: str | None = target
    while following:
        response = client.get(following, **headers)
        assert response.status == 200, response.body
        page = response.json()
        rows += page["data"]
        following = page["links"]["next"]
        assert (f'<{following}>; rel="next"' in response.headers.get("link", "")) == bool(following)
    return rows
