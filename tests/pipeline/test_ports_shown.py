"""Output ports: what consumers see, at every moment, however odd the names and texts are."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest
from pipeline_helpers import ANYTHING, ROWS, Workshop, rows

from dp_dagster.errors import AuthorError, StoreError
from dp_dagster.pipeline import land_input, project_port, publish_dataset
from dp_dagster.pipeline.projections import output_context
from dp_dagster.ports.outputs.sql import SqlOutput, catalog_path
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from pipeline_helpers import Product

EXPECTED = [("ada", 1), ("ben", 2)]
NASTY = 'It\'s "quoted"; drop schema v1; -- \\ $HOME {x} %s'


def address_of(product: Product, name: str) -> str:
    session = product.session()
    port = session.product.port(name)
    assert port.port is not None
    return port.port.address(port.config, output_context(session, port))


def ports(*declared: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"dataset": "rows", **port} for port in declared]


@pytest.mark.parametrize("file_format", ["parquet", "csv", "arrow", "delta"])
def test_files(workshop: Workshop, file_format: str) -> None:
    product = workshop.product(
        output_ports=ports({"name": "rows_file", "type": "FILES", "format": file_format})
    )
    outcome = product.run().ports["rows_file"]
    read = {"parquet": pl.read_parquet, "csv": pl.read_csv, "arrow": pl.read_ipc, "delta": pl.read_delta}
    assert read[file_format](outcome.address).rows() == EXPECTED  # type: ignore[operator]
    product.write({"inputs/source.csv": "name,amount\ncy,3\n"})
    product.run()
    assert read[file_format](outcome.address).rows() == [("cy", 3)]  # type: ignore[operator]
    assert product.leftovers() == []


def test_another_format_takes_the_old_file_away(workshop: Workshop) -> None:
    def port(file_format: str) -> list[dict[str, Any]]:
        return ports({"name": "rows_file", "type": "FILES", "format": file_format})

    product = workshop.product(output_ports=port("csv"))
    old = Path(product.run().ports["rows_file"].address)
    workshop.product(output_ports=port("parquet"))
    new = Path(product.run().ports["rows_file"].address)
    assert (old.exists(), new.exists()) == (False, True)


def test_examples_work_as_they_stand(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.root = workshop.root / "it's [1] here"
    product = workshop.product(
        output_ports=ports(
            {"name": "vw_rows", "type": "SQL"},
            *(
                {"name": f"as_{kind}", "type": "FILES", "format": kind}
                for kind in ("parquet", "csv", "arrow", "delta")
            ),
        )
    )
    run = product.run()
    seen = 0
    for port in run.session.product.active_ports:
        assert port.port is not None
        for example in port.port.examples(port.config, output_context(run.session, port)):
            seen += 1
            if example.language == "python":
                exec(compile(example.text, "example", "exec"), {})
            elif example.language == "sql":
                assert duckdb.sql(example.text).fetchall() == EXPECTED
    assert seen == 8


def test_several_ports_and_datasets_in_one_catalog(workshop: Workshop) -> None:
    product = workshop.product(
        datasets=[
            {"name": name, "from": "chosen", "contract": "contracts/rows.py:Rows", "key": ["name"]}
            for name in ("rows", "others")
        ],
        output_ports=ports(
            {"name": "vw_rows", "type": "sql", "description": NASTY},
            {"name": "vw_again", "type": "SQL"},
            {"name": "vw_others", "type": "Sql", "dataset": "others"},
        ),
    )
    product.run()
    for name in ("vw_rows", "vw_again", "vw_others"):
        assert product.query(f"from small.v1.{name}") == EXPECTED
    comments = dict(product.query("select view_name, comment from duckdb_views() where schema_name = 'v1'"))
    assert comments["vw_rows"] == f"{NASTY} (version 0)"
    # Every port keeps the descriptions of its columns, whichever was projected last.
    described = product.query(
        "select table_name, column_name, comment from duckdb_columns() where schema_name = 'v1' order by all"
    )
    assert described == [
        (view, column, text)
        for view in ("vw_again", "vw_others", "vw_rows")
        for column, text in (("amount", "How much"), ("name", "Who"))
    ]


def test_major_versions_live_side_by_side(workshop: Workshop) -> None:
    product = workshop.product()
    product.run()
    workshop.product(version="2.0.0")
    product.write({"inputs/source.csv": "name,amount\ncy,3\n"})
    product.run()
    assert product.query("from small.v1.vw_rows") == EXPECTED
    assert product.query("from small.v2.vw_rows") == [("cy", 3)]
    manifest = read_manifest(workshop.storage, "small")
    assert manifest is not None
    assert set(manifest.ports) == {"v1", "v2"}
    assert product.table(major=2).newest() is not None


def test_a_port_that_is_declared_no_more_goes_from_catalog_and_manifest(workshop: Workshop) -> None:
    product = workshop.product(
        output_ports=ports({"name": "vw_rows", "type": "SQL"}, {"name": "vw_old", "type": "SQL"})
    )
    product.run()
    workshop.product()
    product.run()
    assert product.query("select view_name from duckdb_views() where schema_name = 'v1'") == [("vw_rows",)]
    manifest = read_manifest(workshop.storage, "small")
    assert manifest is not None
    assert set(manifest.ports["v1"]) == {"vw_rows"}


def test_projecting_again_changes_nothing(workshop: Workshop) -> None:
    product = workshop.product(
        output_ports=ports({"name": "vw_rows", "type": "SQL"}, {"name": "rows_file", "type": "FILES"})
    )
    product.run()
    before = read_manifest(workshop.storage, "small")
    for name in ("vw_rows", "rows_file"):
        assert not project_port(product.session(), name).changed
    assert read_manifest(workshop.storage, "small") == before
    assert len(product.session().records.query(product="small", kind="projected")) == 2


def test_an_older_version_is_never_shown_after_a_newer_one(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow projection that began before another publication shows that one, not what it began with."""
    product = workshop.product()
    product.run()
    session = product.session()
    land_input(session, "source")
    from dp_dagster.storage import manifest as manifest_module

    update = manifest_module.update_manifest
    raced = []

    def slow(*arguments: Any, **options: Any) -> Any:
        if not raced:
            raced.append(True)
            product.write({"inputs/source.csv": "name,amount\ncy,3\n"})
            with ThreadPoolExecutor(1) as other:
                other.submit(product.run).result()
        return update(*arguments, **options)

    monkeypatch.setattr(manifest_module, "update_manifest", slow)
    outcome = project_port(session, "vw_rows")
    assert outcome.snapshot is not None
    assert outcome.snapshot.version == 1
    assert product.query("from small.v1.vw_rows") == [("cy", 3)]


def test_columns_on_show_are_those_of_the_version_on_show(workshop: Workshop) -> None:
    product = workshop.product()
    product.run()
    # A new column is promised, and the data does not have it yet: held, and the port projected alone.
    product.write(
        {
            "contracts/rows.py": ROWS.replace(
                '"amount":', '"colour": pa.Column(str, description="Which"),\n        "amount":'
            )
        }
    )
    assert product.run().published.snapshot is None
    project_port(product.session(), "vw_rows")
    manifest = read_manifest(workshop.storage, "small")
    assert manifest is not None
    entry = manifest.port(1, "vw_rows")
    assert entry is not None
    assert [(column["name"], column["type"], column["description"]) for column in entry.columns] == [
        ("name", "string", "Who"),
        ("amount", "int64", "How much"),
    ]


def test_a_port_without_dataset_cannot_be_projected(workshop: Workshop) -> None:
    product = workshop.product(
        output_ports=[
            *ports({"name": "vw_rows", "type": "SQL"}),
            {"name": "api", "type": "NATS", "dataset": "rows"},
        ]
    )
    with pytest.raises(AuthorError, match="output port api is not installed"):
        project_port(product.session(), "api")


def test_a_projection_that_fails_leaves_what_was_there(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = workshop.product()
    product.run()
    before = read_manifest(workshop.storage, "small")
    product.write({"inputs/source.csv": "name,amount\ncy,3\n"})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    session = product.session()
    land_input(session, "source")
    monkeypatch.undo()
    publish_dataset(session, "rows")
    monkeypatch.setattr("dp_dagster.ports.outputs.sql.duckdb_catalog.os.fsync", full)
    with pytest.raises(StoreError, match="cannot be built"):
        project_port(session, "vw_rows")
    monkeypatch.undo()
    assert product.query("from small.v1.vw_rows") == EXPECTED
    assert read_manifest(workshop.storage, "small") == before
    assert product.leftovers() == []


def test_what_a_killed_projection_left_is_removed(workshop: Workshop) -> None:
    product = workshop.product(
        output_ports=ports({"name": "vw_rows", "type": "SQL"}, {"name": "rows_file", "type": "FILES"})
    )
    run = product.run()
    for parent, name in (
        (catalog_path(workshop.storage, "small").parent, ".catalog-dead"),
        (Path(run.ports["rows_file"].address).parent, ".file-dead"),
    ):
        (parent / name).mkdir()
        (parent / name / "half").write_text("half")
    assert len(product.leftovers()) == 2
    product.run()
    assert product.leftovers() == []


def test_the_catalog_is_replaced_not_written_to(workshop: Workshop) -> None:
    """A connection that is open keeps what it had; a new one sees the next version."""
    product = workshop.product()
    product.run()
    with duckdb.connect(str(catalog_path(workshop.storage, "small")), read_only=True) as open_before:
        product.write({"inputs/source.csv": "name,amount\ncy,3\n"})
        product.run()
        assert open_before.sql("from v1.vw_rows").fetchall() == EXPECTED
    assert product.query("from v1.vw_rows") == [("cy", 3)]


# -- odd names and texts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["it's", 'a "b"', "env=prod", "a[1]b", "star*", "semi;--", "ünïcode 語"])
def test_odd_folders(workshop: Workshop, folder: str) -> None:
    workshop.root = workshop.root / folder
    product = workshop.product(
        output_ports=ports(
            {"name": "vw_rows", "type": "SQL"}, {"name": "rows_csv", "type": "FILES", "format": "csv"}
        )
    )
    run = product.run()
    assert rows(run.published.snapshot) == EXPECTED
    assert product.query("from small.v1.vw_rows") == EXPECTED
    assert product.query("select count(*) from duckdb_columns() where table_name = 'vw_rows'") == [(2,)]
    assert pl.read_csv(Path(run.ports["rows_csv"].address).read_bytes()).rows() == EXPECTED
    assert run.published.snapshot.rows == 2


def test_odd_columns(workshop: Workshop) -> None:
    names = ["a b", 'qu"ote', "it's", "select", "ünï", "semi;colon", "new\nline", "a.b", "${x}", "%s"]
    columns = ", ".join(
        '"' + name.replace('"', '""') + f'" /* {number} */' for number, name in enumerate(names)
    )
    values = ", ".join(f"{number}::bigint" for number in range(len(names)))
    contract = (
        "import pandera.polars as pa\n"
        f"NAMES = {names!r}\n"
        f"TEXT = {NASTY!r}\n"
        "Rows = pa.DataFrameSchema("
        "{n: pa.Column(int, pa.Check.ge(0), description=TEXT) for n in NAMES}, unique=[NAMES[1]])\n"
    )
    product = workshop.product(
        files={
            "transforms/chosen.sql": f"select * from (values ({values})) as v({columns}) semi join source on true"
        },
        contract=contract,
        datasets=[
            {
                "name": "rows",
                "from": "chosen",
                "contract": "contracts/rows.py:Rows",
                "key": [names[1]],
                "sort_by": [names[2]],
            }
        ],
    )
    run = product.run()
    assert run.published.verdict.decision == "accepted", run.published.verdict.reason
    with duckdb.connect(str(catalog_path(workshop.storage, "small")), read_only=True) as connection:
        assert connection.sql("from small.v1.vw_rows").columns == names
        assert {
            row[0]
            for row in connection.sql(
                "select comment from duckdb_columns() where schema_name = 'v1'"
            ).fetchall()
        } == {NASTY}


@pytest.mark.parametrize(
    "name", ["duckdb_views", "sqlite_master", "pragma_database_list", "main", "work", "dbt"]
)
def test_names_that_duckdb_uses_itself(workshop: Workshop, name: str) -> None:
    product = workshop.product(
        input_ports=[{"name": name, "type": "FILES", "path": "inputs/source.csv"}],
        files={"transforms/chosen.sql": f"select * from {name}"},
    )
    assert rows(product.run().published.snapshot) == EXPECTED


def test_values_are_never_code(workshop: Workshop) -> None:
    values = ["'; drop table x; --", '"', "${HOME}", "%(x)s", "{braces}", "\u2028", "<b>"]
    lines = ["name,amount", *('"' + value.replace('"', '""') + f'",{n}' for n, value in enumerate(values))]
    product = workshop.product(
        files={"inputs/source.csv": "\n".join(lines)},
        contract=ANYTHING,
    )
    assert [
        row[0]
        for row in sorted(product.run() and product.query("from small.v1.vw_rows"), key=lambda row: row[1])
    ] == values


def test_a_name_that_is_no_sql_server(workshop: Workshop) -> None:
    from dp_dagster.ports.outputs.sql import SqlConfig

    (fault,) = SqlOutput().check(SqlConfig(endpoint="oracle://ann:secret@host/db"), workshop.root)
    assert "secret" not in fault.message
    assert "oracle://host/db" in fault.message
