"""Products of which a test looks at one step: landing a file, or running a transform."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from pipeline_helpers import ANYTHING, Workshop, rows

from dp_dagster.errors import (
    InputError,
    TransformError,
)
from dp_dagster.pipeline import land_input, run_transform

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline_helpers import Product


CSV = b"name,amount\nada,1\nben,2\n"
EXPECTED = [("ada", 1), ("ben", 2)]


def parquet(folder: Path, data: dict[str, Any] | None = None) -> bytes:
    file = folder / "made.parquet"
    pl.DataFrame(data or {"name": ["ada", "ben"], "amount": [1, 2]}).write_parquet(file)
    return file.read_bytes()


def zipped(**members: bytes) -> bytes:
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


def fails_to_land(product: Product, *fragments: str) -> str:
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


def sql(workshop: Workshop, query: str, materialized: str = "view", contract: str = ANYTHING) -> Product:
    return workshop.product(
        files={"transforms/chosen.sql": query},
        contract=contract,
        transforms=[
            {"name": "chosen", "type": "SQL", "path": "transforms/chosen.sql", "materialized": materialized}
        ],
    )


def python(workshop: Workshop, body: str, files: dict[str, str | bytes] | None = None) -> Product:
    return workshop.product(
        files={"transforms/chosen.py": body, **(files or {})},
        contract=ANYTHING,
        transforms=[
            {
                "name": "chosen",
                "type": "PYTHON",
                "function": "transforms/chosen.py:chosen",
                "inputs": ["source"],
            }
        ],
    )


def failure(product: Product) -> str:
    session = product.session()
    land_input(session, "source")
    with pytest.raises(TransformError) as raised:
        run_transform(session, "chosen")
    assert not product.kept("chosen").exists()
    assert product.leftovers() == []
    return str(raised.value)
