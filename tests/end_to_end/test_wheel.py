"""The wheel works without the repository around it, and one product deploys alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

if TYPE_CHECKING:
    from dev_server import DevServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: building leaves nothing in the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "dp_dagster", source / "dp_dagster", ignore=shutil.ignore_patterns("__pycache__"))
    run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment in which nothing but the wheel and what it requires is installed."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    run([sys.executable, "-m", "venv", folder])
    run([folder / "bin" / "python", "-m", "pip", "install", "-c", ROOT / "requirements.lock", wheel])
    return folder / "bin"


def run(
    command: list[str | Path], *, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> str:
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/", maxsplit=1)[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dp_dagster"}
    assert "dp_dagster/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dp_dagster").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def test_the_command_works_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    environment = {"PATH": f"{installed}{os.pathsep}/usr/bin:/bin", "HOME": str(tmp_path)}
    said = run([installed / "dp", "--help"], cwd=tmp_path, environment=environment)
    for command in (
        "validate",
        "list",
        "show",
        "run",
        "sql",
        "history",
        "rollback",
        "quarantine",
        "schema",
        "dev",
    ):
        assert command in said
    place = run(
        [installed / "python", "-c", "import dp_dagster; print(dp_dagster.__file__)"],
        cwd=tmp_path,
        environment=environment,
    )
    assert Path(place.strip()).is_relative_to(installed.parent)


def test_a_product_deploys_alone(installed: Path, dev_server: DevServer, tmp_path: Path) -> None:
    """Its folder, the wheel and the storage: nothing of the producer but what it published."""
    storage = tmp_path / "storage"
    shutil.copytree(dev_server.storage / "flights", storage / "flights")
    place = tmp_path / "deployment"
    shutil.copytree(
        ROOT / "products" / "route_punctuality",
        place / "route_punctuality",
        ignore=shutil.ignore_patterns("__pycache__", "tests", "data"),
    )
    environment = {
        "PATH": f"{installed}{os.pathsep}/usr/bin:/bin",
        "HOME": str(tmp_path),
        "DP_STORAGE": str(storage),
        "DP_PRODUCTS": "route_punctuality",
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "DAGSTER_HOME": str(tmp_path / "home"),
    }
    (tmp_path / "home").mkdir()
    run([installed / "dp", "validate", "route_punctuality"], cwd=place, environment=environment)
    run(
        [installed / "dagster", "definitions", "validate", "-f", "route_punctuality/definitions.py"],
        cwd=place,
        environment=environment,
    )
    run([installed / "dp", "run", "route_punctuality"], cwd=place, environment=environment)
    with duckdb.connect(
        str(storage / "route_punctuality" / "route_punctuality.duckdb"), read_only=True
    ) as port:
        ((flights,),) = port.sql("select sum(flights) from v1.vw_route_punctuality").fetchall()
    with duckdb.connect(str(dev_server.storage / "flights" / "flights.duckdb"), read_only=True) as port:
        ((published,),) = port.sql("select count(*) from v1.vw_flights").fetchall()
    assert flights == published
