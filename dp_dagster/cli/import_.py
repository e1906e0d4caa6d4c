"""``dp import``: a product from documents of another standard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from dp_dagster.settings import Settings


def import_document(
    file: Annotated[Path, typer.Argument(help="An ODPS document of Bitol (0.9 to 1.1), YAML or JSON.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="The product's folder. Default: among the products."
        ),
    ] = None,
    product_id: Annotated[
        str | None,
        typer.Option("--id", help="Id of the product. Default: made from the document's id or name."),
    ] = None,
    contracts: Annotated[
        list[Path] | None,
        typer.Option(
            "--contracts",
            metavar="FOLDER",
            help="Where its ODCS contracts are, beside the document's own folder. May be given several times.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a product's folder from an ODPS document and the ODCS contracts that it points to.

    The documents are kept as they are; `dp export` hands them back. What they leave open is named on standard error.
    """
    from dp_dagster.cli.output import print_json
    from dp_dagster.descriptor.paths import shown
    from dp_dagster.documents.importing import import_product, write_import
    from dp_dagster.errors import UsageError
    from dp_dagster.settings import Settings

    if not file.is_file():
        raise UsageError(f"{file}: there is no such file")
    settings = Settings.load()
    imported = import_product(file, settings, contracts=contracts or (), product_id=product_id)
    folder = (output or _among_products(settings) / imported.product_id).absolute()
    write_import(imported, folder, settings)
    if as_json:
        print_json(
            {
                "product_id": imported.product_id,
                "folder": shown(folder),
                "files": sorted(imported.files),
                "notes": imported.notes,
            }
        )
        return
    typer.echo(shown(folder))
    for note in imported.notes:
        typer.echo(f"{shown(file)}: {note}", err=True)


def _among_products(settings: Settings) -> Path:
    """The folder that holds the project's products."""
    pattern = next((one for one in settings.products if one.endswith("/*")), None)
    if pattern is None or "*" in pattern.removesuffix("/*"):
        from dp_dagster.errors import UsageError

        raise UsageError(
            f"products = {list(settings.products)} names no folder to put it in; add --output FOLDER"
        )
    return Path(settings.project_root) / pattern.removesuffix("/*")
