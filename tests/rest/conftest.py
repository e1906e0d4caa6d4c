"""One shop for all tests that only read; ``make_shop`` makes others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rest_helpers import Shop

from dp_dagster.testing.asgi import Client

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two versions of things: 0 in two files, 1 in one file."""
    made = Shop(tmp_path_factory.mktemp("shop"))
    made.publish(0)
    made.publish(1, files=1)
    return made


@pytest.fixture(scope="session")
def client(shop: Shop) -> Iterator[Client]:
    """Asks the shop's server as its owner, unless ``x_consumer`` names another."""
    with Client(shop.serve()) as client:
        yield client
