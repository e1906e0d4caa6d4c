"""Environments of their own for counterparts: pinned, free of places, and made again when the file changes."""

from __future__ import annotations

import re
from pathlib import Path

import environments
import pytest

COUNTERPARTS = Path(__file__).resolve().parents[1] / "counterparts"
FILES = sorted(COUNTERPARTS.glob("*/requirements.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_every_package_is_pinned_by_name_and_version_alone(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []


@pytest.mark.slow
def test_an_environment_is_found_while_its_file_and_its_place_stay_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    requirements = tmp_path / "tests" / "empty" / "requirements.txt"
    requirements.parent.mkdir(parents=True)
    requirements.write_text("# nothing\n")
    assert environments.find(requirements) is None
    made = environments.make(requirements)
    assert made.exists()
    assert environments.find(requirements) == environments.make(requirements) == made
    requirements.write_text("# something else\n")
    assert environments.find(requirements) is None
