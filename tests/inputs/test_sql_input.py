"""Tables and queries of a PostgreSQL server come in: in full, by a cursor, merged by key."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

if TYPE_CHECKING:
    from input_helpers import Landed, Shop

pytestmark = [pytest.mark.slow, pytest.mark.needs("postgresql")]

UTC = dt.UTC
ORDERS = (
    "create table orders (id int primary key, customer text, price numeric(10,2), at timestamptz)",
    "insert into orders values (1, 'ada', 1.50, '2026-01-01T00:00:00Z'), (2, 'ben', 2.50, '2026-01-02T00:00:00Z')",
)


def test_a_whole_table(shop: Shop, landed: Landed) -> None:
    shop.run(*ORDERS)
    landed.declare({"type": "SQL", "url": shop.url, "table": "orders"})
    assert landed.land().pinned.rows == 2
    assert landed.rows() == [
        (1, "ada", Decimal("1.50"), dt.datetime(2026, 1, 1, tzinfo=UTC)),
        (2, "ben", Decimal("2.50"), dt.datetime(2026, 1, 2, tzinfo=UTC)),
    ]
    types = {column.name: column.type for column in landed.newest.columns}
    assert types == {"id": "int32", "customer": "string", "price": "decimal(10,2)", "at": "timestamp(UTC)"}
    assert landed.land().unchanged
    shop.run("delete from orders where id = 1")
    assert not landed.land().unchanged
    assert landed.rows("id") == [(2,)]


def test_only_what_is_new(shop: Shop, landed: Landed) -> None:
    shop.run(*ORDERS)
    landed.declare({"type": "SQL", "url": shop.url, "table": "orders", "cursor": "id"})
    landed.land()
    assert landed.state == {"cursor": {"type": "int", "value": "2"}}
    shop.run("insert into orders values (3, 'cy', 3, now())")
    outcome = landed.land()
    assert outcome.rows_read == 1
    assert landed.rows("id") == [(1,), (2,), (3,)]
    assert len(landed.newest.files) == 2
    assert landed.land().unchanged


def test_merged_by_key(shop: Shop, landed: Landed) -> None:
    shop.run(*ORDERS)
    landed.declare({"type": "SQL", "url": shop.url, "table": "orders", "cursor": "at", "key": ["id"]})
    landed.land()
    shop.run("update orders set customer = 'Ada', at = '2026-02-01T00:00:00Z' where id = 1")
    landed.land()
    assert landed.rows("id, customer") == [(1, "Ada"), (2, "ben")]
    assert landed.land().unchanged


def test_rows_with_the_same_value_of_the_cursor(shop: Shop, landed: Landed) -> None:
    """Where the database does not hold that it counts up, the last value is read again; equal rows are counted."""
    shop.run(
        "create table events (at timestamp, name text)",
        "insert into events values ('2026-01-01', 'a'), ('2026-01-01', 'a')",
    )
    landed.declare({"type": "SQL", "url": shop.url, "table": "events", "cursor": "at"})
    landed.land()
    shop.run(
        "insert into events values ('2026-01-01', 'a'), ('2026-01-01', 'b'), ('2026-01-02', null), ('2026-01-02', null)"
    )
    assert landed.land().rows_read == 6
    assert landed.rows("name", "name nulls last") == [("a",), ("a",), ("a",), ("b",), (None,), (None,)]
    assert landed.land().unchanged


def test_rows_whose_transaction_commits_late(shop: Shop, landed: Landed) -> None:
    shop.run(*ORDERS)
    landed.declare({"type": "SQL", "url": shop.url, "table": "orders", "cursor": "id", "overlap": 100})
    with shop.engine.connect() as late:
        late.execute(sa.text("insert into orders values (3, 'late', 3, now())"))
        shop.run("insert into orders values (4, 'early', 4, now())")
        landed.land()
        assert landed.rows("id") == [(1,), (2,), (4,)]
        late.commit()
    shop.run("update orders set customer = 'changed' where id = 1")
    landed.land()
    assert landed.rows("id, customer") == [(1, "ada"), (2, "ben"), (3, "late"), (4, "early")]
    assert landed.land().unchanged
