from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from store_helpers import Publisher

from dp_dagster.storage import Table, dataset_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The storage root: a folder, or a bucket for tests that ask for both."""
    import os

    if os.environ.get("TRYBUCKET") or getattr(request, "param", "folder") == "bucket":
        return f"s3://{request.getfixturevalue('bucket')}/store"
    return str(tmp_path / "store")


@pytest.fixture
def table(root: str) -> Table:
    return Table(dataset_table(root, "flights", 1, "flights"), lock_timeout=5)


@pytest.fixture
def publisher(table: Table) -> Publisher:
    return Publisher(table)
