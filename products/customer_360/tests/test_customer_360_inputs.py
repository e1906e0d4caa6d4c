"""Making the input files of `customer_360`: once, whole, and with a clear word when it cannot be."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = Path(__file__).resolve().parent.parent / "generate_inputs.py"


@pytest.fixture
def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("customer_360_generate_inputs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fill(script: ModuleType, folder: Path) -> None:
    """Write files that look generated."""
    folder.mkdir(parents=True)
    for entity in script.ENTITIES:
        (folder / f"raw_{entity}.csv").write_text("id\n1\n")


def test_what_is_there_is_kept(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run changes nothing and needs no jafgen."""
    folder = tmp_path / "shop"
    fill(script, folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert script.main(["--folder", str(folder)]) == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert "kept" in capsys.readouterr().out


def test_incomplete_folder_is_refused(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of two generations do not fit together, so a missing one is not made anew alone."""
    folder = tmp_path / "shop"
    fill(script, folder)
    (folder / "raw_items.csv").unlink()
    assert script.main(["--folder", str(folder)]) == 1
    said = capsys.readouterr().err
    assert "raw_items.csv" in said
    assert "remove the folder" in said


def test_missing_jafgen_is_named(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message carries the command that installs it, and nothing is left behind."""
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda _name: None)
    assert script.main(["--folder", str(tmp_path / "shop")]) == 3
    assert "pip install 'dp_dagster[demo]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_failed_run_leaves_nothing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A generator that dies half-way leaves no folder that would be kept the next time."""

    def die(command: list[str], *, cwd: Path, **_options: object) -> subprocess.CompletedProcess[bytes]:
        fill_to = Path(cwd) / "jaffle-data"
        fill_to.mkdir()
        (fill_to / "raw_orders.csv").write_text("id\n")
        return subprocess.CompletedProcess(command, 9)

    monkeypatch.setattr(script.subprocess, "run", die)
    assert script.main(["--folder", str(tmp_path / "shop")]) == 3
    assert "exit code 9" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_real_generation(script: ModuleType, tmp_path: Path) -> None:
    """The generator really makes all files, and leaves only the folder."""
    folder = tmp_path / "shop"
    finished = subprocess.run(  # noqa: S603 - no shell, the project's own script
        [sys.executable, str(SCRIPT), "--folder", str(folder)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert script.missing_files(folder) == []
    assert (folder / "raw_orders.csv").read_text().count("\n") > 1000
    assert list(tmp_path.iterdir()) == [folder]
