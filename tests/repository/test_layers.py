"""The layers of docs/architecture.md, held by reading the code: a module imports only what stands above it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).resolve().parents[2] / "dp_dagster"

#: Top to bottom. A layer is a module or a package right below dp_dagster; the interface of ports stands apart.
LAYERS = (
    "errors",
    "settings",
    "home",
    "registry",
    "descriptor",
    "scaffold",
    "records_database",
    "records",
    "contracts",
    "predicates",
    "access",
    "storage",
    "engines",
    "rows",
    "changes",
    "ports.base",
    "folder",
    "ports",
    "transforms",
    "resolve",
    "evolution",
    "deprecation",
    "policies",
    "pipeline",
    "lineage",
    "sla",
    "alerts",
    "documents",
    "control",
    "serving",
    "definitions",
    "components",
    "project_location",
    "platform_location",
    "cli",
    "testing",
)
#: Layers that may import dagster and its plugins.
DAGSTER = {"definitions", "components", "project_location", "platform_location", "__init__"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def layer_of(path: Path) -> str:
    return layer_of_name(".".join(path.relative_to(PACKAGE).with_suffix("").parts))


def layer_of_name(name: str) -> str:
    """The layer of a module, named without ``dp_dagster.``: the longest that there is, else its first part."""
    found = [layer for layer in LAYERS if f"{name}.".startswith(f"{layer}.")]
    return max(found, key=len, default=name.partition(".")[0])


def imports(path: Path, *, at_run_time: bool = False) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a module imports, wherever in it.

    Args:
        path: The module.
        at_run_time: Leave out what only the type checker reads.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    if at_run_time:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped.update(child for statement in node.body for child in ast.walk(statement))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import in full"
            assert node.module is not None
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", modules(), ids=named)
def test_a_module_imports_only_what_stands_above_it(path: Path) -> None:
    layer = layer_of(path)
    if layer == "__init__":
        return
    assert layer in LAYERS, f"{layer} has no place in the order; give it one here and in docs/architecture.md"
    allowed = LAYERS[: LAYERS.index(layer) + 1]
    wrong = [
        f"{named(path)}:{line}: {name}"
        # What only the type checker reads ties nothing together when it runs.
        for line, name in imports(path, at_run_time=True)
        if name.startswith("dp_dagster.") and layer_of_name(name.removeprefix("dp_dagster.")) not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("path", modules(), ids=named)
def test_nothing_imports_the_tests_or_the_testing_package(path: Path) -> None:
    wrong = [
        name
        for _, name in imports(path)
        if name.startswith(("dp_dagster.testing", "tests", "pytest", "hypothesis"))
    ]
    assert layer_of(path) == "testing" or wrong == []


@pytest.mark.parametrize("path", modules(), ids=named)
def test_dagster_stays_in_its_projection(path: Path) -> None:
    of_dagster = [name for _, name in imports(path) if name.partition(".")[0].startswith("dagster")]
    if layer_of(path) not in DAGSTER:
        assert of_dagster == []


@pytest.mark.parametrize("path", modules(), ids=named)
def test_only_public_names_of_libraries(path: Path) -> None:
    private = [
        f"{named(path)}:{line}: {name}"
        for line, name in imports(path)
        if not name.startswith(("dp_dagster", "__future__"))
        and any(part.startswith("_") for part in name.split("."))
    ]
    assert private == []


@pytest.mark.parametrize("path", modules(), ids=named)
def test_only_the_store_touches_a_delta_log(path: Path) -> None:
    if layer_of(path) != "storage":
        assert [name for _, name in imports(path) if name.partition(".")[0] == "deltalake"] == []
        assert "_delta_log" not in path.read_text(encoding="utf-8")


def test_every_layer_is_there_and_described() -> None:
    """An order that names what does not exist, or a document that leaves a layer out, is no use."""
    there = {layer_of(path) for path in modules()} - {"__init__"}
    assert set(LAYERS) == there
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    described = [name.strip().strip("`") for row in table for name in row.split(",")]
    assert [name for name in described if name in there] == [name for name in LAYERS if name in described]
    assert there - set(described) == set(), "docs/architecture.md does not place these"
