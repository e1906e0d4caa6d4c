"""Files come in: every format and place, once for each change, and nothing malformed or half-written."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import fsspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline_helpers import ANYTHING, ROWS, Workshop, rows

from dp_dagster.errors import ContractViolationError, DataProductError, InputError, StoreError
from dp_dagster.pipeline import land_input, publish_dataset
from dp_dagster.ports.inputs.files import FilesConfig, FilesInput

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline_helpers import Product

    from dp_dagster.ports.base import InputContext

CSV = b"name,amount\nada,1\nben,2\n"
EXPECTED = [("ada", 1), ("ben", 2)]


def parquet(folder: Path, data: dict[str, Any] | None = None) -> bytes:
    file = folder / "made.parquet"
    pl.DataFrame(data or {"name": ["ada", "ben"], "amount": [1, 2]}).write_parquet(file)
    return file.read_bytes()


def zipped(**members: bytes) -> bytes:
    import io

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return packed.getvalue()


def reads(workshop: Workshop, path: str, files: dict[str, str | bytes], **options: Any) -> Product:
    return workshop.product(
        files=files,
        contract=options.pop("product_contract", ANYTHING),
        input_ports=[{"name": "source", "type": "FILES", "path": path, **options}],
    )


def landed_rows(product: Product) -> list[tuple[Any, ...]]:
    pinned = land_input(product.session(), "source").pinned
    assert pinned is not None
    return rows(pinned)


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


# -- what is malformed ----------------------------------------------------------------------------------------


def fails(product: Product, *fragments: str) -> str:
    with pytest.raises(InputError) as raised:
        land_input(product.session(), "source")
    text = str(raised.value)
    assert text.startswith("small/input/source: ")
    for fragment in fragments:
        assert fragment in text
    assert "/tmp/" not in text
    assert "\n" not in text
    assert not product.landed("source").exists()
    assert product.leftovers() == []
    return text


def test_a_value_of_the_wrong_type_is_named_with_its_line(workshop: Workshop) -> None:
    lines = ["name,amount", *(f"n{number},{number}" for number in range(30_000)), "zoe,many", "end,1"]
    product = reads(
        workshop,
        "inputs/a.csv",
        {"inputs/a.csv": "\n".join(lines), "contracts/in.py": ROWS},
        contract="contracts/in.py:Rows",
    )
    fails(product, "inputs/a.csv", "30002", "zoe,many", '"amount"')


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
    fails(product, "a.csv", f"Line: {count + 2}", bad, f"Found: {found}")


def test_lines_before_the_header(workshop: Workshop) -> None:
    text = "Sales of today\n\nname,amount\nada,1\nben,2\n"
    product = reads(workshop, "inputs/a.csv", {"inputs/a.csv": text})
    fails(product, "Line: 3")
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
    fails(reads(workshop, f"inputs/{name}", {f"inputs/{name}": content}), fragment)


def test_damaged_parquet_that_is_landed(workshop: Workshop) -> None:
    product = reads(
        workshop,
        "inputs/a.parquet",
        {"inputs/a.parquet": b"PAR1 not really", "contracts/in.py": ANYTHING},
        contract="contracts/in.py:Rows",
    )
    fails(product, "inputs/a.parquet")


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


# -- types ----------------------------------------------------------------------------------------------------


def types_of(product: Product) -> dict[str, str]:
    land_input(product.session(), "source")
    newest = product.landed("source").newest()
    assert newest is not None
    return {column.name: column.type for column in newest.columns}


def test_declared_types_of_a_csv(workshop: Workshop) -> None:
    product = reads(
        workshop,
        "inputs/a.csv",
        {"inputs/a.csv": "Name,zip,absent\nada,01234,x\n"},
        types={"zip": "VARCHAR", "name": "VARCHAR", "not_there": "INTEGER"},
    )
    assert types_of(product) == {"Name": "string", "zip": "string", "absent": "string"}
    newest = product.landed("source").newest()
    assert newest is not None
    assert rows(newest) == [("ada", "01234", "x")]


def test_declared_types_of_json(workshop: Workshop) -> None:
    product = reads(
        workshop,
        "inputs/a.json",
        {"inputs/a.json": '[{"zip": "01234", "amount": 1, "tags": ["x"]}]'},
        types={"amount": "DECIMAL(10,2)", "not_there": "INTEGER"},
    )
    assert types_of(product) == {"zip": "string", "amount": "decimal(10,2)", "tags": "list<string>"}


def test_types_come_from_the_contract(workshop: Workshop) -> None:
    contract = (
        "import pandera.polars as pa\n"
        "import polars as pl\n"
        "Rows = pa.DataFrameSchema({'zip': pa.Column(str), 'at': pa.Column(pl.Date), "
        "'n': pa.Column(pl.Int32)})\n"
    )
    product = reads(
        workshop,
        "inputs/a.csv",
        {"inputs/a.csv": "zip,at,n\n01234,2026-01-02,5\n", "contracts/in.py": contract},
        contract="contracts/in.py:Rows",
    )
    assert types_of(product) == {"zip": "string", "at": "date", "n": "int32"}


def test_a_time_of_day_that_was_found_by_looking_stays_text(workshop: Workshop) -> None:
    product = reads(workshop, "inputs/a.csv", {"inputs/a.csv": "at,n\n09:30:00,1\n10:00:00,2\n"})
    assert types_of(product) == {"at": "string", "n": "int64"}
    newest = product.landed("source").newest()
    assert newest is not None
    assert rows(newest) == [("09:30:00", 1), ("10:00:00", 2)]


def test_a_declared_type_that_cannot_be_stored(workshop: Workshop) -> None:
    product = reads(workshop, "inputs/a.csv", {"inputs/a.csv": "at\n09:30:00\n"}, types={"at": "TIME"})
    fails(product, "column at has type TIME, which cannot be stored; cast it to VARCHAR")


def test_a_type_that_does_not_exist(workshop: Workshop) -> None:
    product = reads(workshop, "inputs/a.csv", {"inputs/a.csv": "at\n1\n"}, types={"at": "NUMBERISH"})
    fails(product, "NUMBERISH")


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
    from dp_dagster.pipeline import run_transform

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
