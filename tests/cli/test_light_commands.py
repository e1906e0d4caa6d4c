"""``dp validate``, ``list``, ``show`` and ``schema``: what they say, how they end, and that they stay quick."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from dp_dagster.cli import main
from dp_dagster.cli.app import COMMANDS
from dp_dagster.storage.manifest import PortEntry, update_manifest

HEAVY = {
    "dagster", "dagster_dbt", "dagster_duckdb", "dbt", "deltalake", "duckdb", "numpy", "pandas", "pandera",
    "polars", "pyarrow", "sqlalchemy", "sqlglot",
}  # fmt: skip


@pytest.fixture
def dp(project, monkeypatch, capsys):
    """Runs ``dp`` in the project; gives exit code, output and complaints."""
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return ended.value.code, captured.out, captured.err

    return run


def publish(project, product_id="shops"):
    entry = PortEntry(
        kind="SQL",
        dataset="totals",
        area="v1/dataset/totals",
        version=7,
        published_at="2026-01-02T03:04:05+00:00",
        projected_at="2026-01-02T03:04:06+00:00",
        rows=1234,
        address="here.duckdb",
    )
    update_manifest(
        str(project.storage), product_id, lambda manifest: manifest.with_port(1, "vw_totals", entry)
    )


BROKEN = "product_id: broken\nversion: 1.0.0\nnmae: x\nowner: {team: 5}\n"
SAID = (
    "products/broken/product.yaml:3: nmae: unknown key; did you mean name?\n"
    'products/broken/product.yaml:4: owner.team: wants text, not the number 5; write it in quotes: "5"\n'
)


# -- validate ----------------------------------------------------------------------------------------------


#: A warning of a built-in policy: the small product promises nothing about it.
UNKEPT = (
    "  warning products/shops/product.yaml:14: datasets[0]: no port of it says how long its versions are kept "
    "(policy retention_declared); add `sla: {retention: 90d}` to the product or to a port"
)


def test_validate_a_project_that_is_right(dp):
    code, out, err = dp("validate")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "valid shops 1.0.0  products/shops/product.yaml  lines: 23 active",
        UNKEPT,
    ]


def test_validate_says_what_does_nothing_yet(dp, project):
    path = project.root / "products" / "shops" / "product.yaml"
    path.write_text(path.read_text() + "sla: {latency: 200ms}\n")
    code, out, _ = dp("validate", "products/shops")
    assert code == 0
    assert out.splitlines() == [
        "valid shops 1.0.0  products/shops/product.yaml  lines: 23 active, 1 not evaluated",
        (
            "  products/shops/product.yaml:17: sla.latency: not evaluated: consumers open this port by themselves, "
            "so that nobody sees its answers; a served port has them"
        ),
        UNKEPT,
    ]


def test_validate_prints_each_problem_on_a_line_of_standard_error(dp, project):
    project.add_product("broken", descriptor=BROKEN)
    code, out, err = dp("validate")
    assert (code, err) == (1, SAID)
    assert out.startswith("valid shops")
    assert dp("validate", "products/shops")[0] == 0
    assert dp("validate", "products/broken/product.yaml") == (1, "", SAID)


def test_validate_as_json(dp, project):
    project.add_product("broken", descriptor=BROKEN)
    code, out, err = dp("validate", "--json")
    assert (code, err) == (1, "")
    answer = json.loads(out)
    assert answer["valid"] is False
    shops, broken = answer["products"]
    assert (shops["product_id"], shops["valid"], len(shops["lines"])) == ("shops", True, 23)
    assert shops["lines"][1] == {
        "path": "product_id",
        "number": 2,
        "value": "shops",
        "state": "active",
        "reason": "",
    }
    assert (broken["product_id"], broken["valid"]) == ("broken", False)
    assert broken["problems"][0] == {
        "file": "products/broken/product.yaml",
        "line": 3,
        "field": "nmae",
        "message": "unknown key",
        "fix": "did you mean name?",
    }


def test_validate_looks_at_the_rest_of_the_project_for_shared_ids(dp, project):
    project.add_product("again", descriptor="product_id: shops\nversion: 1.0.0\n")
    code, _, err = dp("validate", "products/shops")
    assert code == 1
    assert err == (
        "products/shops/product.yaml:2: product_id: shops is the id of products/again/product.yaml too; "
        "give each product an id of its own\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("validate", "nowhere"), "nowhere: there is no such file or folder\n"),
        (("validate", "--jsn"), "No such option '--jsn'. Did you mean '--json'? See `dp validate --help`."),
        (("vlidate",), "No such command 'vlidate'"),
        (("show",), "Missing argument 'PRODUCT'. See `dp show --help`.\n"),
        (("show", "shop"), "did you mean shops?\n"),
        (("show", "shops", "more"), "Got unexpected extra argument"),
    ],
)
def test_wrong_usage_ends_with_2(dp, arguments, said):
    code, out, err = dp(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_folder_without_descriptor_is_a_problem(dp, project):
    (project.root / "empty").mkdir()
    assert dp("validate", "empty") == (1, "", "empty: holds no descriptor; add product.yaml\n")


def test_a_project_without_products(dp, project):
    (project.root / "dp_dagster.toml").write_text('products = ["nowhere/*"]\n')
    code, _, err = dp("validate")
    assert (code, err) == (2, f"no products: nowhere/* matches nothing in {project.root}\n")
    code, out, _ = dp("list")
    assert (code, out) == (0, f"no products: nowhere/* matches nothing in {project.root}\n")
    assert dp("list", "--json")[1] == "[]\n"


def test_a_wrong_setting_ends_with_3(dp, project):
    (project.root / "dp_dagster.toml").write_text("storag = 'x'\n")
    for command in ("list", "validate"):
        code, _, err = dp(command)
        assert code == 3
        assert err.startswith(f"{project.root}/dp_dagster.toml: storag: unknown key; known keys: ")


# -- list --------------------------------------------------------------------------------------------------


def test_list_shows_products_and_what_is_published(dp, project):
    project.add_product("more")
    publish(project)
    code, out, err = dp("list")
    assert (code, err) == (0, "")
    more, shops = [line.split() for line in out.splitlines() if "testers" in line]
    assert more == ["more", "1.0.0", "active", "testers", "totals", "never"]
    assert " ".join(shops) == "shops 1.0.0 active testers totals 7 1,234 2026-01-02 03:04"
    (_, listed) = json.loads(dp("list", "--json")[1])
    assert listed == {
        "product_id": "shops",
        "version": "1.0.0",
        "status": "active",
        "name": "A small product for tests",
        "domain": "testing",
        "owner": "testers",
        "file": "products/shops/product.yaml",
        "datasets": ["totals"],
        "older_versions": [],
        "output_ports": ["vw_totals"],
        "partitions": {},
        "published": {"totals": {"version": 7, "rows": 1234, "published_at": "2026-01-02T03:04:05+00:00"}},
    }


def test_list_goes_on_when_a_product_is_broken(dp, project):
    project.add_product("broken", descriptor=BROKEN)
    code, out, err = dp("list")
    assert (code, err) == (1, SAID)
    assert "shops" in out
    code, out, _ = dp("list", "--json")
    assert code == 1
    assert [(row["product_id"], row["status"]) for row in json.loads(out)] == [
        ("broken", "broken"),
        ("shops", "active"),
    ]


def test_list_says_when_the_storage_is_damaged(dp, project):
    publish(project)
    (project.storage / "shops" / "manifest.json").write_text("{")
    code, _, err = dp("list")
    assert code == 3
    assert "manifest.json" in err


# -- show --------------------------------------------------------------------------------------------------


def test_show_prints_everything(dp, project):
    publish(project)
    path = project.root / "products" / "shops" / "product.yaml"
    path.write_text(path.read_text() + "sla: 99.9%\n")
    code, out, err = dp("show", "shops")
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for expected in (
        "A small product for tests shops 1.0.0, active",
        "owner: testers <testers@example.com>",
        "domain: testing",
        "Three shops and their sales.",
        "sales FILES inputs/sales.csv no contract",
        "vw_totals SQL totals daily, stale after 36 h active",
        "2 product_id shops active",
        "17 sla 99.9% active",
    ):
        assert expected in lines
    (dataset,) = [line for line in lines if line.startswith("totals shop ")]
    assert dataset.endswith("error, 0 warn hold the version version 7, 1,234 rows, 2026-01-02 03:04")


def test_show_as_json(dp, project):
    publish(project)
    facts = json.loads(dp("show", "shops", "--json")[1])
    assert facts["owner"] == {"team": "testers", "email": "testers@example.com"}
    (dataset,) = facts["datasets"]
    assert dataset["published"]["version"] == 7
    assert dataset["contract"]["source"] == "contracts/totals.py:Totals"
    assert dataset["contract"]["error_rules"] > 0
    (port,) = facts["output_ports"]
    assert port["published"] == {"version": 7, "address": "here.duckdb"}
    assert port["refresh"] == {
        "every": "daily",
        "timezone": "UTC",
        "maximum_lag": 43_200.0,
        "stale_after": 129_600.0,
        "warns_after": 108_000.0,
    }
    assert len(facts["lines"]) == 23


def test_show_names_the_rules_that_nobody_evaluates(dp, project):
    folder = project.root / "products" / "shops"
    (folder / "contracts" / "totals.odcs.yaml").write_text(
        "{apiVersion: v3.1.0, kind: DataContract, id: totals, version: 1.0.0, status: active, schema: [{name: totals,"
        " quality: [{type: text, description: Be nice}, {type: custom, engine: soda, implementation: x}],"
        " properties: [{name: shop, logicalType: string, unique: true, required: true}]}]}"
    )
    path = folder / "product.yaml"
    path.write_text(
        path.read_text().replace("contracts/totals.py:Totals", "contracts/totals.odcs.yaml:totals")
    )
    lines = [" ".join(line.split()) for line in dp("show", "shops")[1].splitlines()]
    assert "totals text Be nice a rule of type text is for people" in lines
    assert "totals custom_soda a rule of type custom is for soda" in lines
    contract = json.loads(dp("show", "shops", "--json")[1])["datasets"][0]["contract"]
    assert [rule["id"] for rule in contract["not_evaluated"]] == ["text", "custom_soda"]
    assert {"id": "unique_shop", "severity": "error", "asks": "shop: unique"} in contract["rules"]


def test_show_takes_a_path_too(dp):
    assert "shops 1.0.0, active" in dp("show", "products/shops")[1]


def test_show_fits_a_narrow_terminal_and_loses_nothing(dp, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = dp("show", "shops")[1]
    assert max(len(line) for line in out.splitlines()) <= 60
    assert "testers@example.com" in out
    assert "…" not in out


def test_brackets_in_texts_are_text(dp, project):
    path = project.root / "products" / "shops" / "product.yaml"
    path.write_text(path.read_text().replace("name: A small product for tests", "name: '[red]A[/red] [x'"))
    assert "[red]A[/red] [x" in dp("show", "shops")[1]


def test_show_of_a_broken_product(dp, project):
    project.add_product("broken", descriptor=BROKEN)
    assert dp("show", "broken") == (1, "", SAID)


# -- schema, help ------------------------------------------------------------------------------------------


def test_schema_is_a_json_schema(dp):
    from jsonschema import Draft202012Validator

    code, out, _ = dp("schema")
    assert code == 0
    Draft202012Validator.check_schema(json.loads(out))


def test_help_names_every_command(dp):
    code, out, _ = dp("--help")
    assert code == 0
    assert all(name in out for name in COMMANDS)
    for name in COMMANDS:
        assert dp(name, "--help")[0] == 0
    assert dp()[0] == 2


# -- a process of its own ----------------------------------------------------------------------------------


def in_a_process(project, *arguments):
    code = (
        "import sys\nfrom dp_dagster.cli.app import run\n"
        f"code = run({list(arguments)!r})\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\nsys.exit(code)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize("arguments", [("list",), ("validate",), ("show", "shops"), ("schema",), ("--help",)])
def test_light_commands_import_nothing_heavy(project, arguments):
    publish(project)
    in_a_process(project, "validate")  # compiles the contract, with pandera
    imported = set(json.loads(in_a_process(project, *arguments).stderr.replace("'", '"')))
    assert "dp_dagster" in imported
    assert imported & HEAVY == set()


@pytest.mark.parametrize("command", ["list", "validate"])
def test_listing_and_validating_answer_in_half_a_second(project, command):
    program = f"{sys.prefix}/bin/dp"
    # As where it is installed: pip compiles what it installs, and a machine that writes no bytecode compiles each time.
    environment = {**project.environment, "PYTHONPYCACHEPREFIX": str(project.root / ".bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    taken = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([program, command], cwd=project.root, env=environment, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    # Processor time: it is what the command takes on a machine that does nothing else, and the same on one that
    # does. The first run compiles the modules and the contract.
    assert min(taken[1:]) < 0.5


def test_a_reader_that_goes_away_is_no_error(project):
    for number in range(30):
        project.add_product(f"p{number}")
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{sys.prefix}/bin/dp list --json | head -c 1"],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("[", "", 0)
