from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from event_helpers import FIRST, SECOND, THIRD, Shop

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Three versions."""
    made = Shop(tmp_path_factory.mktemp("published"))
    for rows in (FIRST, SECOND, THIRD):
        made.publish(rows)
    return made
