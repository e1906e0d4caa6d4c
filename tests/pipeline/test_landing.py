"""Files come in: every format and place, once for each change, and nothing malformed or half-written."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import sys
from typing import TYPE_CHECKING, Any

import fsspec
import polars as pl
import pytest
from one_step import CSV, EXPECTED, landed_rows, parquet, reads, zipped
from pipeline_helpers import ROWS, Workshop, rows

from dp_dagster.errors import (
    ContractViolationError,
    InputError,
    StoreError,
)
from dp_dagster.pipeline import land_input
from dp_dagster.ports.inputs.files import FilesConfig, FilesInput

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.CSV", CSV),
        ("a.tsv", CSV.replace(b",", b"\t")),
        ("a.txt", CSV.replace(b",", b"|")),
        ("a.csv.gz", gzip.compress(CSV)),
        ("a.csv.zip", zipped(a__csv=CSV)),
        ("a.csv.bz2", bz2.compress(CSV)),
        ("a.csv.xz", lzma.compress(CSV)),
        ("a.json", json.dumps([{"name": "ada", "amount": 1}, {"name": "ben", "amount": 2}]).encode()),
        ("a.ndjson", b'{"name": "ada", "amount": 1}\n{"name": "ben", "amount": 2}\n'),
        ("a.jsonl.gz", gzip.compress(b'{"name": "ada", "amount": 1}\n{"name": "ben", "amount": 2}\n')),
        ("with space 'quote\".csv", CSV),
        ("[1] what*?.csv", CSV),
        ("day=1/a.csv", CSV),
        ("bom.csv", b"\xef\xbb\xbf" + CSV),
        ("windows.csv", CSV.replace(b"\n", b"\r\n")),
    ],
    ids=lambda value: value if isinstance(value, str) else "bytes",
)
def test_formats(workshop: Workshop, name: str, content: bytes) -> None:
    product = reads(workshop, f"inputs/{name}", {f"inputs/{name}": content})
    assert landed_rows(product) == EXPECTED
    newest = product.landed("source").newest()
    assert newest is not None
    assert newest.rows == 2
    assert [column.name for column in newest.columns] == ["name", "amount"]


def test_several_files_by_a_pattern(workshop: Workshop) -> None:
    files: dict[str, str | bytes] = {
        "inputs/part1.csv": b"name,amount\nada,1\n",
        "inputs/part2.csv": b"amount,name\n2,ben\n",
        "inputs/other.txt": b"no",
    }
    assert landed_rows(reads(workshop, "inputs/part*.csv", files)) == EXPECTED


def test_a_pattern_over_folders_is_read_again_when_a_file_moves(workshop: Workshop) -> None:
    product = reads(
        workshop,
        "inputs/*/rows.csv",
        {"inputs/x/rows.csv": b"name,amount\nada,1\n", "inputs/y/rows.csv": b"name,amount\nben,2\n"},
    )
    assert landed_rows(product) == EXPECTED
    assert land_input(product.session(), "source").unchanged
    (product.root / "inputs/y").rename(product.root / "inputs/z")
    assert not land_input(product.session(), "source").unchanged


def test_parquet_without_contract_is_read_where_it_lies(workshop: Workshop, tmp_path: Path) -> None:
    product = reads(workshop, "inputs/a.parquet", {"inputs/a.parquet": parquet(tmp_path)})
    pinned = land_input(product.session(), "source").pinned
    assert pinned is not None
    assert pinned.version is None
    assert pinned.files == (str(product.root / "inputs/a.parquet"),)
    assert not product.landed("source").exists()
    run = product.run()
    assert rows(run.published.snapshot) == EXPECTED
    upstream = json.loads(run.published.snapshot.metadata["dp.upstream"])
    assert upstream["source"]["location"] == "inputs/a.parquet"
    assert upstream["source"]["fingerprint"]


def test_parquet_with_a_contract_is_landed(workshop: Workshop, tmp_path: Path) -> None:
    product = reads(
        workshop,
        "inputs/a.parquet",
        {"inputs/a.parquet": parquet(tmp_path), "contracts/in.py": ROWS},
        contract="contracts/in.py:Rows",
    )
    assert landed_rows(product) == EXPECTED
    assert product.landed("source").exists()


def test_a_file_that_a_package_ships(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "dp_shipped_data"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')\n")
    (package / "data" / "a.csv").write_bytes(CSV)
    monkeypatch.syspath_prepend(str(tmp_path))
    product = reads(workshop, "package://dp_shipped_data/data/a.csv", {})
    assert landed_rows(product) == EXPECTED
    assert "dp_shipped_data" not in sys.modules


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("package://dp_no_such_package/a.csv", "not installed; pip install dp_no_such_package"),
        ("package://polars/../../secret.csv", "leads out of the package's folder"),
        ("package://sys/a.csv", "is not installed"),
    ],
)
def test_packages_that_do_not_have_it(workshop: Workshop, path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        land_input(reads(workshop, path, {}).session(), "source")


def test_an_absolute_file(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "with space.csv").write_bytes(CSV)
    assert landed_rows(reads(workshop, f"file://{tmp_path}/with%20space.csv", {})) == EXPECTED


def test_absolute_files_by_a_pattern(workshop: Workshop, tmp_path: Path) -> None:
    for number, content in enumerate((b"name,amount\nada,1\n", b"name,amount\nben,2\n")):
        (tmp_path / f"part{number}.csv").write_bytes(content)
    assert landed_rows(reads(workshop, f"file://{tmp_path}/part?.csv", {})) == EXPECTED


def test_a_colon_makes_no_url(workshop: Workshop) -> None:
    assert landed_rows(reads(workshop, "inputs/at 10:30.csv", {"inputs/at 10:30.csv": CSV})) == EXPECTED


def test_a_remote_file(workshop: Workshop) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/dp_landing/a.csv.zip", zipped(a__csv=CSV))
    product = reads(workshop, "memory://dp_landing/a.csv.zip", {})
    assert landed_rows(product) == EXPECTED
    assert land_input(product.session(), "source").unchanged
    memory.pipe("/dp_landing/a.csv.zip", zipped(a__csv=b"name,amount\ncy,3\n"))
    assert landed_rows(product) == [("cy", 3)]
    memory.rm("/dp_landing", recursive=True)
    with pytest.raises(InputError, match=r"no file at memory://dp_landing/a.csv.zip"):
        land_input(product.session(), "source")
    # What was landed before is still there to be read.
    newest = product.landed("source").newest()
    assert newest is not None
    assert rows(newest) == [("cy", 3)]


def test_several_remote_files(workshop: Workshop) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/dp_many/x/a.csv", b"name,amount\nada,1\n")
    memory.pipe("/dp_many/y/a.csv", b"name,amount\nben,2\n")
    try:
        assert landed_rows(reads(workshop, "memory://dp_many/*/a.csv", {})) == EXPECTED
    finally:
        memory.rm("/dp_many", recursive=True)


class UnreachableFileSystem(fsspec.AbstractFileSystem):
    protocol = "unreachable"

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        raise ConnectionError(f"no route to {path}?token=hunter2")


def test_a_place_that_cannot_be_reached_is_the_operators_matter_and_keeps_the_secret(
    workshop: Workshop,
) -> None:
    fsspec.register_implementation("unreachable", UnreachableFileSystem, clobber=True)
    product = reads(workshop, "unreachable://ann:hunter2@host/a.csv?token=hunter2", {})
    with pytest.raises(StoreError, match=r"unreachable://host/a.csv: cannot be reached") as raised:
        land_input(product.session(), "source")
    assert "hunter2" not in str(raised.value)


def test_a_scheme_that_nothing_opens(workshop: Workshop) -> None:
    with pytest.raises(InputError, match="no installed library opens nowhere://"):
        land_input(reads(workshop, "nowhere://host/a.csv", {}).session(), "source")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("https://ann:secret@host/a.csv", "https://host/a.csv"),
        ("https://host/a.csv?sig=secret#secret", "https://host/a.csv"),
        ("s3://key:se@secret@bucket/a.csv", "s3://bucket/a.csv"),
        ("zip://a.csv::https://ann:secret@host/b.zip?t=secret", "zip://a.csv::https://host/b.zip"),
        ("inputs/what?.csv", "inputs/what?.csv"),
        ("file:///data/ann@host/a.csv", "file:///data/ann@host/a.csv"),
    ],
)
def test_a_location_holds_no_secret(path: str, shown: str) -> None:
    assert FilesInput().location(FilesConfig(path=path, format="csv")) == shown


# -- once for each change ----------------------------------------------------------------------------------


def test_the_same_files_are_not_landed_again(workshop: Workshop) -> None:
    product = workshop.product()
    first, second = product.run(), product.run()
    assert not first.inputs["source"].unchanged
    assert second.inputs["source"].unchanged
    assert len(product.landed("source").history()) == 1
    assert second.published.snapshot.version == 1  # datasets are published by each run


def test_changed_files_are_landed(workshop: Workshop) -> None:
    product = workshop.product()
    product.run()
    product.write({"inputs/source.csv": "name,amount\ncy,3\n"})
    assert rows(product.run().published.snapshot) == [("cy", 3)]
    assert [entry.version for entry in product.landed("source").history()] == [1, 0]


def test_a_change_of_the_same_size_is_seen(workshop: Workshop) -> None:
    product = workshop.product()
    product.run()
    product.write({"inputs/source.csv": "name,amount\nada,1\nben,3\n"})
    assert rows(product.run().published.snapshot) == [("ada", 1), ("ben", 3)]


def test_another_way_of_reading_lands_again(workshop: Workshop) -> None:
    product = workshop.product()
    product.run()
    workshop.product(
        input_ports=[
            {"name": "source", "type": "FILES", "path": "inputs/source.csv", "null_values": ["ada"]}
        ],
    )
    outcome = land_input(product.session(), "source")
    assert not outcome.unchanged
    assert rows(outcome.pinned) == [("ben", 2), (None, 1)]


def test_another_contract_lands_again(workshop: Workshop) -> None:
    port = {
        "name": "source",
        "type": "FILES",
        "path": "inputs/source.csv",
        "contract": "contracts/in.py:Rows",
    }
    product = workshop.product(files={"contracts/in.py": ROWS}, input_ports=[port])
    product.run()
    product.write({"contracts/in.py": ROWS.replace("pa.Check.ge(0)", "pa.Check.ge(2)")})
    with pytest.raises(ContractViolationError, match="small/input/source held"):
        product.run()


def test_the_order_of_rows_is_kept(workshop: Workshop) -> None:
    names = [f"n{number:05}" for number in range(50_000)][::-1]
    product = reads(
        workshop,
        "inputs/a.csv",
        {"inputs/a.csv": "name,amount\n" + "".join(f"{name},1\n" for name in names)},
    )
    pinned = land_input(product.session(), "source").pinned
    assert pinned is not None
    assert pl.scan_parquet(pinned.files[0]).collect()["name"].to_list() == names
