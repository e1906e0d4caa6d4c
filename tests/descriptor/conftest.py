"""Products in a folder of their own, resolved with the kinds that are installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from dp_dagster.errors import DescriptorError
from dp_dagster.resolve import ResolvedProduct, resolve
from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

CONTRACT = '''\
import pandera.polars as pa


class Sales(pa.DataFrameModel):
    """Sales of each shop."""

    shop: str = pa.Field(unique=True)
    amount: int = pa.Field(ge=0, metadata={"severity": "warn"})
    note: str = pa.Field(nullable=True, unique=True)
'''


@dataclass
class Folder:
    """A product's folder, which is also the working directory, so that files are named without a path."""

    root: Path
    settings: Settings

    def write(self, text: str | bytes, name: str = "product.yaml") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def resolve(self, text: str | bytes, name: str = "product.yaml") -> ResolvedProduct:
        return resolve(self.write(text, name), self.settings)

    def problems(self, text: str | bytes, name: str = "product.yaml") -> list[str]:
        """Every line of the error that the descriptor gives."""
        with pytest.raises(DescriptorError) as caught:
            self.resolve(text, name)
        return str(caught.value).splitlines()


@pytest.fixture(scope="session")
def state_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all tests, so that a contract is compiled once."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def folder(tmp_path: Path, state_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    root = tmp_path / "shops"
    root.mkdir()
    monkeypatch.chdir(root)
    settings = Settings(
        project_root=tmp_path, storage=str(tmp_path / "data"), state_directory=state_directory
    )
    made = Folder(root, settings)
    made.write(CONTRACT, "contracts/sales.py")
    made.write("select shop, amount, note from sales", "transforms/clean.sql")
    return made


HEAD = "product_id: shops\nversion: 1.0.0\n"

FULL = """\
api_version: dp_dagster/v1
product_id: shops
name: Shops
version: v2.1.0
domain: retail
owner: {team: retail-data, email: retail@example.com}
description: |
  Sales of shops.

  More about them.
status: active
tags: {tier: gold}
support: {channel: "#retail", url: https://example.com/help}
refresh_rate: daily
input_ports:
  - name: sales
    type: FILES
    path: sales.csv
    contract: contracts/sales.py:Sales
    refresh_rate: hourly
transforms:
  - {name: clean, type: sql, path: transforms/clean.sql, materialized: table}
datasets:
  - name: sales
    from: clean
    contract: contracts/sales.py:Sales
    key: [shop]
    sort_by: [shop, amount]
    quarantine: {max_invalid: 0.5%}
output_ports:
  - {name: vw_sales, type: SQL, sla: "99.9%"}
  - name: files
    type: Files
    dataset: sales
    format: csv
    refresh_rate: {every: PT30M, maximum_lag: PT10M, warn_lag: PT2M}
sla: {availability: 99.5%, latency: {p95: 200ms}}
alerts: {on: contract violation, to: "${RETAIL_ALERTS}"}
infrastructure: {warehouse: small}
"""


@pytest.fixture
def head() -> str:
    """The least that a descriptor must say."""
    return HEAD


@pytest.fixture
def full() -> str:
    """A descriptor that says everything that can be said."""
    return FULL


SAMPLE = """\
{"product_id": "customer_360", "version": "v1.2.0",
 "output_ports": [
   {"type": "SQL", "endpoint": "snowflake://db/schema/vw_customers", "sla": "99.9%", "refresh_rate": "real-time"},
   {"type": "REST_API", "endpoint": "https://api.data.inc/v1/customers", "auth": "OAuth2"}]}
"""


@pytest.fixture
def sample() -> str:
    """The bare output-port configuration that must load as it is."""
    return SAMPLE
