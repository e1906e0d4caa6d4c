"""Servers that samples of kinds are read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from api_server import ApiShop, serve

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def api_running() -> Iterator[ApiShop]:
    """An API on loopback."""
    shop, server = serve()
    yield shop
    server.shutdown()
    server.server_close()


@pytest.fixture
def api_shop(api_running: ApiShop) -> ApiShop:
    """The API with two records."""
    api_running.records = [{"id": number, "changed": f"2026-01-0{number}"} for number in (1, 2)]
    api_running.faults, api_running.asked, api_running.token, api_running.gone = [], [], "", False
    return api_running
