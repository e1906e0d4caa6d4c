from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from change_helpers import Dataset

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)
