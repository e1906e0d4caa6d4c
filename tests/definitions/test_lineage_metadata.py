"""Lineage on the asset's page: column dependencies for Dagster, a diagram for people; events that are lost are told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from definition_helpers import DATASET, INPUT, KEPT, LARGE, PORT, materializations, run, write_orders

if TYPE_CHECKING:
    import dagster as dg
    from support import TestProject


def test_datasets_and_ports_carry_their_lineage(project: TestProject, instance: dg.DagsterInstance) -> None:
    folder = write_orders(project)
    descriptor = folder / "product.yaml"
    declared = "inputs: [large], lineage: {'*': [large.*], score: [large.amount]}"
    descriptor.write_text(descriptor.read_text().replace("inputs: [large]", declared))
    found = materializations(run(folder, instance))
    (dependency,) = found[DATASET]["dagster/column_lineage"].deps_by_column["score"]
    assert (dependency.asset_key, dependency.column_name) == (KEPT, "score")
    (dependency,) = found[PORT]["dagster/column_lineage"].deps_by_column["amount"]
    assert (dependency.asset_key, dependency.column_name) == (DATASET, "amount")
    (dependency,) = found[LARGE]["dagster/column_lineage"].deps_by_column["amount"]
    assert (dependency.asset_key, dependency.column_name) == (INPUT, "amount")
    assert "| amount | `input/orders.amount` | identity |" in found[LARGE]["lineage"]
    shown = found[PORT]["lineage"]
    assert "└─ orders/v2/dataset/orders\n" in shown
    assert "| score | `input/orders.amount` | transformation |" in shown
    assert "| order_id | `input/orders.order_id` | identity |" in shown


def test_what_is_not_declared_is_shown_as_not_known(
    project: TestProject, instance: dg.DagsterInstance
) -> None:
    found = materializations(run(write_orders(project), instance))
    assert "| score | not known: declare it under lineage" in found[DATASET]["lineage"]


def test_events_are_sent_and_a_lost_one_is_told(
    project: TestProject, instance: dg.DagsterInstance, monkeypatch
) -> None:
    folder = write_orders(project)
    settings = project.root / "dp_dagster.toml"
    before = settings.read_text()
    events = project.root / "events.jsonl"
    settings.write_text(
        f'{before}\n[openlineage]\ntype = "file"\nlog_file_path = "{events}"\nappend = true\n',
        encoding="utf-8",
    )
    assert "OpenLineage" not in materializations(run(folder, instance))[DATASET]
    assert [json.loads(line)["eventType"] for line in events.read_text().splitlines()] == [
        "START",
        "START",
        "COMPLETE",
        "COMPLETE",
    ]
    settings.write_text(f'{before}\n[openlineage]\ntype = "http"\nurl = "${{NOWHERE}}"\n', encoding="utf-8")
    (folder / "data/orders.csv").write_text("order_id,customer,amount\n1,ada,11\n")
    # The version is published all the same.
    assert materializations(run(folder, instance))[DATASET]["OpenLineage"].startswith(
        "not sent: openlineage.url: environment variable NOWHERE is not set"
    )
