"""A product that was just scaffolded works as it is, under any id, and nothing is written over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pipeline_helpers import Product, Workshop

from dp_dagster.errors import UsageError
from dp_dagster.scaffold import write_product

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("product_id", ["orders", "null", "true", "no", "y", "e1", "a" * 63])
def test_it_runs(workshop: Workshop, product_id: str) -> None:
    product = Product(workshop, product_id)
    write_product(product.root, product_id)
    run = product.run()
    assert run.published.verdict.decision == "accepted"
    assert product.query(
        f'select customer, orders, total::double from "{product_id}".v0.vw_customers order by 1'
    ) == [
        ("ada", 2, 19.5),
        ("ben", 1, 3.2),
    ]


@pytest.mark.parametrize("product_id", ["Orders", "memory", "a b", "../x", "", "a" * 64, "1st"])
def test_ids_that_are_none(tmp_path: Path, product_id: str) -> None:
    with pytest.raises(UsageError, match="product id"):
        write_product(tmp_path / "new", product_id)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["product.yaml", "README.md", "data/orders.csv"])
def test_nothing_is_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="already"):
        write_product(tmp_path, "orders")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [name]
    assert (tmp_path / name).read_text() == "mine"
