"""The table of consumers against the policy and the masks alone; the suites of ports go on from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from ruamel.yaml import YAML

from dp_dagster.access.masks import Masks
from dp_dagster.engines.duckdb import prepare
from dp_dagster.predicates.sql import to_sql
from dp_dagster.testing.access import ACCESS, COLUMNS, CONSUMERS, CONTRACT, DATASET, MASK_SECRET, ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from access_helpers import People

    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.testing.access import Consumer


@pytest.fixture
def product(people: People) -> ResolvedProduct:
    (people.root / "contracts/people.py").write_text(CONTRACT)
    descriptor = {
        "product_id": "people",
        "version": "2.0.0",
        "input_ports": [{"name": "raw", "type": "FILES", "path": "raw.csv"}],
        "datasets": [{"name": DATASET, "from": "raw", "contract": "contracts/people.py:People"}],
        "access": ACCESS,
    }
    path = people.root / "plain.yaml"
    with path.open("w") as stream:
        YAML().dump(descriptor, stream)
    return people.resolve(path.read_text())


@pytest.fixture(scope="module")
def table() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        prepare(connection)
        types = "id bigint, name varchar, email varchar, salary decimal(10,2), region varchar, joined date"
        connection.execute(f"create table people ({types})")
        connection.executemany("insert into people values (?, ?, ?, ?, ?, ?)", ROWS)
        yield connection


@pytest.mark.parametrize("consumer", CONSUMERS, ids=lambda one: one.name)
def test_each_consumer_sees_what_the_table_says(
    product: ResolvedProduct, table: duckdb.DuckDBPyConnection, consumer: Consumer
) -> None:
    view = product.access.view(DATASET, consumer.identity)
    if view is None:
        assert not consumer.sees_something
        return
    assert (view.columns, frozenset(view.masks)) == (consumer.columns, consumer.masked)
    assert view.clear == frozenset(consumer.clear)
    guarded = product.access.datasets[DATASET]
    condition = to_sql(view.rows, guarded.types, "duckdb")
    masks = Masks(MASK_SECRET.encode())
    names = ", ".join(view.columns)
    rows = table.execute(
        f"select {names} from people where {condition.text} order by id", condition.parameters
    ).fetchall()
    mask: Any = masks.row_function(view, view.columns) or tuple
    assert tuple(mask(row) for row in rows) == consumer.rows


def test_the_table_is_worth_its_name() -> None:
    """It has consumers who see nothing, everything, a part, and masks of every kind."""
    assert {len(consumer.rows) for consumer in CONSUMERS} >= {0, 1, 2, 4, 5}
    assert {consumer.sees_something for consumer in CONSUMERS} == {True, False}
    assert any(set(consumer.columns) == set(COLUMNS) and not consumer.masked for consumer in CONSUMERS)
    assert any(consumer.hidden and consumer.masked for consumer in CONSUMERS)
