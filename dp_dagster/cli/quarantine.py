"""``dp quarantine``: the rows of a dataset that broke its contract."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from dp_dagster.cli.output import AsJson


def quarantine(
    dataset: Annotated[str, typer.Argument(metavar="PRODUCT.DATASET", help="The dataset.")],
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows, newest first.")] = 20,
    run: Annotated[str | None, typer.Option(help="Only rows of this run (its whole id).")] = None,
    unmasked: Annotated[
        bool, typer.Option("--unmasked", help="Show values of classified columns, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the rows that broke a dataset's contract: when, which rules, and the row itself."""
    from dp_dagster.cli.names import find_dataset
    from dp_dagster.cli.output import print_json, print_table
    from dp_dagster.pipeline.quarantine import masked, read_quarantine
    from dp_dagster.storage import Table, quarantine_table

    product, declared = find_dataset(dataset)
    table = Table(quarantine_table(product.settings.storage, product.id, product.major, declared.name))
    hidden = () if unmasked else declared.contract.classified
    rows: list[dict[str, Any]] = [
        {
            "quarantined_at": found.quarantined_at,
            "run_id": found.run_id,
            "rules": list(found.rules),
            "reason": found.reason,
            "published_in_part": found.published_in_part,
            "row": masked(json.loads(found.row), hidden),
        }
        for found in read_quarantine(table, limit=limit, run_id=run)
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo(f"no rows of {product.id}.{declared.name} are in quarantine")
        return
    print_table(
        ("at (UTC)", "run", "candidate", "why", "row"),
        [
            (
                f"{row['quarantined_at']:%Y-%m-%d %H:%M:%S}",
                row["run_id"][:8],
                "published without it" if row["published_in_part"] else "held",
                row["reason"],
                ", ".join(f"{name}={value}" for name, value in row["row"].items() if value is not None),
            )
            for row in rows
        ],
    )
