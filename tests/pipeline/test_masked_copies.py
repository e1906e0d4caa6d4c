"""Ports that hand out files, where their readers may not see all: a copy, and nothing but the copy."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from pipeline_helpers import ANYTHING, rows

from dp_dagster.errors import SettingsError
from dp_dagster.pipeline import project_port
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from pipeline_helpers import Product, Workshop

CONTRACT = """\
import pandera.polars as pa

Rows = pa.DataFrameSchema(
    {
        "name": pa.Column(str, pa.Check.str_matches("^[a-z]+$"), metadata={"classification": "pii"}),
        "id": pa.Column(int, unique=True),
        "amount": pa.Column(int, metadata={"classification": "secret"}),
    }
)
"""
ACCESS: list[dict[str, Any]] = [
    {"role": "analyst", "rows": "amount >= 2", "masks": {"name": "hash"}},
    {"role": "owner", "unmask": ["name", "amount"]},
    {"role": "clerk", "columns": ["id"]},
]
SECRET = "a secret of the platform"


def shop(workshop: Workshop, readers: dict[str, Any]) -> Product:
    return workshop.product(
        files={"inputs/source.csv": "id,name,amount\n1,ada,1\n2,ben,2\n3,cy,3\n"},
        contract=CONTRACT,
        datasets=[{"name": "rows", "from": "chosen", "contract": "contracts/rows.py:Rows", "key": ["id"]}],
        access=ACCESS,
        output_ports=[
            {"dataset": "rows", "readers": readers, "name": "vw_rows", "type": "SQL"},
            {"dataset": "rows", "readers": readers, "name": "rows_file", "type": "FILES"},
        ],
    )


def test_readers_get_what_access_gives_them(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_MASK_SECRET", SECRET)
    product = shop(workshop, {"role": "analyst"})
    run = product.run()
    view = product.query("from v1.vw_rows order by id")
    hashes = [row[0] for row in view]
    assert [row[1:] for row in view] == [(2, None), (3, None)]
    assert len(set(hashes)) == 2
    assert not set(hashes) & {"ada", "ben", "cy"}
    assert pl.read_parquet(run.ports["rows_file"].address).sort("id").rows() == view
    ((sql,),) = product.query("select sql from duckdb_views() where view_name = 'vw_rows'")
    assert "/dataset/" not in sql, "the catalog does not lead to what is not shown"
    manifest = read_manifest(workshop.storage, product.id)
    assert manifest is not None
    entry = manifest.port(1, "vw_rows")
    assert entry is not None
    assert (entry.rows, [column["nullable"] for column in entry.columns]) == (2, [True, False, True])
    assert SECRET not in str(manifest)


def test_other_products_read_the_copy(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DP_MASK_SECRET", SECRET)
    product = shop(workshop, {"role": "analyst"})
    product.run()
    consumer = workshop.product(
        "consumer",
        input_ports=[{"name": "source", "type": "PRODUCT", "port": f"{product.id}.vw_rows@1"}],
        contract=ANYTHING.replace('"nothing": pa.Column(str, required=False', '"id": pa.Column(int'),
        datasets=[{"name": "rows", "from": "chosen", "contract": "contracts/rows.py:Rows", "key": ["id"]}],
    )
    published = consumer.run().published.snapshot
    assert sorted(rows(published), key=lambda row: row[1]) == product.query("from v1.vw_rows order by id")


def test_who_may_see_all_is_handed_the_files(workshop: Workshop) -> None:
    product = shop(workshop, {"role": "owner"})
    product.run()
    assert product.query("select name from v1.vw_rows order by id") == [("ada",), ("ben",), ("cy",)]
    assert not list(Path(workshop.storage).rglob("copy"))


def test_columns_that_are_not_given_are_not_there(workshop: Workshop) -> None:
    product = shop(workshop, {"role": "clerk"})
    product.run()
    assert product.query("from v1.vw_rows order by id") == [(1,), (2,), (3,)]


def test_without_the_secret_nothing_is_shown(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DP_MASK_SECRET", raising=False)
    product = shop(workshop, {"role": "analyst"})
    with pytest.raises(SettingsError, match="DP_MASK_SECRET"):
        product.run()
    assert read_manifest(workshop.storage, product.id) is None


def test_another_secret_makes_another_copy_and_old_ones_go(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DP_MASK_SECRET", SECRET)
    product = shop(workshop, {"role": "analyst"})
    product.run()
    before = product.query("select name from v1.vw_rows")
    (copy,) = Path(workshop.storage, product.id, "v1", "copy", "vw_rows").iterdir()
    os.utime(copy, (0, time.time() - 10 * 86_400))
    monkeypatch.setenv("DP_MASK_SECRET", SECRET + "s")
    project_port(product.session(), "vw_rows")
    assert not set(before) & set(product.query("select name from v1.vw_rows"))
    assert not copy.exists()
    (again,) = Path(workshop.storage, product.id, "v1", "copy", "vw_rows").iterdir()
    made = again.stat().st_mtime_ns
    project_port(product.session(), "vw_rows")
    assert again.stat().st_mtime_ns == made, "a copy is made once"
