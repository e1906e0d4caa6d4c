"""The component in ``dg`` projects: a fresh one of somebody else, and one laid out like this repository."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from definition_helpers import write
from support import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from support import TestProject

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent

FOREIGN = {
    "pyproject.toml": """\
[project]
name = "acme"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.cli]
suppress_warnings = ["project_and_activated_venv_mismatch"]

[tool.dg.project]
root_module = "acme"
""",
    "src/acme/__init__.py": "",
    "src/acme/definitions.py": """\
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
""",
    "src/acme/defs/__init__.py": "",
}


class DgProject:
    """A project, and the commands in it."""

    def __init__(self, project: TestProject, root: Path) -> None:
        self.root = root
        self.environment = project.environment

    def call(self, *command: str, expect: int = 0) -> str:
        """Run a command of this Python's environment; gives all that it printed."""
        done = self._run(*command, expect=expect)
        return done.stdout + done.stderr

    def data(self, *command: str) -> Any:
        """Run a command that prints JSON."""
        return json.loads(self._run(*command).stdout)

    def _run(self, *command: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [BIN / command[0], *command[1:]],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def assets(self) -> set[str]:
        """Keys of all assets that `dg list defs` shows."""
        found = self.data("dg", "list", "defs", "--json")
        return {asset["asset_key"] for asset in found["assets"]}


@pytest.fixture
def foreign(make_project: Callable[[], TestProject]) -> DgProject:
    """A `dg` project that knows nothing of dp_dagster but that it is installed."""
    project = make_project()
    (project.root / "dp_dagster.toml").unlink()
    write(project.root, FOREIGN)
    made = DgProject(project, project.root)
    made.environment["PYTHONPATH"] = str(project.root / "src") + ":" + made.environment.get("PYTHONPATH", "")
    return made


@pytest.fixture
def alike(make_project: Callable[[], TestProject]) -> DgProject:
    """A `dg` project with this repository's own settings."""
    project = make_project()
    (project.root / "dp_dagster.toml").unlink()
    own = (ROOT / "pyproject.toml").read_text()
    start = own.index("[tool.dg]")
    tables = own[start : own.index("[tool.mypy]")]
    assert set(tomllib.loads(tables)["tool"]) == {"dg", "dp_dagster"}
    write(project.root, {"pyproject.toml": f'[project]\nname = "x"\nversion = "0.1.0"\n\n{tables}'})
    (project.root / "products").mkdir()
    return DgProject(project, project.root)


PRODUCT_ASSETS = {
    "fresh/input/orders",
    "fresh/transform/customer_totals",
    "fresh/v0/dataset/customers",
    "fresh/v0/quarantine/customers",
    "fresh/v0/port/vw_customers",
}
SCAFFOLD = ("dg", "scaffold", "defs", "dp_dagster.DataProductComponent")


def works(dg: DgProject, place: str) -> None:
    """List, scaffold, check, load, run and read a product."""
    assert "dp_dagster.DataProductComponent" in dg.call("dg", "list", "components")
    dg.call(*SCAFFOLD, "fresh")
    folder = dg.root / place
    defs_yaml = (folder / "defs.yaml").read_text()
    assert "type: dp_dagster.DataProductComponent" in defs_yaml
    assert "descriptor: product.yaml" in defs_yaml
    dg.call("dg", "check", "yaml")
    dg.call("dg", "check", "defs")
    assert dg.assets() == PRODUCT_ASSETS
    assert "fresh" in dg.call("dp", "list")
    assert "fresh" in dg.call("dp", "validate", place)
    said = dg.call("dp", "run", "fresh")
    assert "accepted" in said
    shown = json.dumps(dg.data("dp", "sql", "--json", "from fresh.v0.vw_customers"))
    assert "ada" in shown
    assert "19.5" in shown
    assert (dg.root / "data/fresh/manifest.json").is_file()


def test_in_somebody_elses_project(foreign: DgProject) -> None:
    works(foreign, "src/acme/defs/fresh")
    settings = tomllib.loads((foreign.root / "dp_dagster.toml").read_text())
    assert settings == {"products": ["src/acme/defs/*"], "storage": "data"}
    # A second one finds the settings there; its folder's name becomes an id.
    foreign.call(*SCAFFOLD, "second-Product")
    text = (foreign.root / "src/acme/defs/second-Product/product.yaml").read_text()
    assert 'product_id: "second_product"' in text
    foreign.call(*SCAFFOLD, "third", "--product-id", "other")
    assert {key.split("/")[0] for key in foreign.assets()} == {"fresh", "second_product", "other"}


def test_in_a_project_laid_out_like_this_repository(alike: DgProject) -> None:
    works(alike, "products/fresh")
    assert not (alike.root / "dp_dagster.toml").exists(), "pyproject.toml has the settings"


def test_a_product_written_out_in_defs_yaml(foreign: DgProject) -> None:
    foreign.call(*SCAFFOLD, "fresh")
    folder = foreign.root / "src/acme/defs/fresh"
    lines = (folder / "product.yaml").read_text().splitlines()
    inline = "type: dp_dagster.DataProductComponent\nattributes:\n  descriptor:\n" + "".join(
        f"    {line}\n" for line in lines
    )
    (folder / "product.yaml").unlink()
    (folder / "defs.yaml").write_text(inline)
    foreign.call("dg", "check", "yaml")
    assert foreign.assets() == PRODUCT_ASSETS


def test_what_is_wrong_is_named(foreign: DgProject) -> None:
    foreign.call(*SCAFFOLD, "fresh")
    folder = foreign.root / "src/acme/defs/fresh"
    said = foreign.call(*SCAFFOLD, "bad", "--product-id", "Not An Id", expect=1)
    assert "Not An Id" in said
    assert not (foreign.root / "src/acme/defs/bad/product.yaml").exists()
    text = (folder / "defs.yaml").read_text()
    (folder / "defs.yaml").write_text(text.replace("descriptor:", "descriptr:"))
    said = foreign.call("dg", "check", "yaml", expect=1)
    assert "descriptr" in said
    assert "defs.yaml" in said
    (folder / "defs.yaml").write_text(text)
    descriptor = (folder / "product.yaml").read_text().replace("from: customer_totals", "from: nothing")
    (folder / "product.yaml").write_text(descriptor)
    said = foreign.call("dg", "check", "defs", expect=1)
    assert "product.yaml:" in said
    assert "nothing is no transform" in said
