"""``dp quarantine``: the rows of a dataset or an input port that were set aside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from dp_dagster.contracts.model import Contract
    from dp_dagster.storage import Table


def quarantine(
    dataset: Annotated[
        str, typer.Argument(metavar="PRODUCT.DATASET", help="The dataset, or PRODUCT.input.NAME.")
    ],
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
    """Show the rows that broke a dataset's contract, or that an input set aside: when, why, and the row itself."""
    from dp_dagster.cli.output import print_json, print_table
    from dp_dagster.pipeline.quarantine import masked, read_quarantine

    table, label, contract, key = _place(dataset)
    # Where nothing says which columns are classified, all may be.
    hidden: Collection[str] | None = contract.classified if contract is not None else None
    rows: list[dict[str, Any]] = [
        {
            "quarantined_at": found.quarantined_at,
            "run_id": found.run_id,
            "rules": list(found.rules),
            "reason": found.reason,
            "published_in_part": found.published_in_part,
            "row": _shown(json.loads(found.row), () if unmasked else hidden, masked),
        }
        for found in read_quarantine(table, limit=limit, run_id=run, every_candidate=every)
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo(f"no rows of {label} are in quarantine")
        return
    print_table(
        ("at (UTC)", "run", "", "why", "row (all of it with --json)"),
        [
            (
                f"{row['quarantined_at']:%Y-%m-%d %H:%M:%S}",
                row["run_id"][:8],
                "set aside" if row["published_in_part"] else "held all",
                row["reason"],
                ", ".join(f"{name}={value}" for name, value in _telling(row, contract, key).items()),
            )
            for row in rows
        ],
    )


def _place(name: str) -> tuple[Table, str, Contract | None, tuple[str, ...]]:
    """The quarantine that a name stands for, how to call it, its contract, and the columns that identify a row."""
    from dp_dagster.cli.names import find_dataset, find_named
    from dp_dagster.storage import Table, input_quarantine_table, quarantine_table

    product_id, _, part = name.partition(".input.")
    if part:
        product = find_named(product_id)
        declared = product.input(part)
        location = input_quarantine_table(product.settings.storage, product.id, declared.name)
        key = declared.port.landing(declared.config).key
        return Table(location), f"{product.id}.input.{declared.name}", declared.contract, key
    product, dataset = find_dataset(name)
    location = quarantine_table(product.settings.storage, product.id, dataset.major, dataset.name)
    key = dataset.key or dataset.contract.key
    return Table(location), f"{product.id}.{dataset.label}", dataset.contract, key


def _shown(
    row: dict[str, Any], hidden: Collection[str] | None, masked: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    return masked(row, row if hidden is None else hidden)


def _telling(row: dict[str, Any], contract: Contract | None, key: tuple[str, ...]) -> dict[str, Any]:
    """What of a row says which one it is and what is wrong: its key, and the columns of the broken rules."""
    names = dict.fromkeys(key)
    for rule_id in row["rules"]:
        rule = contract.rule(rule_id) if contract is not None else None
        names |= dict.fromkeys(rule.columns if rule else ())
    return {name: row["row"].get(name) for name in names} or row["row"]
