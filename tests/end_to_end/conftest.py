"""One running ``dp dev`` with all three products materialised, shared by the end-to-end tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dev_server import DevServer, published

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def dev_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """The real command on this repository's workspace; its storage is its own."""
    with published(tmp_path_factory.mktemp("dev")) as server:
        yield server
