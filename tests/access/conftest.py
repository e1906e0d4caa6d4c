"""A product with grants, in a folder that is the working directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from access_helpers import CONTRACT, People

from dp_dagster.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def state_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by all tests, so that a contract is compiled once."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def people(tmp_path: Path, state_directory: Path, monkeypatch: pytest.MonkeyPatch) -> People:
    root = tmp_path / "people"
    (root / "contracts").mkdir(parents=True)
    (root / "contracts/people.py").write_text(CONTRACT)
    monkeypatch.chdir(root)
    return People(
        root, Settings(project_root=tmp_path, storage=str(tmp_path / "data"), state_directory=state_directory)
    )
