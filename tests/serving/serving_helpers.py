"""A product that is served, versions of it published in milliseconds, and ways to ask."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
import uuid
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from support import listening

from dp_dagster.contracts.verdict import Verdict
from dp_dagster.registry import FAMILIES, GROUP_PREFIX, Entry, Registry
from dp_dagster.resolve import resolve
from dp_dagster.serving.app import assemble
from dp_dagster.settings import Settings
from dp_dagster.storage import Table, dataset_table
from dp_dagster.storage.manifest import PortEntry, update_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.storage import Snapshot

PLUGIN = Path(__file__).parent / "plugin"
DESCRIPTOR = """\
product_id: counted
version: 1.0.0
input_ports:
  - {name: raw, type: FILES, path: raw.csv}
datasets:
  - {name: numbers, from: raw, contract: "contracts/numbers.odcs.yaml:numbers", key: [number], sort_by: [number]}
output_ports:
  - {name: plain, type: PLAIN, dataset: numbers, auth: none, limits: {requests_per_minute: unlimited}}
access: [{anyone: true}]
"""
CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: counted
version: 1.0.0
status: active
schema:
  - name: numbers
    properties:
      - {name: number, logicalType: integer, physicalType: bigint, primaryKey: true}
      - {name: batch, logicalType: integer, physicalType: bigint, required: true}
      - {name: text, logicalType: string}
"""


def make_product(root: Path, descriptor: str = DESCRIPTOR) -> Path:
    """A project with one served product; gives the product's folder."""
    (root / "dp_dagster.toml").write_text('products = ["products/*"]\nstorage = "data"\n')
    folder = root / "products" / "counted"
    (folder / "contracts").mkdir(parents=True)
    (folder / "product.yaml").write_text(descriptor)
    (folder / "raw.csv").write_text("number,batch,text\n1,1,x\n")
    (folder / "contracts" / "numbers.odcs.yaml").write_text(CONTRACT)
    return folder


def resolved(root: Path) -> ResolvedProduct:
    """The product, in this process. Only these tests know its kind: whatever runs beside them does not."""
    entries = {
        family: [
            Entry(point.name, point.value, point.load) for point in entry_points(group=GROUP_PREFIX + family)
        ]
        for family in FAMILIES
    }
    entries["output_ports"].append(Entry("PLAIN", "plain_port:PlainPort", _plain))
    return resolve(root / "products" / "counted", Settings.load(root), Registry(entries))


def _plain() -> Any:
    spec = importlib.util.spec_from_file_location("plain_port", PLUGIN / "plain_port.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["plain_port"] = module
    spec.loader.exec_module(module)
    return module.PlainPort


def publish(
    product: ResolvedProduct,
    batch: int,
    rows: int = 1000,
    *,
    ports: tuple[str, ...] = ("plain",),
    deprecated_since: datetime | None = None,
) -> Snapshot:
    """Publish numbers from 0, each row with the batch's number, and have the ports show them."""
    import pyarrow as pa
    from pyarrow import parquet

    dataset = product.datasets[0]
    storage = product.settings.storage
    table = Table(dataset_table(storage, product.id, product.major, dataset.name))
    with table.lock("tests"):
        draft = table.draft(f"batch-{batch}")
        parquet.write_table(
            pa.table(
                {
                    "number": pa.array(range(rows), pa.int64()),
                    "batch": pa.array([batch] * rows, pa.int64()),
                    "text": [f"row {number} of batch {batch}" for number in range(rows)],
                }
            ),
            draft.new_file(),
        )
        candidate = draft.seal()
        verdict = Verdict(
            id=uuid.uuid4().hex,
            candidate_id=candidate.id,
            contract_hash=dataset.contract.hash,
            contract_version=None,
            decision="accepted",
            rows_in=rows,
            rows_accepted=rows,
            rows_rejected=0,
            input_hash=candidate.hash,
            accepted_hash=candidate.hash,
            results=(),
            reason="made for a test",
            at=datetime.now(UTC).isoformat(),
        )
        snapshot = table.publish(candidate, verdict, {}, contract_hash=dataset.contract.hash)

    def change(manifest: Any) -> Any:
        for name in ports:
            entry = PortEntry(
                kind="PLAIN",
                dataset=dataset.name,
                area=snapshot.location.area,
                version=snapshot.version,
                published_at=snapshot.published_at.isoformat(),
                projected_at=snapshot.published_at.isoformat(),
                rows=rows,
                columns=tuple(asdict(column) for column in dataset.contract.columns),
                deprecated_since=deprecated_since.isoformat() if deprecated_since else None,
            )
            manifest = manifest.with_port(product.major, name, entry)
        return manifest

    update_manifest(storage, product.id, change)
    return snapshot


class Running:
    """A server in a thread of this process, and a client of it."""

    def __init__(self, product: ResolvedProduct, client: httpx.Client) -> None:
        self.product = product
        self.client = client

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self.client.base_url.port or 0)

    def wait_for(self, what: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def state(self) -> str:
        """What /ready says of the only port."""
        return str(self.client.get("/ready").json()["ports"][0]["state"])


@contextlib.contextmanager
def serving(product: ResolvedProduct) -> Iterator[Running]:
    """Serve a product from a thread of this process."""
    with (
        listening(assemble([product], product.settings)) as address,
        httpx.Client(base_url=address, timeout=60, trust_env=False) as client,
    ):
        yield Running(product, client)
