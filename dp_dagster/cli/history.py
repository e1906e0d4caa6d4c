"""``dp history``: the published versions of a dataset."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from dp_dagster.cli.output import AsJson


def history(
    dataset: Annotated[str, typer.Argument(metavar="PRODUCT.DATASET", help="The dataset.")],
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many versions, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the published versions of a dataset, newest first: when, how many rows, by which run, made from what."""
    from dp_dagster.cli.names import find_dataset
    from dp_dagster.cli.output import print_json, print_table
    from dp_dagster.storage import Table, dataset_table

    product, declared = find_dataset(dataset)
    table = Table(dataset_table(product.settings.storage, product.id, declared.major, declared.name))
    entries = [
        {
            "version": entry.version,
            "at": entry.at,
            "operation": entry.operation,
            "rows": entry.rows,
            "product_version": entry.metadata.get("dp.product_version", ""),
            "contract_hash": entry.metadata.get("dp.contract_hash", ""),
            "verdict_id": entry.metadata.get("dp.verdict_id", ""),
            "run_id": entry.metadata.get("dp.run_id", ""),
            "partitions": entry.metadata.get("dp.partitions", ""),
            "rolled_back_to": entry.metadata.get("dp.rolled_back_to"),
            "made_from": json.loads(entry.metadata.get("dp.upstream") or "{}"),
        }
        for entry in table.history(limit)
    ]
    if as_json:
        print_json(entries)
        return
    if not entries:
        typer.echo(f"{product.id}.{declared.label} was never published; run it: dp run {product.id}")
        return
    print_table(
        ("version", "at (UTC)", "what", "rows", "product", "contract", "made from", "run"),
        [
            (
                entry["version"],
                f"{entry['at']:%Y-%m-%d %H:%M:%S}",
                _what(entry),
                f"{entry['rows']:,}",
                entry["product_version"],
                str(entry["contract_hash"])[:8],
                ", ".join(
                    f"{name}@{source['version']}" if "version" in source else name
                    for name, source in entry["made_from"].items()
                ),
                str(entry["run_id"])[:8],
            )
            for entry in entries
        ],
    )


def _what(entry: dict[str, Any]) -> str:
    """What a version was, and which partitions it made."""
    if entry["rolled_back_to"]:
        return f"rollback to {entry['rolled_back_to']}"
    return f"{entry['operation']} {entry['partitions']}".strip()
