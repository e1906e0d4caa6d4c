"""Loading products: one a location, many in one; what a broken one shows, and that it stops no other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from definition_helpers import (
    CONTRACT,
    DATASET,
    DESCRIPTOR,
    PORT,
    checks,
    resolved,
    run,
    specs,
    write,
    write_orders,
)

from dp_dagster import DataProductComponent, load_product, load_products
from dp_dagster.definitions.load import load_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import TestProject


def error_assets(definitions: dg.Definitions) -> dict[str, str]:
    """Broken products by name, with what the UI says about each."""
    return {
        key.path[0]: str(spec.metadata["error"].value)
        for key, spec in specs(definitions).items()
        if key.path[-1] == "load_error"
    }


# -- one location ------------------------------------------------------------------------------------------


def test_a_product_is_loaded_by_folder_descriptor_or_file_beside_it(project: TestProject) -> None:
    folder = write_orders(project)
    (folder / "definitions.py").write_text("")
    for place in (folder, folder / "product.yaml", folder / "definitions.py", str(folder / "definitions.py")):
        assert PORT in specs(load_product(place))


def test_a_descriptor_may_have_another_name(project: TestProject) -> None:
    folder = write_orders(project)
    (folder / "product.yaml").rename(folder / "orders.yaml")
    assert PORT in specs(load_product(folder / "orders.yaml"))


def test_every_problem_of_a_descriptor_is_named_with_its_line(project: TestProject) -> None:
    folder = write_orders(project)
    text = (folder / "product.yaml").read_text()
    write(folder, {"product.yaml": text.replace("from: scored", "from: nothing").replace("owner:", "ownr:")})
    with pytest.raises(dg.DagsterInvalidDefinitionError) as caught:
        load_product(folder)
    lines = str(caught.value).splitlines()
    assert any("product.yaml:6: ownr: " in line for line in lines)
    assert any("product.yaml:20: datasets[0].from: nothing is no transform" in line for line in lines)
    assert caught.value.__cause__ is None, "a user's mistake shows no traceback"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("contracts/orders.py", "import nothing_like_that\n", "contracts/orders.py:1"),
        ("contracts/orders.py", "def f(:\n", "contracts/orders.py:1"),
        ("contracts/orders.py", "import sys\nsys.exit(4)\n", "contracts/orders.py:2"),
        ("transforms/scored.py", "def scored(:\n", "scored.py:1"),
        ("transforms/large.sql", "select from where", "large.sql"),
    ],
    ids=["import", "syntax", "exit", "transform", "query"],
)
def test_an_error_in_a_products_own_code_is_readable(
    project: TestProject, name: str, text: str, expected: str
) -> None:
    folder = write_orders(project)
    write(folder, {name: text})
    with pytest.raises(dg.DagsterInvalidDefinitionError) as caught:
        load_product(folder)
    assert expected in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_settings_that_are_wrong_are_named(project: TestProject) -> None:
    folder = write_orders(project)
    (project.root / "dp_dagster.toml").write_text("stroage = 'data'\n")
    with pytest.raises(dg.DagsterInvalidDefinitionError, match=r"dp_dagster\.toml: stroage: unknown key"):
        load_product(folder)


# -- many in one -------------------------------------------------------------------------------------------


@pytest.fixture
def four(project: TestProject) -> TestProject:
    """A project of a good product, two broken ones, and a folder that is none."""
    write_orders(project)
    write_orders(project, name="broken_contract")
    write(project.root / "products/broken_contract", {"contracts/orders.py": "raise SystemExit(1)\n"})
    write_orders(project, name="broken_descriptor")
    write(project.root / "products/broken_descriptor", {"product.yaml": "product_id: [\n"})
    (project.root / "products/shops/product.yaml").unlink()
    return project


def test_broken_products_are_visible_and_stop_no_other(
    four: TestProject, instance: dg.DagsterInstance
) -> None:
    definitions = load_products(four.root / "products")
    dg.Definitions.validate_loadable(definitions)
    broken = error_assets(definitions)
    assert set(broken) == {"broken_contract", "broken_descriptor"}
    assert "contracts/orders.py:1" in broken["broken_contract"]
    assert "product.yaml:" in broken["broken_descriptor"]
    spec = specs(definitions)[dg.AssetKey(["broken_descriptor", "load_error"])]
    assert spec.group_name == "broken_products"
    assert (spec.description or "").startswith("Did not load: ")
    assert not definitions.resolve_asset_graph().get(spec.key).is_executable
    result = run(four.root / "products/orders", instance, definitions=definitions)
    assert result.success
    assert checks(result)[DATASET, "contract"].passed


def test_the_module_is_three_lines(four: TestProject) -> None:
    module = four.root / "products" / "all_products.py"
    module.write_text("from dp_dagster import load_products\n\ndefs = load_products(__file__)\n")
    namespace: dict[str, object] = {"__file__": str(module)}
    exec(compile(module.read_text(), str(module), "exec"), namespace)
    definitions = namespace["defs"]
    assert isinstance(definitions, dg.Definitions)
    assert PORT in specs(definitions)
    assert len(error_assets(definitions)) == 2


def test_a_pattern_chooses_products(four: TestProject) -> None:
    assert error_assets(load_products(four.root / "products", "ord*")) == {}
    assert len(specs(load_products(four.root / "products", "ord*"))) == 6


def test_the_products_that_the_settings_name(four: TestProject) -> None:
    definitions = load_project(four.root)
    assert PORT in specs(definitions)
    assert len(error_assets(definitions)) == 2
    (four.root / "dp_dagster.toml").write_text('products = ["products/orders", "elsewhere/mine.yaml"]\n')
    folder = write_orders(four, name="../elsewhere")
    text = (folder / "product.yaml").read_text().replace("product_id: ../elsewhere", "product_id: mine")
    write(folder, {"mine.yaml": text})
    (folder / "product.yaml").unlink()
    found = specs(load_project(four.root))
    assert {key.path[0] for key in found} == {"orders", "mine"}


def test_two_products_with_one_id(project: TestProject) -> None:
    write_orders(project)
    folder = write_orders(project, name="twin")
    text = (folder / "product.yaml").read_text().replace("product_id: twin", "product_id: orders")
    write(folder, {"product.yaml": text})
    definitions = load_products(project.root / "products", "[ot]*")
    dg.Definitions.validate_loadable(definitions)
    assert error_assets(definitions) == {
        "twin": "twin/product.yaml: product_id: orders is the id of orders/product.yaml too; rename one of them"
    }
    assert PORT in specs(definitions)


def test_names_of_broken_folders_that_dagster_would_not_take(project: TestProject) -> None:
    for parent in ("a", "b"):
        write(project.root / parent / "été & co", {"product.yaml": "product_id: [\n"})
    (project.root / "dp_dagster.toml").write_text('products = ["a/*", "b/*"]\n')
    definitions = load_project(project.root)
    dg.Definitions.validate_loadable(definitions)
    assert set(error_assets(definitions)) == {"été & co", "été & co_2"}


def test_no_products_at_all(project: TestProject) -> None:
    assert specs(load_products(project.root, "nothing*")) == {}


# -- components --------------------------------------------------------------------------------------------


def reads_defs_yaml(test: Callable[..., None]) -> Callable[..., None]:
    """Dagster reads a defs.yaml with functions that pydantic deprecates or that it calls beta itself."""
    for warning in (
        "`parse_obj_as` is deprecated:DeprecationWarning",
        "Class .* is currently in beta:Warning",
    ):
        test = pytest.mark.filterwarnings(f"ignore:{warning}")(test)
    return test


def component(folder: Path, attributes: dict[str, object]) -> dg.Definitions:
    """What Dagster makes of the component with these attributes in a folder."""
    from dagster.components.testing import create_defs_folder_sandbox

    with create_defs_folder_sandbox() as sandbox:
        inside = sandbox.defs_folder_path / folder.name
        shutil.copytree(folder, inside)
        shutil.copy(folder.parents[1] / "dp_dagster.toml", sandbox.project_root)
        text = json.dumps({"type": "dp_dagster.DataProductComponent", "attributes": attributes})
        (inside / "defs.yaml").write_text(text)
        with sandbox.load_component_and_build_defs(defs_path=inside) as (loaded, definitions):
            assert isinstance(loaded, DataProductComponent)
            # Resolved while the sandbox is there.
            specs(definitions)
            return definitions


def inline() -> dict[str, object]:
    from ruamel.yaml import YAML

    text = DESCRIPTOR.format(refresh="daily", quarantine="", input_contract="")
    content: dict[str, object] = YAML(typ="safe").load(text)
    return content


@reads_defs_yaml
def test_a_component_by_path(project: TestProject) -> None:
    definitions = component(write_orders(project), {"descriptor": "product.yaml"})
    assert PORT in specs(definitions)


@reads_defs_yaml
def test_a_component_written_out(project: TestProject) -> None:
    folder = write_orders(project)
    (folder / "product.yaml").unlink()
    definitions = component(folder, {"descriptor": inline()})
    assert PORT in specs(definitions)


@reads_defs_yaml
def test_a_component_whose_descriptor_is_missing(project: TestProject) -> None:
    folder = write_orders(project)
    with pytest.raises(Exception, match="Error while building definitions for orders") as caught:
        component(folder, {"descriptor": "other.yaml"})
    # Dagster says which component; the reason follows in the chain that its UI shows.
    assert "other.yaml" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "attributes",
    [{"descriptor": "product.yaml"}, {"descriptor": "orders.yaml"}, {"descriptor": inline()}],
    ids=["path", "other name", "inline"],
)
def test_grouped_loading_takes_components_too(project: TestProject, attributes: dict[str, object]) -> None:
    folder = write_orders(project)
    (folder / "product.yaml").rename(
        folder / str(attributes["descriptor"])[:12].replace("{'api_versio", "none")
    )
    entry = {"type": "dp_dagster.DataProductComponent", "attributes": attributes}
    other = {"type": "dagster.DefsFolderComponent"}
    (folder / "defs.yaml").write_text(f"{json.dumps(other)}\n---\n{json.dumps(entry)}\n")
    for definitions in (load_products(project.root / "products", "orders"), load_project(project.root)):
        assert error_assets(definitions) == {}
        assert PORT in specs(definitions)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type: dp_dagster.DataProductComponent\nattributes:\n", "attributes.descriptor: is missing"),
        ("type: [\n", "orders/defs.yaml:2: is no YAML"),
        (
            "type: dp_dagster.DataProductComponent\nattributes: {descriptor: {product_id: orders}}\n",
            "orders/defs.yaml",
        ),
    ],
    ids=["no descriptor", "no YAML", "incomplete"],
)
def test_a_broken_defs_yaml_is_visible(project: TestProject, text: str, expected: str) -> None:
    write(project.root / "products/orders", {"defs.yaml": text, "contracts/orders.py": CONTRACT})
    broken = error_assets(load_products(project.root / "products", "orders"))
    assert list(broken) == ["orders"]
    assert expected in broken["orders"]


# -- what loading costs ------------------------------------------------------------------------------------

IMPORTS = """
import json, sys, time
import dagster as dg
imported = time.process_time()
from dp_dagster import load_product
defs = load_product(sys.argv[1])
dg.Definitions.validate_loadable(defs)
print(json.dumps({"modules": sorted(sys.modules), "seconds": time.process_time() - imported}))
"""
HEAVY = ("dagster_dbt", "dbt", "pandera", "polars", "deltalake", "sqlglot", "pandas")


def load_elsewhere(folder: Path, project: TestProject) -> tuple[set[str], float]:
    """Load a product in a process of its own; its modules, and the seconds of a processor after importing dagster."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORTS, folder],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    return set(answer["modules"]), answer["seconds"]


def test_loading_with_compiled_contracts_imports_nothing_heavy(project: TestProject) -> None:
    folder = write_orders(project, input_contract=True)
    resolved(folder)
    modules, _ = load_elsewhere(folder, project)
    assert "dagster" in modules
    assert [name for name in HEAVY if name in modules] == []


def test_a_location_of_ten_datasets_loads_quickly(project: TestProject) -> None:
    folder = write_orders(project)
    text = (folder / "product.yaml").read_text()
    datasets = "".join(
        f'  - {{name: orders_{n}, from: scored, contract: "contracts/orders.py:Orders", key: [order_id]}}\n'
        for n in range(9)
    )
    ports = "".join(f"  - {{name: vw_{n}, type: SQL, dataset: orders_{n}}}\n" for n in range(9))
    text = text.replace("output_ports:\n", f"{datasets}output_ports:\n") + ports
    write(folder, {"product.yaml": text})
    product = resolved(folder)
    assert len(product.datasets) == 10
    seconds = min(load_elsewhere(folder, project)[1] for _ in range(3))
    # Plain Dagster needs about 0.3 s for as many assets and checks here; benchmarks/loading.py compares.
    assert seconds < 3
