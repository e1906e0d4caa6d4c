"""The lock file is complete, portable and free of places."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LINES = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
PINNED = [Requirement(line) for line in LINES]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def declared() -> list[Requirement]:
    groups = [
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
        PROJECT["build-system"]["requires"],
    ]
    return [Requirement(text) for group in groups for text in group]


def test_every_line_is_one_exact_version() -> None:
    assert [
        line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+( ; .+)?", line)
    ] == []


def test_no_line_names_a_place() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|--(index|extra|find|trusted)|(^|\s)[/~.]", text)


@pytest.mark.parametrize("version", ["3.11.7", "3.12.1", "3.13.0"])
@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_what_the_project_declares_is_pinned_within_its_bounds(
    requirement: Requirement, version: str
) -> None:
    environment = {
        "python_full_version": version,
        "python_version": version.rpartition(".")[0],
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": sys.platform,
    }
    pins = [
        pin
        for pin in PINNED
        if canonicalize_name(pin.name) == canonicalize_name(requirement.name)
        and (pin.marker is None or pin.marker.evaluate(environment))
    ]
    assert len(pins) == 1, f"{requirement} has {len(pins)} pins: run `make lock`"
    (pin,) = pins[0].specifier
    assert requirement.specifier.contains(pin.version), f"{pins[0]} is outside {requirement}: run `make lock`"
