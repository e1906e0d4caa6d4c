"""The shared fixtures do what tests rely on: processes end with their children, databases are one's own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import Processes, TestProject, end_group, group_lives

PYTEST_INI = "[pytest]\nmarkers = needs(name)\n"


@pytest.mark.slow
def test_a_stubborn_process_and_its_child_are_ended(processes: Processes, tmp_path: Path) -> None:
    program = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print('up', flush=True);"
        "time.sleep(600)"
    )
    process, log = processes.start([sys.executable, "-c", program], cwd=tmp_path)
    while "up" not in log.read_text():
        time.sleep(0.05)
    assert group_lives(process.pid)
    end_group(process, grace=1)
    assert not group_lives(process.pid)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.needs("postgresql")
def test_a_test_has_an_empty_database_of_its_own(postgresql_url: str) -> None:
    import sqlalchemy

    engine = sqlalchemy.create_engine(postgresql_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("create table proof (number int)"))
        found = connection.execute(sqlalchemy.text("select version()")).scalar_one()
    engine.dispose()
    assert found.startswith("PostgreSQL")


def test_a_project_has_its_own_storage(project: TestProject) -> None:
    assert (project.root / "products" / "shops" / "product.yaml").exists()
    assert project.storage.is_relative_to(project.root)
    assert not any(name.startswith("DP_") for name in project.environment)


def test_a_missing_package_is_named_at_the_end(tmp_path: Path) -> None:
    """A test that cannot run is listed after everything else, with its name and the reason."""
    tests = Path(__file__).resolve().parent.parent
    (tmp_path / "pytest.ini").write_text(PYTEST_INI)
    for name in ("conftest.py", "distribution.py", "support.py", "system_packages.py"):
        (tmp_path / name).write_text((tests / name).read_text())
    (tmp_path / "test_it.py").write_text(
        "import pytest\n@pytest.mark.needs('chromium')\ndef test_browser(): raise AssertionError\n"
        "def test_other(): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", tmp_path],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
    )
    section, named, summary = [line for line in done.stdout.splitlines() if line][-3:]
    assert "tests that were not run" in section
    assert named.startswith(
        "not run: test_it.py::test_browser because chromium is not installed (Debian package"
    )
    assert "1 passed, 1 skipped" in summary
    assert done.returncode == 0
