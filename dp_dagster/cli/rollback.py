"""``dp rollback``: let consumers see an older version of a dataset again."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer


def rollback(
    dataset: Annotated[str, typer.Argument(metavar="PRODUCT.DATASET", help="The dataset.")],
    *,
    to: Annotated[int, typer.Option(help="The version to go back to; see dp history.")],
) -> None:
    """Publish an older version of a dataset again, and project its ports.

    Nothing is deleted, and nothing looks fresher than it is.
    """
    from dp_dagster.cli.names import find_dataset
    from dp_dagster.definitions.run import report_rollback
    from dp_dagster.pipeline import Session
    from dp_dagster.pipeline.rollback import roll_back
    from dp_dagster.records import os_user

    product, declared = find_dataset(dataset)
    session = Session(product, f"rollback-{uuid.uuid4().hex[:12]}", actor=os_user())
    outcome = roll_back(session, declared.label, to)
    report_rollback(product, outcome)
    typer.echo(
        f"{product.id}.{declared.label}: version {outcome.before} is replaced by version "
        f"{outcome.snapshot.version}, which has the {outcome.snapshot.rows:,} rows of version {to}"
    )
    for port in outcome.ports:
        typer.echo(f"  {port.address} shows it")
