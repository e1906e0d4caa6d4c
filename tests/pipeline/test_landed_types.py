"""Types of landed columns: declared, from the contract, or found by looking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from one_step import fails_to_land, reads
from pipeline_helpers import Workshop, rows

from dp_dagster.pipeline import land_input

if TYPE_CHECKING:
    from pipeline_helpers import Product


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
    fails_to_land(product, "column at has type TIME, which cannot be stored; cast it to VARCHAR")


def test_a_type_that_does_not_exist(workshop: Workshop) -> None:
    product = reads(workshop, "inputs/a.csv", {"inputs/a.csv": "at\n1\n"}, types={"at": "NUMBERISH"})
    fails_to_land(product, "NUMBERISH")
