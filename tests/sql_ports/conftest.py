"""A PostgreSQL database with a port of the people of the table of consumers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sql_helpers import Shop

from dp_dagster.testing.access import MASK_SECRET

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("DP_MASK_SECRET", MASK_SECRET)
    monkeypatch.setenv("PGUSER", "tester")
    return Shop(tmp_path, postgresql_url.replace("+psycopg", "").partition("@")[2])
