"""``dp quarantine``: the rows of a dataset that broke its contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from dp_dagster.resolve import ResolvedDataset


def quarantine(
    dataset: Annotated[str, typer.Argument(metavar="PRODUCT.DATASET", help="The dataset.")],
    *,
    limit: Annotated[int, typer.Option(min=1, help="At most so many rows, newest first.")] = 20,
    every: Annotated[
        bool, typer.Option("--all", help="Of all candidates, not only of the one that came last.")
    ] = False,
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
    table = Table(quarantine_table(product.settings.storage, product.id, declared.major, declared.name))
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
        for found in read_quarantine(table, limit=limit, run_id=run, every_candidate=every)
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo(f"no rows of {product.id}.{declared.label} are in quarantine")
        return
    print_table(
        ("at (UTC)", "run", "", "why", "row (all of it with --json)"),
        [
            (
                f"{row['quarantined_at']:%Y-%m-%d %H:%M:%S}",
                row["run_id"][:8],
                "set aside" if row["published_in_part"] else "held all",
                row["reason"],
                ", ".join(f"{name}={value}" for name, value in _telling(row, declared).items()),
            )
            for row in rows
        ],
    )


def _telling(row: dict[str, Any], dataset: ResolvedDataset) -> dict[str, Any]:
    """What of a row says which one it is and what is wrong: its key, and the columns of the broken rules."""
    names = dict.fromkeys(dataset.key or dataset.contract.key)
    for rule_id in row["rules"]:
        rule = dataset.contract.rule(rule_id)
        names |= dict.fromkeys(rule.columns if rule else ())
    return {name: row["row"].get(name) for name in names} or row["row"]
