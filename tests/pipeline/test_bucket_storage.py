"""A product whose storage is a bucket: one setting changed, and everything as in a folder, from any machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import duckdb
import fsspec
import polars as pl
import pytest
from pipeline_helpers import ANYTHING, Product, Workshop, rows
from test_masked_copies import ACCESS, CONTRACT, SECRET

from dp_dagster.changes.kept import Changes
from dp_dagster.cli.app import run
from dp_dagster.lineage.kept import keep_lineage, read_lineage
from dp_dagster.pipeline import project_port
from dp_dagster.pipeline.ports import port_facts
from dp_dagster.ports.outputs.sql import catalog_path
from dp_dagster.storage.bucket_client import client
from dp_dagster.storage.manifest import read_manifest
from dp_dagster.storage.mirror import local_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import TestProject


@pytest.fixture
def workshop(make_project: Callable[[], TestProject], bucket: str) -> Workshop:
    made = Workshop(make_project().root, f"s3://{bucket}/data")
    (made.root / "dp_dagster.toml").write_text(f'products = ["products/*"]\nstorage = "{made.storage}"\n')
    return made


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workshop: Workshop) -> Callable[[str], None]:
    """Goes on as another machine, which shares nothing but the bucket."""

    def go_on(name: str) -> None:
        monkeypatch.chdir(workshop.root)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        monkeypatch.setenv("DP_STATE_DIRECTORY", str(tmp_path / name / "state"))

    return go_on


@pytest.fixture
def dp(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What a command prints with ``--json``."""

    def call(*arguments: str) -> Any:
        assert run([*arguments, "--json"]) == 0, capsys.readouterr()
        return json.loads(capsys.readouterr().out)

    return call


def test_a_product_is_published_and_read_from_another_machine(
    workshop: Workshop, bucket: str, machine: Callable[[str], None], dp: Callable[..., Any]
) -> None:
    ports = [
        {"name": "vw_rows", "type": "SQL", "dataset": "rows"},
        {"name": "rows_file", "type": "FILES", "dataset": "rows", "format": "csv"},
        {"name": "rows_table", "type": "FILES", "dataset": "rows", "format": "delta"},
    ]
    product = workshop.product(output_ports=ports)
    first = product.run()
    assert first.ports["rows_file"].address == f"s3://{bucket}/data/small/v1/port/rows_file.csv"
    assert (
        fsspec.filesystem("s3").cat_file(first.ports["rows_file"].address) == b"name,amount\nada,1\nben,2\n"
    )
    assert sorted(pl.read_delta(first.ports["rows_table"].address).rows()) == [("ada", 1), ("ben", 2)]
    assert product.query("from v1.vw_rows order by all") == [("ada", 1), ("ben", 2)]
    keep_lineage(product.resolved())
    assert not (workshop.root / "data").exists(), "nothing is left in a folder"
    # Whoever reads on another machine meets the version, and the next one.
    machine("reader")
    for name, count in (("", 2), ("cy,3\n", 3)):
        if name:
            machine("cache")
            product.write({"inputs/source.csv": f"name,amount\nada,1\nben,2\n{name}"})
            product.run()
            machine("reader")
        assert dp("sql", "select count(*) as n from small.v1.vw_rows") == [{"n": count}]
        (listed,) = dp("list")
        assert [one["rows"] for one in listed["published"].values()] == [count]
        assert len(rows(product.table().newest())) == count
        for port in product.resolved().active_ports:
            assert port.port is not None
        assert {facts.version for facts in port_facts(product.resolved())} == {0 if count == 2 else 1}
    assert read_lineage(workshop.storage, "small") is not None
    assert len(product.table().history()) == 2
    # Back to the first version, on this machine; the ports follow.
    product.table().rollback(0, {"dp.run_id": "back"})
    for port in product.resolved().active_ports:
        project_port(product.session(), port.name)
    assert dp("sql", "select count(*) as n from small.v1.vw_rows") == [{"n": 2}]
    machine("third")
    assert (
        fsspec.filesystem("s3").cat_file(first.ports["rows_file"].address) == b"name,amount\nada,1\nben,2\n"
    )
    assert dp("sql", "select count(*) as n from small.v1.vw_rows") == [{"n": 2}]
    # What was evicted is fetched again.
    for path in local_root(workshop.storage).rglob("*.parquet"):
        path.unlink()
    assert dp("sql", "select count(*) as n from small.v1.vw_rows") == [{"n": 2}]


def test_other_products_and_restricted_readers(
    workshop: Workshop,
    machine: Callable[[str], None],
    dp: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DP_MASK_SECRET", SECRET)
    shop = workshop.product(
        "shop",
        files={"inputs/source.csv": "id,name,amount\n1,ada,1\n2,ben,2\n3,cy,3\n"},
        contract=CONTRACT,
        datasets=[{"name": "rows", "from": "chosen", "contract": "contracts/rows.py:Rows", "key": ["id"]}],
        access=ACCESS,
        output_ports=[{"name": "vw_rows", "type": "SQL", "dataset": "rows", "readers": {"role": "analyst"}}],
    )
    shop.run()
    machine("other")
    seen = dp("sql", "select id, name from shop.v1.vw_rows order by id")
    assert [row["id"] for row in seen] == [2, 3]
    assert not {row["name"] for row in seen} & {"ada", "ben", "cy"}
    consumer = workshop.product(
        "consumer",
        input_ports=[{"name": "source", "type": "PRODUCT", "port": "shop.vw_rows@1"}],
        contract=ANYTHING.replace('"nothing": pa.Column(str, required=False', '"id": pa.Column(int'),
        datasets=[{"name": "rows", "from": "chosen", "contract": "contracts/rows.py:Rows", "key": ["id"]}],
    )
    assert {row["id"] for row in seen} == {row[1] for row in rows(consumer.run().published.snapshot)}
    # On a third machine the copy is there already: made once.
    machine("third")
    project_port(shop.session(), "vw_rows")
    manifest = read_manifest(workshop.storage, "shop")
    assert manifest is not None
    (copy,) = manifest.ports["v1"]["vw_rows"].files
    assert (local_root(workshop.storage) / copy).is_file()
    with duckdb.connect(str(catalog_path(workshop.storage, "shop")), read_only=True) as connection:
        assert connection.sql("select count(*) from v1.vw_rows").fetchall() == [(2,)]


def test_what_changed_is_known_on_every_machine(workshop: Workshop, machine: Callable[[str], None]) -> None:
    product = workshop.product()
    product.run()
    product.write({"inputs/source.csv": "name,amount\nada,1\nben,3\n"})
    product.run()
    table = product.table()
    newest = table.newest()
    assert newest is not None
    made = Changes(table.location).bring_up_to(newest, ("name",))
    assert (made.counts.updated, made.counts.inserted) == (1, 0)
    machine("other")
    known = Changes(table.location)
    found = known.of(newest.version)
    assert found == made
    assert pl.read_parquet(known.path(found)).height == 1
    table.vacuum(0)
    assert known.of(newest.version) is None, "its earlier version is gone"


def test_the_bucket_holds_all_that_a_product_needs(workshop: Workshop, bucket: str) -> None:
    product: Product = workshop.product()
    product.run()
    keys = {
        entry["Key"].removeprefix("data/small/")
        for entry in client().list_objects_v2(Bucket=bucket)["Contents"]
    }
    assert {key.split("/")[0] for key in keys} == {
        ".candidates", ".locks", "contracts", "input", "manifest.json", "v1",
    }  # fmt: skip
    assert workshop.settings().resolved_records_url == f"sqlite:///{workshop.root}/.dp/records.db"
