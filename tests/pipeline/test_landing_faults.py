"""Files that are malformed, change while they are read, or break the input's contract: nothing of them is read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_step import CSV, EXPECTED, fails_to_land, landed_rows, parquet, reads, zipped
from pipeline_helpers import ANYTHING, ROWS, Workshop, rows

from dp_dagster.errors import (
    ContractViolationError,
    DataProductError,
    InputError,
)
from dp_dagster.pipeline import land_input, publish_dataset, run_transform
from dp_dagster.ports.inputs.files import FilesInput

if TYPE_CHECKING:
    from pathlib import Path

    from dp_dagster.ports.base import InputContext


# -- what is malformed ----------------------------------------------------------------------------------------


def test_a_value_of_the_wrong_type_is_named_with_its_line(workshop: Workshop) -> None:
    lines = ["name,amount", *(f"n{number},{number}" for number in range(30_000)), "zoe,many", "end,1"]
    product = reads(
        workshop,
        "inputs/a.csv",
        {"inputs/a.csv": "\n".join(lines), "contracts/in.py": ROWS},
        contract="contracts/in.py:Rows",
    )
    fails_to_land(product, "inputs/a.csv", "30002", "zoe,many", '"amount"')


def test_a_late_surprise_is_no_error_where_nothing_was_declared(workshop: Workshop) -> None:
    lines = ["name,amount", *(f"n{number},{number}" for number in range(30_000)), "zoe,many"]
    product = reads(workshop, "inputs/a.csv", {"inputs/a.csv": "\n".join(lines)})
    assert landed_rows(product)[-1] == ("zoe", "many")


def test_a_late_surprise_beside_declared_types(workshop: Workshop) -> None:
    lines = ["name,amount", *(f"n{number},{number}" for number in range(30_000)), "zoe,many"]
    product = reads(workshop, "inputs/a.csv", {"inputs/a.csv": "\n".join(lines)}, types={"name": "VARCHAR"})
    assert landed_rows(product)[-1] == ("zoe", "many")


@pytest.mark.parametrize("count", [1, 40_000])
@pytest.mark.parametrize(("bad", "found"), [("ben,2,3", 3), ("ben", 1)])
@pytest.mark.parametrize("declared", [True, False], ids=["types", "no types"])
def test_a_row_of_the_wrong_width_is_named_with_its_line(
    workshop: Workshop, count: int, bad: str, found: int, *, declared: bool
) -> None:
    lines = ["name,amount", *(f"n{number},{number}" for number in range(count)), bad, "end,1"]
    product = reads(
        workshop,
        "inputs/a.csv",
        {"inputs/a.csv": "\n".join(lines)},
        **({"types": {"name": "VARCHAR", "amount": "BIGINT"}} if declared else {}),
    )
    fails_to_land(product, "a.csv", f"Line: {count + 2}", bad, f"Found: {found}")


def test_lines_before_the_header(workshop: Workshop) -> None:
    text = "Sales of today\n\nname,amount\nada,1\nben,2\n"
    product = reads(workshop, "inputs/a.csv", {"inputs/a.csv": text})
    fails_to_land(product, "Line: 3")
    assert landed_rows(reads(workshop, "inputs/a.csv", {}, skip=2)) == EXPECTED


def test_what_looks_like_a_comment_is_data(workshop: Workshop) -> None:
    text = "name,amount\n#ada,1\nben,2\n# cy,3\n"
    product = reads(workshop, "inputs/a.csv", {"inputs/a.csv": text})
    assert landed_rows(product) == [("# cy", 3), ("#ada", 1), ("ben", 2)]


def test_without_a_header(workshop: Workshop) -> None:
    product = reads(workshop, "inputs/a.csv", {"inputs/a.csv": "ada;1\nben;2\n"}, header=False)
    assert landed_rows(product) == EXPECTED


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("a.csv", b"name,amount\nad\xe9,1\n", "not utf-8"),
        ("a.json", b'[{"name": "ada"', "a.json"),
        ("a.ndjson", b'{"name": "ada"}\n{"name": \n', "a.ndjson"),
        ("a.csv.gz", b"no gzip at all", "a.csv.gz"),
        ("a.csv.zip", b"no zip at all", "a.csv.zip cannot be unpacked: File is not a zip file"),
        ("a.csv.zip", zipped(a__csv=CSV, b__csv=CSV), "holds 2 files (a.csv, b.csv)"),
        ("a.csv.zip", zipped(), "holds 0 files"),
        ("a.csv.xz", b"no xz at all", "a.csv.xz cannot be unpacked"),
        ("a.csv.bz2", b"no bz2 at all", "a.csv.bz2 cannot be unpacked"),
        ("a.csv", b"", "a.csv: the file is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "bytes",
)
def test_damaged_files(workshop: Workshop, name: str, content: bytes, fragment: str) -> None:
    fails_to_land(reads(workshop, f"inputs/{name}", {f"inputs/{name}": content}), fragment)


def test_damaged_parquet_that_is_landed(workshop: Workshop) -> None:
    product = reads(
        workshop,
        "inputs/a.parquet",
        {"inputs/a.parquet": b"PAR1 not really", "contracts/in.py": ANYTHING},
        contract="contracts/in.py:Rows",
    )
    fails_to_land(product, "inputs/a.parquet")


def test_a_header_alone_is_a_version_without_rows(workshop: Workshop) -> None:
    product = reads(workshop, "inputs/a.csv", {"inputs/a.csv": "name,amount\n"})
    assert landed_rows(product) == []
    newest = product.landed("source").newest()
    assert newest is not None
    assert [column.name for column in newest.columns] == ["name", "amount"]


@pytest.mark.parametrize("path", ["inputs/none.csv", "inputs/none*.csv"])
def test_nothing_there(workshop: Workshop, path: str) -> None:
    product = reads(workshop, path, {})
    with pytest.raises(InputError, match="no file at inputs/none"):
        land_input(product.session(), "source")


def test_a_symbolic_link_out_of_the_folder_that_a_pattern_finds(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_bytes(CSV)
    product = reads(workshop, "inputs/part*.csv", {})
    (product.root / "inputs/part1.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(InputError, match=r"part1.csv leads out of the product's folder"):
        land_input(product.session(), "source")


# -- changing while it is read ------------------------------------------------------------------------------


def test_a_file_that_changes_while_it_is_landed(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    product = workshop.product()
    write = FilesInput.write

    def slow(self: FilesInput, config: Any, context: InputContext, *rest: Any) -> None:
        write(self, config, context, *rest)
        product.write({"inputs/source.csv": "name,amount\nada,1\nben,2\ncy,3\n"})

    monkeypatch.setattr(FilesInput, "write", slow)
    with pytest.raises(InputError, match=r"inputs/source.csv changed while it was being read; run it again"):
        land_input(product.session(), "source")
    assert not product.landed("source").exists()
    assert product.leftovers() == []
    monkeypatch.undo()
    assert len(landed_rows(product)) == 3


def test_a_parquet_file_that_changes_during_the_run(workshop: Workshop, tmp_path: Path) -> None:
    product = reads(workshop, "inputs/a.parquet", {"inputs/a.parquet": parquet(tmp_path)})
    session = product.session()
    land_input(session, "source")
    product.write({"inputs/a.parquet": parquet(tmp_path, {"name": ["cy"], "amount": [3]})})
    with pytest.raises(InputError, match="changed while the run was reading it"):
        publish_dataset(session, "rows")
    assert not product.table().exists()
    assert product.leftovers() == []


def test_a_parquet_file_that_changes_during_a_kept_transform(workshop: Workshop, tmp_path: Path) -> None:
    product = workshop.product(
        files={"inputs/a.parquet": parquet(tmp_path)},
        input_ports=[{"name": "source", "type": "FILES", "path": "inputs/a.parquet"}],
        transforms=[
            {"name": "chosen", "type": "SQL", "path": "transforms/chosen.sql", "materialized": "table"}
        ],
    )

    session = product.session()
    land_input(session, "source")
    os.utime(product.root / "inputs/a.parquet", (1, 1))
    with pytest.raises(InputError, match="changed while the run was reading it"):
        run_transform(session, "chosen")
    assert not product.kept("chosen").exists()


# -- the door -----------------------------------------------------------------------------------------------


def test_an_input_contract_stops_bad_data_and_the_last_good_stays(workshop: Workshop) -> None:
    product = workshop.product(
        files={"contracts/in.py": ROWS},
        input_ports=[
            {
                "name": "source",
                "type": "FILES",
                "path": "inputs/source.csv",
                "contract": "contracts/in.py:Rows",
            }
        ],
    )
    product.run()
    product.write({"inputs/source.csv": "name,amount\nada,-1\n"})
    session = product.session()
    outcome = land_input(session, "source")
    assert outcome.pinned is None
    assert outcome.verdict is not None
    assert outcome.verdict.decision == "held"
    with pytest.raises(ContractViolationError, match="small/input/source held: "):
        product.run()
    # A dataset alone reads the last good version.
    published = publish_dataset(product.session(), "rows")
    assert published.snapshot is not None
    assert rows(published.snapshot) == EXPECTED
    kinds = [record.kind for record in session.records.query(product="small", subject="input/source")]
    assert kinds.count("held") == 2
    assert product.leftovers() == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(
            st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda name: name.strip().casefold(),
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), min_size=1),
)
def test_whatever_a_csv_holds_is_data(workshop: Workshop, values: list[str], name: str) -> None:
    """Quotes, SQL and line ends in names and values: they come out as they went in, or are refused."""

    def field(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    lines = [f"{field(name)},n", *(f"{field(value)},{number}" for number, value in enumerate(values))]
    product = reads(
        workshop, "inputs/a.csv", {"inputs/a.csv": "\n".join(lines)}, delimiter=",", types={"n": "INTEGER"}
    )
    try:
        pinned = land_input(product.session(), "source").pinned
    except DataProductError:
        return
    assert pinned is not None
    found = pl.read_parquet(list(pinned.files))
    assert found.height == len(values)
    assert found["n"].to_list() == list(range(len(values)))
