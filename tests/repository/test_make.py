"""The Makefile explains itself and finds a Python that will do, or says what is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, re.MULTILINE)


def make(*arguments: str, path: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("make") or "make", "-C", str(ROOT), *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PATH": path, "HOME": str(cwd)},
    )


def test_help_lists_every_target(tmp_path: Path) -> None:
    done = make("help", path="/usr/bin:/bin", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^  make (\S+) +\S", done.stdout, re.MULTILINE) == TARGETS


def test_only_an_old_python(tmp_path: Path) -> None:
    """A machine whose only Python is too old gets one sentence, not a traceback."""
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    (tmp_path / "sh").symlink_to("/bin/sh")
    done = make("install", path=str(tmp_path), cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.startswith(
        "no Python 3.11, 3.12 or 3.13 found: install one, or name it with make PYTHON="
    )


def test_an_old_python_is_passed_over(tmp_path: Path) -> None:
    """Where ``python3`` is too old, the next name that is new enough is taken, and an installed .venv is kept."""
    (tmp_path / "python3").symlink_to("/bin/false")
    (tmp_path / "python3.12").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexec {sys.executable} "$@"\n'
    )
    (tmp_path / "python3.12").chmod(0o755)
    done = make("--dry-run", "install", path=f"{tmp_path}{os.pathsep}/usr/bin", cwd=tmp_path)
    assert done.returncode == 0
    chosen = subprocess.run(
        [
            "/bin/sh",
            "-c",
            done.stdout.replace(str(ROOT / "tools" / "bootstrap.py"), "-V").partition("\nmake")[0],
        ],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}{os.pathsep}/usr/bin"},
    )
    assert "bootstrap" not in chosen.stdout
    assert (tmp_path / "calls").read_text().splitlines()[-1] == "-V"


@pytest.mark.parametrize("directory", ["/", "~"])
def test_make_works_from_any_directory(directory: str, tmp_path: Path) -> None:
    done = make("help", path="/usr/bin:/bin", cwd=Path(directory).expanduser())
    assert done.returncode == 0, done.stderr
