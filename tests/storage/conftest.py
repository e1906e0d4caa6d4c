from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store_helpers import Publisher

from dp_dagster.storage import Table, dataset_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(dataset_table(str(tmp_path / "store"), "flights", 1, "flights"), lock_timeout=5)


@pytest.fixture
def publisher(table: Table) -> Publisher:
    return Publisher(table)
