"""A backfill of a range, launched as the UI does, in a real ``dp dev`` with its daemon and webserver."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from definition_helpers import write
from test_daemon import dev, write_workspace
from test_partition_definitions import DESCRIPTOR, FILES

from dp_dagster.storage import Table, dataset_table

if TYPE_CHECKING:
    from support import TestProject

pytestmark = pytest.mark.slow

CUT = [
    "shop/input/sales",
    "shop/transform/named",
    "shop/transform/scored",
    "shop/v1/dataset/sales",
    "shop/v1/quarantine/sales",
]
REST = ["shop/input/shops", "shop/v1/port/vw_sales"]
PARTITIONS = """
query Partitions($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  partitionStats { numMaterialized numPartitions numFailed }
  latestMaterializationByPartition(partitions: ["2026-02", "2026-03"]) { partition runId } } } }
"""


@pytest.mark.timeout(600)
def test_a_backfill_from_the_ui_is_one_run_and_one_commit(project: TestProject) -> None:
    write(project.root / "products" / "shop", {"product.yaml": DESCRIPTOR, **FILES})
    write_workspace(project, "shop")
    table = Table(dataset_table(str(project.storage), "shop", 1, "sales"))
    with dev(project) as server:
        assert server.wait_for_locations() == {"shop": None}
        assert server.partitions("shop") == ["2026-01", "2026-02", "2026-03", "2026-04"]
        # As the schedule does: all that are due, in one commit, and then the port.
        server.materialise("shop")
        assert server.ask(PARTITIONS, key={"path": CUT[3].split("/")})["assetNodeOrError"][
            "partitionStats"
        ] == {
            "numMaterialized": 4,
            "numPartitions": 4,
            "numFailed": 0,
        }
        before = table.newest()
        assert before is not None
        assert server.backfill([*REST, *CUT], ["2026-02", "2026-03"]) == "COMPLETED_SUCCESS"
        node = server.ask(PARTITIONS, key={"path": CUT[3].split("/")})["assetNodeOrError"]
        runs = {one["runId"] for one in node["latestMaterializationByPartition"]}
        assert len(runs) == 1
        after = table.newest()
    assert after is not None
    assert after.version == before.version + 1
    commit = table.location.directory / "_delta_log" / f"{after.version:020d}.json"
    entries = [json.loads(line) for line in commit.read_text().splitlines()]
    for kind in ("add", "remove"):
        names = [entry[kind]["path"] for entry in entries if kind in entry]
        assert sorted(name.split(".")[1] for name in names) == ["2026-02", "2026-03"]
    for key in ("2026-01", "2026-04"):
        assert after.partitions[key] == before.partitions[key]
