"""Shared by the tests of contracts: small products, contracts from source text, files from rows."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from dp_dagster.contracts.load import load_contract
from dp_dagster.contracts.model import Column, Contract, Rule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl

HEADER = """
import datetime
from decimal import Decimal
from typing import Optional
import pandera.polars as pa
import polars as pl
from dp_dagster.contracts import row_check
"""


def write_source(root: Path, source: str, file: str = "contracts/made.py", *, header: bool = True) -> Path:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((HEADER if header else "") + textwrap.dedent(source), encoding="utf-8")
    return path


def compiled(root: Path, source: str, name: str = "Made", **options) -> Contract:
    write_source(root, source, **options)
    return load_contract(f"contracts/made.py:{name}", product_root=root)


def model_with(fields: str, config: str = "strict = True") -> str:
    body = textwrap.indent(textwrap.dedent(fields).strip(), "    ")
    return f"class Made(pa.DataFrameModel):\n{body}\n\n    class Config:\n        {config}\n"


def parquet(path: Path, data: pl.DataFrame) -> str:
    data.write_parquet(path)
    return str(path)


def contract_of(types: dict[str, str], rules: Sequence[Rule], key: tuple[str, ...] = ()) -> Contract:
    return Contract(
        name="made",
        hash="0",
        format="pandera",
        source="contracts/made.py:Made",
        columns=tuple(Column(name, kind) for name, kind in types.items()),
        rules=tuple(rules),
        key=key,
    )
