"""Products that read products: one version for the whole run, on record; and a door that cannot be walked around."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from pipeline_helpers import ROWS, Workshop, rows

from dp_dagster.errors import ContractViolationError, InputError
from dp_dagster.pipeline import land_input, publish_dataset, run_transform
from dp_dagster.pipeline.rollback import roll_back
from dp_dagster.ports.base import Pinned
from dp_dagster.storage.manifest import consumers

if TYPE_CHECKING:
    from pipeline_helpers import Product

NEW = "name,amount\ncy,3\n"


def consumer(workshop: Workshop, *, contract: str | None = None, **changes: Any) -> Product:
    port: dict[str, Any] = {"name": "source", "type": "PRODUCT", "port": "producer.vw_rows@1"}
    if contract is not None:
        port["contract"] = "contracts/in.py:Rows"
    return workshop.product(
        "consumer",
        files={"contracts/in.py": contract or ROWS},
        input_ports=[port],
        **changes,
    )


def upstream_of(product: Product, version: int | None = None) -> dict[str, Any]:
    table = product.table()
    snapshot = table.newest() if version is None else table.snapshot(version)
    assert snapshot is not None
    upstream: dict[str, Any] = json.loads(snapshot.metadata["dp.upstream"])
    return upstream


@pytest.fixture
def producer(workshop: Workshop) -> Product:
    made = workshop.product("producer")
    made.run()
    return made


def test_one_version_for_the_whole_run(workshop: Workshop, producer: Product) -> None:
    product = consumer(workshop)
    session = product.session()
    land_input(session, "source")
    producer.write({"inputs/source.csv": NEW})
    producer.run()
    run_transform(session, "chosen")
    published = publish_dataset(session, "rows").snapshot
    assert published is not None
    assert rows(published) == [("ada", 1), ("ben", 2)]
    source = upstream_of(product)["source"]
    assert (source["product"], source["port"], source["major"], source["version"]) == (
        "producer",
        "vw_rows",
        1,
        0,
    )
    assert source["product_version"] == "1.0.0"
    assert source["rows"] == 2
    product.run()
    assert upstream_of(product)["source"]["version"] == 1
    assert rows(product.table().newest()) == [("cy", 3)]
    # Which version of the upstream made which version of the downstream, for all of them.
    assert [upstream_of(product, version)["source"]["version"] for version in (0, 1)] == [0, 1]


def test_nothing_is_copied(workshop: Workshop, producer: Product) -> None:
    pinned = land_input(consumer(workshop).session(), "source").pinned
    newest = producer.table().newest()
    assert pinned is not None
    assert newest is not None
    assert pinned.files == newest.files
    assert not consumer(workshop).landed("source").exists()


def test_the_consumer_registers(workshop: Workshop, producer: Product) -> None:
    product = consumer(workshop, contract=ROWS)
    product.run()
    product.run()
    (registration,) = consumers(workshop.storage, "producer")
    assert (registration.consumer, registration.input, registration.port, registration.major) == (
        "consumer",
        "source",
        "vw_rows",
        1,
    )
    assert registration.columns == ("name", "amount")
    assert registration.rules is not None
    assert {rule.kind for rule in registration.rules} >= {"not_null"}
    assert not {rule.kind for rule in registration.rules} & {"columns", "type"}


def test_a_rollback_of_the_producer_reaches_the_consumer(workshop: Workshop, producer: Product) -> None:
    producer.write({"inputs/source.csv": NEW})
    producer.run()
    product = consumer(workshop)
    product.run()
    roll_back(producer.session(), "rows", 0)
    assert rows(product.run().published.snapshot) == [("ada", 1), ("ben", 2)]
    assert upstream_of(product)["source"]["version"] == 2


def test_nothing_published_yet(workshop: Workshop) -> None:
    workshop.product("producer")
    with pytest.raises(
        InputError, match=r"product producer has published nothing .*; run it first: dp run producer"
    ):
        consumer(workshop).run()


def test_a_port_that_is_not_there(workshop: Workshop, producer: Product) -> None:
    product = workshop.product(
        "consumer", input_ports=[{"name": "source", "type": "PRODUCT", "port": "producer.vw_other@2"}]
    )
    with pytest.raises(InputError, match="has no output port vw_other@2; it has vw_rows@1"):
        product.run()


def test_the_consumers_own_contract_holds_at_the_door(workshop: Workshop, producer: Product) -> None:
    product = consumer(workshop, contract=ROWS.replace("ge(0)", "le(2)"))
    product.run()
    producer.write({"inputs/source.csv": NEW})
    producer.run()
    with pytest.raises(ContractViolationError, match="consumer/input/source held"):
        product.run()
    # Nor by materialising what lies behind the door alone.
    with pytest.raises(ContractViolationError, match="consumer/input/source held"):
        publish_dataset(product.session(), "rows")
    with pytest.raises(ContractViolationError, match="consumer/input/source held"):
        run_transform(product.session(), "chosen")
    assert product.query("from consumer.v1.vw_rows") == [("ada", 1), ("ben", 2)]
    assert product.leftovers() == []


# -- what was made from what --------------------------------------------------------------------------------


def kept_consumer(workshop: Workshop, query: str = "from halfway") -> Product:
    product = consumer(
        workshop,
        transforms=[
            {"name": "halfway", "type": "SQL", "path": "transforms/halfway.sql", "materialized": "table"},
            {"name": "chosen", "type": "SQL", "path": "transforms/chosen.sql"},
        ],
    )
    product.write({"transforms/halfway.sql": "from source", "transforms/chosen.sql": query})
    return product


def test_a_dataset_alone_says_what_its_kept_transform_was_made_from(
    workshop: Workshop, producer: Product
) -> None:
    product = kept_consumer(workshop)
    product.run()
    producer.write({"inputs/source.csv": NEW})
    producer.run()
    # Only the dataset: the transform's result is still that of version 0.
    published = publish_dataset(product.session(), "rows").snapshot
    assert published is not None
    assert rows(published) == [("ada", 1), ("ben", 2)]
    assert upstream_of(product)["source"]["version"] == 0
    product.run()
    assert upstream_of(product)["source"]["version"] == 1


def test_two_versions_of_an_input_that_met_are_both_named(workshop: Workshop, producer: Product) -> None:
    product = kept_consumer(
        workshop, "select name, amount from halfway union all select name, amount from source"
    )
    product.write({"contracts/rows.py": ROWS})
    product_session = product.session()
    land_input(product_session, "source")
    run_transform(product_session, "halfway")
    producer.write({"inputs/source.csv": NEW})
    producer.run()
    published = publish_dataset(product.session(), "rows").snapshot
    assert published is not None
    assert rows(published) == [("ada", 1), ("ben", 2), ("cy", 3)]
    source = upstream_of(product)["source"]
    assert source["version"] == 0
    assert source["also"]["version"] == 1


def test_a_kept_transform_that_runs_again_in_its_run_is_read_anew(
    workshop: Workshop, producer: Product
) -> None:
    product = kept_consumer(workshop)
    session = product.session()
    land_input(session, "source")
    run_transform(session, "halfway")
    run_transform(session, "chosen")
    product.write({"transforms/halfway.sql": "select * from source where name = 'ada'"})
    session = product.session(session.run_id)
    run_transform(session, "halfway")
    published = publish_dataset(session, "rows").snapshot
    assert published is not None
    assert rows(published) == [("ada", 1)]


# -- pins ---------------------------------------------------------------------------------------------------


def test_the_first_of_several_pins_stays(workshop: Workshop) -> None:
    product = workshop.product()

    def pin(number: int) -> int | None:
        return product.session("one").pin("source", Pinned("source", (f"{number}.parquet",), number)).version

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(pin, range(40)))) == 1


def test_pins_of_several_inputs_do_not_overwrite_each_other(workshop: Workshop) -> None:
    product = workshop.product()
    names = [f"input_{number}" for number in range(40)]

    def pin(name: str) -> None:
        product.session("one").pin(name, Pinned(name, (f"{name}.parquet",), 1, {"place": "'\"\n"}))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(pin, names))
    session = product.session("one")
    assert [session.pinned(name) for name in names] == [
        Pinned(name, (f"{name}.parquet",), 1, {"place": "'\"\n"}) for name in names
    ]
    assert session.pinned("transform/input_1") is None
    assert not list(session.work_folder.rglob("*.tmp"))
