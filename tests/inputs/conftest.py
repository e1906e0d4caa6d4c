"""Operational inputs: a product that lands one, and the servers that it reads from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from input_helpers import Landed, Line, Shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support import TestProject


@pytest.fixture
def landed(make_project: Callable[[], TestProject]) -> Landed:
    """A project whose product lands one input."""
    return Landed(make_project().root)


@pytest.fixture
def shop(postgresql_url: str) -> Iterator[Shop]:
    """A database of one's own on a real PostgreSQL."""
    engine = sa.create_engine(postgresql_url)
    yield Shop(postgresql_url, engine)
    engine.dispose()


@pytest.fixture
def line(shop: Shop) -> Iterator[Line]:
    """A line to the database's server that can be cut."""
    port = shop.engine.url.port
    assert port is not None
    made = Line(port)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between attempts nobody waits for seconds."""
    from dp_dagster.ports import retries

    monkeypatch.setattr(retries, "LONGEST_WAIT_SECONDS", 0.02)
