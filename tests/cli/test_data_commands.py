"""``dp run``, ``sql``, ``history``, ``rollback`` and ``quarantine``: results, complaints and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dp_dagster.cli import main
from dp_dagster.pipeline import Session, land_input, project_port, publish_dataset, run_transform
from dp_dagster.ports.outputs.sql import catalog_path
from dp_dagster.resolve import resolve
from dp_dagster.settings import Settings
from dp_dagster.storage import Table, dataset_table

SALES = "sale,shop,amount\n1,north,10\n2,north,5\n3,south,7\n4,west,1\n"


@pytest.fixture
def dp(project, monkeypatch, capsys):
    """Runs ``dp`` in the project; gives exit code, output and complaints."""
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return ended.value.code, captured.out, captured.err

    return run


@pytest.fixture
def refresh(project):
    """Runs the product through the pipeline, which is quicker than through Dagster."""
    numbers = iter(range(1000))

    def run(sales=SALES, *, product_id="shops"):
        folder = project.root / "products" / product_id
        (folder / "inputs/sales.csv").write_text(sales)
        session = Session(resolve(folder, Settings.load(project.root)), f"run-{next(numbers)}")
        land_input(session, "sales")
        run_transform(session, "totals")
        outcome = publish_dataset(session, "totals")
        if outcome.snapshot is not None:
            project_port(session, "vw_totals")
        return outcome

    return run


HOLDER = """
import sys
from dp_dagster.storage import Table, dataset_table
with Table(dataset_table(sys.argv[1], "shops", 1, "totals")).lock("run of somebody else"):
    print("held", flush=True)
    sys.stdin.read()
"""

BAD = SALES + "5,NORTH,-3\n"


# -- run -----------------------------------------------------------------------------------------------------


def test_run(dp):
    code, out, err = dp("run", "shops")
    assert code == 0
    assert "shops 1.0.0" in err
    for word in ("totals", "accepted", "fresh", 'dp sql "from shops.v1.vw_totals"'):
        assert word in out


def test_run_as_json(dp):
    code, out, _ = dp("run", "shops", "--dataset", "totals", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["runs"][0]["succeeded"] is True
    (status,) = found["datasets"]
    assert (status["dataset"], status["version"], status["rows"]) == ("totals", 0, 3)
    assert status["verdict"]["decision"] == "accepted"


def test_run_of_bad_data_is_the_authors_matter(dp, project):
    (project.root / "products/shops/inputs/sales.csv").write_text(BAD)
    code, out, err = dp("run", "shops")
    assert code == 1
    assert "never" in out
    assert "shops" in err
    assert "held" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name one product, or give --all"),
        (("shops", "--all"), "name one product, or give --all"),
        (("--all", "--dataset", "totals"), "--dataset goes with one product"),
        (("nope",), "nope"),
        (("shops", "--dataset", "nope"), "nope is no dataset of shops; there are totals"),
        (("shops", "--no-such-option"), "No such option"),
    ],
)
def test_run_used_wrongly(dp, arguments, message):
    code, out, err = dp("run", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_run_all_where_one_product_is_broken(dp, project):
    broken = project.root / "products/broken"
    broken.mkdir()
    (broken / "product.yaml").write_text("product_id: broken\nversion: 1.0.0\nnmae: x\n")
    code, out, err = dp("run", "--all")
    assert code == 1
    assert "products/broken/product.yaml:3: nmae: unknown key" in err
    assert "accepted" in out


# -- sql -----------------------------------------------------------------------------------------------------


def test_sql(dp, refresh):
    refresh()
    code, out, err = dp("sql", "select * from shops.v1.vw_totals order by shop")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert lines[0] == ["shop", "amount"]
    assert lines[-3:] == [["north", "15"], ["south", "7"], ["west", "1"]]


def test_sql_as_json(dp, refresh):
    refresh()
    query = (
        "select 1 as a, 2 as a, 'nan'::double as n, [1.50] as d, time '10:00' as t, interval 1 day as i, "
        "{'x': 'ab'::blob} as s, timestamptz '2026-01-02 00:00:00+00' as z, null as e, "
        "'6a2c5c1e-0d0b-4a8e-9d3b-000000000001'::uuid as u"
    )
    code, out, _ = dp("sql", query, "--json")
    assert code == 0
    assert json.loads(out) == [
        {
            "a": 1,
            "a_1": 2,
            "n": "nan",
            "d": ["1.50"],
            "t": "10:00:00",
            "i": 86400.0,
            "s": {"x": "6162"},
            "z": "2026-01-02T00:00:00+00:00",
            "e": None,
            "u": "6a2c5c1e-0d0b-4a8e-9d3b-000000000001",
        }
    ]


def test_sql_prints_no_more_than_asked_for(dp, refresh):
    refresh()
    code, out, err = dp("sql", "from shops.v1.vw_totals", "--limit", "2", "--json")
    assert (code, len(json.loads(out))) == (0, 2)
    assert "more than 2 rows; the rest is not shown (--limit)" in err


@pytest.mark.parametrize(
    "query",
    [
        "pivot shops.v1.vw_totals on shop using sum(amount)",
        "describe shops.v1.vw_totals",
        "explain from shops.v1.vw_totals",
        "with t as (from shops.v1.vw_totals) from t; -- done",
    ],
)
def test_sql_reads_in_other_words(dp, refresh, query):
    refresh()
    assert dp("sql", query)[0] == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select nope from shops.v1.vw_totals", "nope"),
        ("from shops.v1.vw_nope", "products published here: shops"),
        ("from nope.v1.x", "products published here: shops"),
        ("selec 1", "syntax error"),
        ("", "holds 0 statements"),
        ("select 1; select 2", "holds 2 statements"),
        ("select error('told by the query')", "told by the query"),
        # nothing is written
        ("create table t as select 1", "dp sql only reads; CREATE"),
        ("insert into shops.v1.vw_totals values ('x', 1)", "only reads; INSERT"),
        ("copy (select 1) to 'stolen.csv'", "only reads; COPY"),
        ("explain analyze copy (select 1) to 'stolen.csv'", "only reads; EXPLAIN"),
        ("export database 'stolen'", "only reads; EXPORT"),
        ("attach 'stolen.duckdb'", "only reads; ATTACH"),
        ("set enable_external_access = true", "only reads; SET"),
        ("select 1 as pivot; drop view shops.v1.vw_totals; select 1", "read-only"),
        ("install httpfs", "only reads; LOAD"),
        # and nothing is read but what ports show
        ("from read_text('/etc/hostname')", "dp sql reads ports, and no other files"),
        ("from read_csv('products/shops/inputs/sales.csv')", "no other files"),
        ("from 'products/shops/inputs/sales.csv'", "no other files"),
        ("from glob('/*')", "no other files"),
        ("from read_blob('data/records.db')", "no other files"),
        ("from read_parquet('data/shops/input/sales/*.parquet')", "no other files"),
    ],
)
def test_sql_refuses(dp, refresh, project, query, message):
    refresh()
    before = sorted(path for path in project.root.rglob("*") if path.is_file())
    code, out, err = dp("sql", query)
    assert (code, out) == (2, "")
    assert message in err
    assert sorted(path for path in project.root.rglob("*") if path.is_file()) == before


def test_sql_before_anything_is_published(dp):
    code, _, err = dp("sql", "from shops.v1.vw_totals")
    assert code == 2
    assert "none yet, run dp run --all" in err


def test_sql_does_not_load_the_secrets_that_a_user_keeps_for_duckdb(dp, refresh):
    refresh()
    _, out, _ = dp("sql", "from duckdb_secrets()", "--json")
    assert json.loads(out) == []
    _, out, _ = dp("sql", "select current_setting('allow_persistent_secrets') as allowed", "--json")
    assert json.loads(out) == [{"allowed": False}]


def test_sql_over_a_catalog_that_is_damaged_or_has_lost_its_files(dp, refresh, project):
    published = refresh().snapshot
    catalog = catalog_path(str(project.storage), "shops")
    content = catalog.read_bytes()
    for file in published.files:
        Path(file).unlink()
    code, _, err = dp("sql", "from shops.v1.vw_totals")
    assert code == 3
    assert "dp run PRODUCT" in err
    catalog.write_bytes(b"no database" * 1000)
    code, _, err = dp("sql", "select 1")
    assert code == 3
    assert "dp run shops" in err
    catalog.write_bytes(content)
    assert dp("sql", "select 1")[0] == 0


# -- history, rollback ---------------------------------------------------------------------------------------


def test_history_and_rollback(dp, refresh):
    refresh()
    refresh(SALES + "5,east,2\n")
    code, out, _ = dp("history", "shops.totals", "--json")
    entries = json.loads(out)
    assert code == 0
    assert [(entry["version"], entry["rows"], entry["operation"]) for entry in entries] == [
        (1, 4, "publish"),
        (0, 3, "publish"),
    ]
    assert entries[0]["made_from"]["sales"]["version"] == 1
    code, out, _ = dp("rollback", "shops.totals", "--to", "0")
    assert code == 0
    assert "version 1 is replaced by version 2, which has the 3 rows of version 0" in out
    assert "shops.v1.vw_totals shows it" in out
    assert len(json.loads(dp("sql", "from shops.v1.vw_totals", "--json")[1])) == 3
    code, out, _ = dp("history", "shops")
    assert code == 0
    assert "rollback to 0" in out
    assert "sales@0" in out
    assert len(json.loads(dp("history", "shops", "--limit", "1", "--json")[1])) == 1


@pytest.mark.parametrize("version", ["-1", "0", "9"])
def test_rollback_to_what_is_not_there(dp, refresh, version):
    refresh()
    code, out, err = dp("rollback", "shops.totals", "--to", version)
    assert (code, out) == (2, "")
    assert "shops/v1/dataset/totals" in err


@pytest.mark.parametrize("command", [("history",), ("quarantine",), ("rollback", "--to", "1")])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", "nope"),
        ("shops.nope", "there are totals"),
        ("shops.", "there are totals"),
        ("../x.y", "../x.y names no dataset"),
    ],
)
def test_names_that_are_no_dataset(dp, command, name, message):
    code, out, err = dp(command[0], name, *command[1:])
    assert (code, out) == (2, "")
    assert message in err


def test_before_anything_is_published(dp):
    assert dp("history", "shops")[1] == "shops.totals was never published; run it: dp run shops\n"
    assert dp("quarantine", "shops")[1] == "no rows of shops.totals are in quarantine\n"
    assert json.loads(dp("history", "shops", "--json")[1]) == []
    assert json.loads(dp("quarantine", "shops", "--json")[1]) == []
    code, _, err = dp("rollback", "shops", "--to", "0")
    assert code == 2
    assert "shops/v1/dataset/totals" in err


def test_rollback_while_a_run_publishes(dp, refresh, project):
    refresh()
    refresh(SALES + "5,east,2\n")
    os.environ["DP_LOCK_TIMEOUT"] = "0.1"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLDER,
            str(project.storage),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        code, _, err = dp("rollback", "shops", "--to", "0")
    finally:
        holder.communicate("")
        del os.environ["DP_LOCK_TIMEOUT"]
    assert code == 3
    assert "is locked by run of somebody else" in err
    assert Table(dataset_table(str(project.storage), "shops", 1, "totals")).newest().version == 1


# -- quarantine ----------------------------------------------------------------------------------------------


def test_quarantine(dp, refresh, project):
    contract = project.root / "products/shops/contracts/totals.py"
    contract.write_text(
        contract.read_text().replace(
            'description="The shop\'s name"', 'description="Its name", metadata={"classification": "pii"}'
        )
    )
    refresh(BAD)
    code, out, _ = dp("quarantine", "shops.totals")
    assert code == 0
    assert "held all" in out
    assert "amount=-3" in out
    assert "NORTH" not in out
    (row,) = json.loads(dp("quarantine", "shops", "--json")[1])
    assert row["row"] == {"shop": "•••", "amount": -3}
    assert row["published_in_part"] is False
    assert len(row["rules"]) == 2
    assert "NORTH" not in json.dumps(row)
    assert json.loads(dp("quarantine", "shops", "--json", "--unmasked")[1])[0]["row"]["shop"] == "NORTH"
    assert json.loads(dp("quarantine", "shops", "--json", "--run", "nobody")[1]) == []
    refresh(SALES + "5,SOUTH,1\n")
    assert len(json.loads(dp("quarantine", "shops", "--json")[1])) == 1
    assert len(json.loads(dp("quarantine", "shops", "--json", "--all")[1])) == 2


# -- as processes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("sql", "select count(*) as shops from shops.v1.vw_totals", "--json"), 0),
        (("history", "shops", "--json"), 0),
        (("sql", "selec"), 2),
        (("rollback", "shops"), 2),
    ],
)
def test_in_a_process_of_its_own(refresh, project, arguments, code):
    refresh()
    program = Path(sys.executable).parent / "dp"
    found = subprocess.run(
        [program, *arguments],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == code
    assert "Traceback" not in found.stderr
    if code == 0:
        assert json.loads(found.stdout)
        assert found.stderr == ""
    else:
        assert found.stdout == ""
        assert found.stderr.strip()
