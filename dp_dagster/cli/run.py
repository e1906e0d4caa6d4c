"""``dp run``: refresh products, through Dagster, and say what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_dagster.cli.output import AsJson
from dp_dagster.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_dagster.definitions.run import RunResult
    from dp_dagster.pipeline.status import DatasetStatus
    from dp_dagster.resolve import ResolvedProduct

# An error that another try may mend ends with the platform's code, not the author's.
_PLATFORM = 3


def run_product(
    product: Annotated[str | None, typer.Argument(help="Id of the product.")] = None,
    *,
    dataset: Annotated[
        str | None, typer.Option(help="Only this dataset, with what leads to it and its ports.")
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option(
            metavar="KEY[..KEY]",
            help="Only this partition, or a range with both ends, whether it changed or not. By default all that are "
            "due and missing or changed.",
        ),
    ] = None,
    all_products: Annotated[
        bool, typer.Option("--all", help="Every product of the project, producers before consumers.")
    ] = False,
    acknowledge: Annotated[
        list[str] | None,
        typer.Option(help="A consumer that agreed to a change of contract that breaks it; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Refresh a product: land, transform, prove the contract, publish, project its ports.

    The run is recorded in the project's Dagster instance; the UI (dp dev) shows it.
    """
    if all_products == (product is not None):
        raise UsageError("name one product, or give --all")
    if dataset is not None and all_products:
        raise UsageError("--dataset goes with one product")
    if partition is not None and all_products:
        raise UsageError("--partition goes with one product")
    products, complaints = _products(product)
    for complaint in complaints:
        typer.echo(complaint, err=True)
    keys = _partitions(products[0], partition) if partition is not None else None
    results = _run(products, dataset, acknowledge or [], keys)
    statuses = [status for one in products for status in _statuses(one) if dataset in {None, status.dataset}]
    if as_json:
        _print_json(results, statuses)
    else:
        print_statuses(statuses)
    for result in results:
        for failure in result.failures:
            typer.echo(failure, err=True)
    if all(result.succeeded for result in results):
        return 1 if complaints else 0
    return _PLATFORM if all(result.retryable for result in results if not result.succeeded) else 1


def _products(name: str | None) -> tuple[Sequence[ResolvedProduct], list[str]]:
    from dp_dagster.resolve import find_product, resolve_project
    from dp_dagster.resolve.order import ordered
    from dp_dagster.settings import Settings

    settings = Settings.load()
    if name is not None:
        return [find_product(name, settings)], []
    project = resolve_project(settings)
    if not project.products and not project.failures:
        raise UsageError(
            f"no products: {', '.join(settings.products)} matches nothing below {settings.project_root}"
        )
    by_id = {product.id: product for product in project.products}
    needs = {
        product.id: [
            upstream.product
            for declared in product.inputs
            if (upstream := declared.port.upstream(declared.config)) is not None and upstream.product in by_id
        ]
        for product in project.products
    }
    order, _ = ordered(needs)
    return [by_id[product_id] for product_id in order], [str(failure.error) for failure in project.failures]


def _partitions(product: ResolvedProduct, text: str) -> tuple[str, ...]:
    """The keys that ``--partition`` names."""
    from datetime import UTC, datetime

    from dp_dagster.descriptor.partitions import PartitionsError

    if product.calendar is None:
        raise UsageError(f"{product.id} has no partitions; leave --partition out")
    try:
        return product.calendar.select(text, datetime.now(UTC))
    except PartitionsError as error:
        raise UsageError(f"--partition {text} {error}; {error.fix}") from error


def _run(
    products: Sequence[ResolvedProduct],
    dataset: str | None,
    acknowledged: Sequence[str],
    partitions: Sequence[str] | None,
) -> list[RunResult]:
    from dp_dagster.definitions.run import open_instance
    from dp_dagster.definitions.run import run_product as run_one

    results: list[RunResult] = []
    if not products:
        return results
    with open_instance(products[0].settings) as instance:
        for product in products:
            typer.echo(f"{product.id} {product.version}", err=True)
            results.append(
                run_one(
                    product,
                    instance,
                    lambda line: typer.echo(line, err=True),
                    dataset,
                    acknowledged,
                    partitions=partitions,
                )
            )
    return results


def _statuses(product: ResolvedProduct) -> list[DatasetStatus]:
    from dp_dagster.pipeline.status import dataset_statuses

    return dataset_statuses(product)


def print_statuses(statuses: Sequence[DatasetStatus]) -> None:
    """Print where datasets stand: version, rows, verdict, quarantine, freshness, how to query.

    Served ports stand in the table by their address. How to call them comes below it, where nothing is folded.
    """
    from dp_dagster.cli.output import print_table

    rows: list[Sequence[object]] = []
    for status in statuses:
        verdict = status.verdict
        active = [port for port in status.ports if port.state == "active"]
        rows.append(
            (
                status.product,
                status.dataset,
                "never" if status.version is None else status.version,
                "" if status.rows is None else f"{status.rows:,}",
                verdict.decision.replace("_", " ") if verdict else "none",
                f"{verdict.rows_rejected:,}" if verdict else "",
                active[0].freshness if active else "no port",
                "\n".join(
                    port.address if port.served else port.example
                    for port in active
                    if port is active[0] or port.served
                ),
            )
        )
    print_table(
        ("product", "dataset", "version", "rows", "contract", "quarantined", "freshness", "how to query"),
        rows,
    )
    served = [
        (f"{status.product}.{port.name}", port.example)
        for status in statuses
        for port in status.ports
        if port.served and port.state == "active"
    ]
    if served:
        typer.echo("What dp serve answers; dp ports PRODUCT says how to get access:")
    for name, example in served:
        typer.echo(f"  {name}\n    {example}")


def _print_json(results: Sequence[RunResult], statuses: Sequence[DatasetStatus]) -> None:
    from dataclasses import asdict

    from dp_dagster.cli.output import print_json

    data: dict[str, Any] = {
        "runs": [asdict(result) for result in results],
        "datasets": [asdict(status) for status in statuses],
    }
    print_json(data)
