"""Tools of others take what is exported: the linters of ODPS and ODCS, and dbt itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from contract_texts import EVERYTHING

from dp_dagster.contracts.load import load_contract
from dp_dagster.documents.dbt import model_schema
from dp_dagster.documents.exporting import export_product
from dp_dagster.documents.yaml_text import yaml_text

BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "DO_NOT_TRACK": "1", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "COLUMNS": "200"}


def run(folder: Path, *command: str) -> tuple[int, str]:
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_official_linters_pass_what_is_exported(example, tmp_path):
    for form in ("odps", "odcs"):
        for written in export_product(example, form):
            (tmp_path / written.file).write_text(written.text)
    for file in tmp_path.glob("*.odcs.yaml"):
        code, said = run(tmp_path, "datacontract", "lint", file.name)
        assert code == 0, said
    code, said = run(tmp_path, "dataproduct", "lint", f"{example.id}.odps.yaml")
    assert code == 0, said
    assert "No local data contract" not in said  # each contractId leads to one of the contracts beside it
    # They do find faults.
    broken = tmp_path / f"{example.id}.odps.yaml"
    broken.write_text(broken.read_text().replace("kind: DataProduct", "kind: DataSomething"))
    assert run(tmp_path, "dataproduct", "lint", broken.name)[0] != 0


GOOD = (
    "select 1::bigint as id, 1::smallint as small, 'AB1' as code, 'abc' as word, 'a.b$' as start, 'x' as found, "
    "'YES' as flagged, 0.5::double as share, 0.5::real as half, 12.5::decimal(8,2) as price, "
    "date '2024-02-03' as day, timestamptz '2024-02-03 00:00:00+00' as seen, timestamp '2024-02-03' as clock, "
    "true as \"on\", '\\xff'::blob as raw, ['a'] as labels, {'zip': '1', 'floor': 2::integer} as place"
)


@pytest.fixture
def dbt_project(tmp_path):
    (tmp_path / "contract.py").write_text(EVERYTHING)
    contract = load_contract("contract.py:Everything", product_root=tmp_path)
    schema, _ = model_schema(contract, "everything", ("id",), "A model: {{ not_a_template }}")
    models = tmp_path / "models"
    models.mkdir()
    (models / "schema.yml").write_text(yaml_text({"version": 2, "models": [schema]}))
    (tmp_path / "dbt_project.yml").write_text(
        "name: made\nversion: '1.0'\nprofile: made\nmodel-paths: [models]\n"
    )
    (tmp_path / "profiles.yml").write_text(
        "made: {target: dev, outputs: {dev: {type: duckdb, path: made.duckdb, threads: 1}}}\n"
    )

    def build(query: str) -> tuple[int, str]:
        (models / "everything.sql").write_text(query)
        return run(
            tmp_path,
            "dbt",
            "build",
            "--profiles-dir",
            ".",
            "--warn-error-options",
            '{"error": ["Deprecations"]}',
        )

    return build


@pytest.mark.slow
def test_dbt_builds_good_rows_and_refuses_bad_ones(dbt_project):
    code, said = dbt_project(GOOD)
    assert code == 0, said
    assert "PASS=" in said
    for good, bad in (("1::bigint as id", "0::bigint as id"), ("'abc' as word", "'no' as word")):
        code, said = dbt_project(GOOD.replace(good, bad))
        assert code != 0, said
        assert "CHECK constraint failed" in said
    code, said = dbt_project(f"{GOOD} union all {GOOD}")
    assert code != 0, said
    # A rule that warns does not stop the build.
    code, said = dbt_project(GOOD.replace('true as "on"', 'false as "on"'))
    assert code == 0, said
    assert "WARN=1" in said
