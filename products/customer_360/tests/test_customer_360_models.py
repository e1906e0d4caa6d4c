"""The dbt models of `customer_360`, built by a real dbt on a small shop made by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

DBT_PROJECT = Path(__file__).resolve().parents[3] / "dbt_project"

CUSTOMERS = [("ada", "Ada Lovelace "), ("bob", "Bob Sample"), ("eve", "Eve Sample")]
STORES = [("s1", "Philadelphia", "2018-09-01", 0.1), ("s2", "Brooklyn", "2019-03-12", 0.1)]
PRODUCTS = [
    ("JAF-001", "stew ", "jaffle", 1100, "beef"),
    ("BEV-001", "juice", "beverage", 500, "mango"),
    ("BEV-002", "chai", "beverage", 500, "oat"),
]
# Bob likes juice and chai alike, and had chai last. Eve placed one order and took nothing.
ORDERS = [
    ("o1", "ada", "2018-09-01 09:00", "s1", 1600, 160, 1760),
    ("o2", "ada", "2019-04-01 09:00", "s2", 1100, 110, 1210),
    ("o3", "ada", "2019-04-02 09:00", "s2", 0, 0, 0),
    ("o4", "bob", "2018-09-03 09:00", "s1", 500, 50, 550),
    ("o5", "bob", "2018-09-04 09:00", "s1", 500, 50, 550),
    ("o6", "eve", "2018-09-05 09:00", "s1", 0, 0, 0),
]
ITEMS = [
    ("i1", "o1", "JAF-001"),
    ("i2", "o1", "BEV-001"),
    ("i3", "o2", "JAF-001"),
    ("i4", "o4", "BEV-001"),
    ("i5", "o5", "BEV-002"),
]
TWEETS = [("t1", "ada", "2018-09-01 09:10", "yum"), ("t2", "ada", "2019-04-01 09:20", "yum")]
COLUMNS = {
    "customers": "id varchar, name varchar",
    "stores": "id varchar, name varchar, opened_at timestamp, tax_rate double",
    "products": "sku varchar, name varchar, type varchar, price bigint, description varchar",
    "orders": "id varchar, customer varchar, ordered_at timestamp, store_id varchar, subtotal bigint, "
    "tax_paid bigint, order_total bigint",
    "items": "id varchar, order_id varchar, sku varchar",
    "tweets": "id varchar, user_id varchar, tweeted_at timestamp, content varchar",
}


@dataclass
class Shop:
    """A shop whose files dbt is to read: table to rows."""

    folder: Path
    rows: dict[str, list[tuple[Any, ...]]] = field(
        default_factory=lambda: {
            "customers": list(CUSTOMERS),
            "stores": list(STORES),
            "products": list(PRODUCTS),
            "orders": list(ORDERS),
            "items": list(ITEMS),
            "tweets": list(TWEETS),
        }
    )

    @property
    def database(self) -> Path:
        """The work database."""
        return self.folder / "work.duckdb"

    def build(self) -> dict[str, str]:
        """Run ``dbt build``; gives the status of each model and test by its name."""
        with duckdb.connect(str(self.database)) as connection:
            connection.execute("create schema input")
            for table, rows in self.rows.items():
                connection.execute(f"create table input.raw_{table} ({COLUMNS[table]})")
                marks = ", ".join("?" for _ in COLUMNS[table].split(","))
                if rows:
                    connection.executemany(f"insert into input.raw_{table} values ({marks})", rows)
        subprocess.run(
            [sys.executable, "-m", "dbt.cli.main", "build", "--no-use-colors"],
            cwd=DBT_PROJECT,
            env={
                **os.environ,
                "DP_PRODUCT": "customer_360",
                "DP_WORK_DATABASE": str(self.database),
                "DBT_TARGET_PATH": str(self.folder / "target"),
                "DBT_LOG_PATH": str(self.folder / "logs"),
                "DBT_PROFILES_DIR": str(DBT_PROJECT),
            },
            capture_output=True,
            check=False,
        )
        results = json.loads((self.folder / "target" / "run_results.json").read_text())["results"]
        return {result["unique_id"].split(".")[2]: result["status"] for result in results}

    def profiles(self) -> dict[str, dict[str, Any]]:
        """The mart, by customer."""
        with duckdb.connect(str(self.database), read_only=True) as connection:
            rows = connection.sql("from customer_profiles").pl().to_dicts()
        return {row["customer_id"]: row for row in rows}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """The small shop."""
    return Shop(tmp_path)


@pytest.mark.slow
def test_profiles_of_a_small_shop(shop: Shop) -> None:
    """Sums, first and last order, favourite with its tie, and the customer who took nothing."""
    statuses = shop.build()
    warned = {name for name, status in statuses.items() if status not in {"success", "pass"}}
    assert warned == {"row_expression_stg_orders_hold_items"}

    profiles = shop.profiles()
    assert profiles["ada"] == {
        "customer_id": "ada",
        "name": "Ada Lovelace",
        "home_store": "Brooklyn",
        "first_ordered_at": datetime(2018, 9, 1, 9),  # noqa: DTZ001 - the clock of the store
        "last_ordered_at": datetime(2019, 4, 2, 9),  # noqa: DTZ001 - the clock of the store
        "number_of_orders": 3,
        "number_of_items": 3,
        "lifetime_value": Decimal("29.70"),
        "lifetime_tax": Decimal("2.70"),
        "average_order_value": Decimal("9.90"),
        "favourite_product": "stew",
        "favourite_product_share": pytest.approx(2 / 3),
        "number_of_tweets": 2,
    }
    assert profiles["bob"]["favourite_product"] == "chai"
    assert profiles["bob"]["number_of_tweets"] == 0
    assert profiles["eve"]["number_of_orders"] == 1
    assert profiles["eve"]["lifetime_value"] == 0
    assert profiles["eve"]["favourite_product"] is None
    assert profiles["eve"]["favourite_product_share"] is None


@pytest.mark.slow
def test_bad_files_are_found_by_dbt_tests(shop: Shop) -> None:
    """A total that does not add up, an item of no order, a customer twice: each fails its own test."""
    shop.rows["orders"].append(("o7", "bob", "2018-09-06 09:00", "s1", 500, 50, 551))
    shop.rows["items"].append(("i6", "o99", "BEV-001"))
    shop.rows["customers"].append(("ada", "Ada Twice"))
    failed = {name for name, status in shop.build().items() if status in {"fail", "error"}}
    assert failed == {
        "row_expression_stg_orders_order_total_subtotal_tax_paid",
        "relationships_stg_items_order_id__order_id__ref_stg_orders_",
        "unique_stg_customers_customer_id",
    }
