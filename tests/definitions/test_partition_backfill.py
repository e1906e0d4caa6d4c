"""A backfill of a range, launched as the UI does, in a real ``dp dev`` with its daemon and webserver."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from definition_helpers import resolved, write
from test_daemon import dev, until, write_workspace
from test_partition_definitions import DESCRIPTOR, FILES

from dp_dagster.definitions.run import open_instance, run_product
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
PARTITIONS = """
query Partitions($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  partitionStats { numMaterialized numPartitions numFailed }
  latestMaterializationByPartition(partitions: ["2026-02", "2026-03"]) { partition runId } } } }
"""


# The daemon looks at backfills every 30 seconds, and nobody can tell it otherwise: one look is all that is waited for.
@pytest.mark.timeout(600)
def test_a_backfill_from_the_ui_is_one_run_and_one_commit(project: TestProject) -> None:
    folder = project.root / "products" / "shop"
    write(folder, {"product.yaml": DESCRIPTOR, **FILES})
    write_workspace(project, "shop")
    product = resolved(folder)
    with open_instance(product.settings) as instance:
        assert run_product(product, instance, lambda _: None, partitions=["2026-01"]).succeeded
    table = Table(dataset_table(str(project.storage), "shop", 1, "sales"))
    before = table.newest()
    assert before is not None
    with dev(project) as server:
        assert server.wait_for_locations() == {"shop": None}
        assert server.partitions("shop") == ["2026-01", "2026-02", "2026-03", "2026-04"]
        server.backfill(CUT, ["2026-02", "2026-03"])

        def runs_of(key: str) -> set[str]:
            node = server.ask(PARTITIONS, key={"path": key.split("/")})["assetNodeOrError"]
            return {one["runId"] for one in node["latestMaterializationByPartition"] if one is not None}

        # The quarantine, too, though nothing went there: a backfill takes an asset without a word for failed.
        until(lambda: all(len(runs_of(key)) == 1 for key in CUT), "all assets to be made in one run")
        (run_id,) = {run for key in CUT for run in runs_of(key)}
        assert server.wait_for_run(run_id) == "SUCCESS"
        stats = server.ask(PARTITIONS, key={"path": CUT[3].split("/")})["assetNodeOrError"]["partitionStats"]
        assert stats == {"numMaterialized": 3, "numPartitions": 4, "numFailed": 0}
        after = table.newest()
    assert after is not None
    assert after.version == before.version + 1
    commit = table.location.directory / "_delta_log" / f"{after.version:020d}.json"
    entries = [json.loads(line) for line in commit.read_text().splitlines()]
    added = [entry["add"]["path"].split(".")[1] for entry in entries if "add" in entry]
    assert sorted(added) == ["2026-02", "2026-03"]
    assert not [entry for entry in entries if "remove" in entry]
    assert after.partitions["2026-01"] == before.partitions["2026-01"]
