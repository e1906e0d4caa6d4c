"""A new product's folder: small, and it works as it is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dp_dagster.descriptor.names import id_fault
from dp_dagster.errors import UsageError
from dp_dagster.settings import FILE_NAME, Settings

if TYPE_CHECKING:
    from pathlib import Path

_DESCRIPTOR = """\
api_version: dp_dagster/v1
product_id: "{id}"
name: "{title}"
version: 0.1.0
domain: example
owner: {{team: "{id}-team", email: "{id}@example.com"}}
description: |
  Orders by customer.

  Made by `dg scaffold defs`; replace the file, the query and the contract by your own.
status: draft
refresh_rate: daily

input_ports:
  - name: orders
    type: FILES
    path: data/orders.csv
    description: One row for each order.

transforms:
  - name: customer_totals
    type: SQL
    path: transforms/customer_totals.sql

datasets:
  - name: customers
    from: customer_totals
    contract: contracts/customers.py:Customers
    key: [customer]
    description: One row for each customer who ordered.

output_ports:
  - name: vw_customers
    type: SQL
    dataset: customers
"""

_ORDERS = """\
order_id,customer,amount
1,ada,12.50
2,ben,3.20
3,ada,7.00
"""

_QUERY = """\
select
    customer,
    count(*)::bigint as orders,
    sum(amount)::decimal(18, 2) as total
from orders
group by customer
"""

_CONTRACT = '''\
"""What consumers of customers may rely on."""

from typing import Annotated

import pandera.polars as pa
import polars as pl


class Customers(pa.DataFrameModel):
    """One row for each customer who ordered."""

    customer: str = pa.Field(unique=True, description="Name of the customer.", metadata={"classification": "pii"})
    orders: int = pa.Field(ge=1, description="Number of orders.")
    total: Annotated[pl.Decimal, 18, 2] = pa.Field(ge=0, description="Sum of all orders.")

    class Config:
        """How strictly the contract is read."""

        strict = True
'''

_DEFINITIONS = '''\
"""The code location of this product."""

from dp_dagster import load_product

defs = load_product(__file__)
'''

_README = """\
# {title}

Run it with `dp run {id}`, then `dp sql "select * from {id}.v0.vw_customers"`.
"""


_SETTINGS = """\
# Where products are, and where their data goes (a folder of this project).
products = ["{products}/*"]
storage = "data"
"""


def product_id_of(name: str) -> str:
    """An id made of a folder's name: ``my-product`` gives ``my_product``."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def write_settings(project: Path, product: Path) -> None:
    """Write the project's settings, so that ``dp`` and Dagster find the same products and data.

    A project that has settings keeps them.

    Args:
        project: Its root.
        product: A product's folder in it.
    """
    root, folder = project.resolve(), product.resolve()
    # Without settings, the folder that was asked for stands for the project.
    if folder.is_relative_to(root) and Settings.load(folder).project_root == folder:
        products = folder.parent.relative_to(root).as_posix()
        (root / FILE_NAME).write_text(_SETTINGS.format(products=products), encoding="utf-8")


def write_product(folder: Path, product_id: str) -> None:
    """Write a product that runs: data, query, contract, descriptor.

    Raises:
        UsageError: the id is not fit to be one, or the folder holds a product already; nothing is written.
    """
    fault = id_fault(product_id, product=True)
    if fault is not None:
        raise UsageError(f"product id {product_id!r} {fault[0]}; {fault[1]}")
    if (folder / "product.yaml").exists():
        raise UsageError(f"{folder} holds a product already; choose another name")
    title = product_id.replace("_", " ").capitalize()
    files = {
        "product.yaml": _DESCRIPTOR.format(id=product_id, title=title),
        "data/orders.csv": _ORDERS,
        "transforms/customer_totals.sql": _QUERY,
        "contracts/customers.py": _CONTRACT,
        "definitions.py": _DEFINITIONS,
        "README.md": _README.format(id=product_id, title=title),
    }
    taken = [name for name in files if (folder / name).exists()]
    if taken:
        raise UsageError(f"{folder} holds {', '.join(taken)} already; choose another name, or move them away")
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
