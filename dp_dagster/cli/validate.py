"""``dp validate``: everything that is wrong, before anything runs."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from dp_dagster.policies import PolicyReport
    from dp_dagster.resolve import Failure, ResolvedProduct


def validate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH]...", help="Product folders or descriptors. Default: all of the project."
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> int:
    """Check products without running them.

    Prints each problem as `file:line: field: what is wrong; what would be right`, and for products that are
    right the lines that do not do anything yet, with the reason, and the policies that warn. Ends with 1 if anything
    is wrong, a policy of severity `error` included.
    """
    from dp_dagster.cli.output import print_json
    from dp_dagster.descriptor.loading import descriptor_file
    from dp_dagster.errors import AuthorError, DataProductError, UsageError
    from dp_dagster.evolution import refuse_breaking
    from dp_dagster.policies import enforce
    from dp_dagster.resolve import Failure, find_descriptors, resolve_paths
    from dp_dagster.settings import Settings

    for path in paths or []:
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder")
    settings = Settings.load()
    of_project = find_descriptors(settings)
    chosen = [_file(path, descriptor_file) for path in paths] if paths else list(of_project)
    if not chosen:
        raise UsageError(
            f"no products: {', '.join(settings.products)} matches nothing in {settings.project_root}"
        )
    # The others are looked at as well, for ids that occur twice and circles; what else they lack is their own.
    project = resolve_paths([*chosen, *of_project], settings)
    wanted = {path.absolute() for path in chosen}
    failures = [failure for failure in project.failures if failure.path in wanted]
    products = []
    reports: dict[str, PolicyReport] = {}
    for product in project.products:
        if product.path in wanted:
            try:
                refuse_breaking(product, product.datasets)
                reports[product.id] = enforce(product)
                products.append(product)
            except DataProductError as error:
                failures.append(Failure(product.path, product.id, error))
    if as_json:
        print_json(
            {
                "valid": not failures,
                "products": [
                    *(_json(product, reports[product.id]) for product in products),
                    *map(_failure_json, failures),
                ],
            }
        )
    else:
        _print(products, reports, failures)
    codes = [failure.error.exit_code for failure in failures]
    return max(codes, default=0) if AuthorError.exit_code not in codes else AuthorError.exit_code


def _file(path: Path, descriptor_file: Any) -> Path:
    from dp_dagster.errors import DescriptorError

    try:
        file: Path = descriptor_file(path.absolute())
    except DescriptorError:
        return path.absolute()  # resolving it says what is wrong
    return file


def _json(product: ResolvedProduct, report: PolicyReport) -> dict[str, Any]:
    from dp_dagster.descriptor.paths import shown

    return {
        "product_id": product.id,
        "file": shown(product.path),
        "valid": True,
        "version": product.version,
        "problems": [],
        "warnings": list(report.warnings),
        "lines": product.lines,
    }


def _failure_json(failure: Failure) -> dict[str, Any]:
    from dp_dagster.descriptor.paths import shown
    from dp_dagster.errors import DescriptorError

    error = failure.error
    problems: list[Any] = list(error.problems) if isinstance(error, DescriptorError) else []
    return {
        "product_id": failure.product_id,
        "file": shown(failure.path),
        "valid": False,
        "problems": problems or [{"message": str(error)}],
    }


def _print(
    products: list[ResolvedProduct], reports: dict[str, PolicyReport], failures: list[Failure]
) -> None:
    from rich.text import Text

    from dp_dagster.cli.output import STATE_STYLES, console
    from dp_dagster.deprecation import upstream_notice
    from dp_dagster.descriptor.paths import shown

    out = console()
    for product in products:
        counts: dict[str, int] = {}
        for line in product.lines:
            counts[line.state] = counts.get(line.state, 0) + 1
        told = ", ".join(f"{number} {state}" for state, number in counts.items())
        out.print(
            Text.assemble(
                ("valid ", "green"),
                (product.id, "bold"),
                f" {product.version}  {shown(product.path)}  lines: {told}",
            )
        )
        for declared in product.inputs:
            notice = upstream_notice(product, declared)
            if notice is not None:
                out.print(Text.assemble(f"  input {declared.name}: ", (notice, "yellow")), soft_wrap=True)
        for line in product.lines:
            if line.state != "active":
                where = f"  {shown(product.path)}:{line.number}: {line.path}: "
                out.print(
                    Text.assemble(where, (line.state, STATE_STYLES[line.state]), f": {line.reason}"),
                    soft_wrap=True,
                )
        for problem in reports[product.id].warnings:
            out.print(Text.assemble("  ", ("warning ", "yellow"), str(problem)), soft_wrap=True)
        for notice in reports[product.id].notices:
            out.print(Text.assemble("  ", ("warning ", "yellow"), notice), soft_wrap=True)
    for failure in failures:
        # On standard error and never folded: editors and people look for `file:line:` at the start.
        typer.echo(str(failure.error), err=True)
