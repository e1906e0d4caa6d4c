"""``dp export``: a product in the formats of others."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from dp_dagster.documents.written import Written


class ExportFormat(StrEnum):
    """What a product can be written as."""

    ODPS = "odps"
    ODCS = "odcs"
    JSON_SCHEMA = "jsonschema"
    DBT = "dbt"


def export(
    product: Annotated[str, typer.Argument(help="Id of a product, or path of its folder.")],
    form: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="odps: the product (Bitol). odcs: its contracts (Bitol). jsonschema: one row of each dataset. "
            "dbt: schema YAML with contract and tests.",
        ),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Write the documents into this folder."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Only the document of this dataset.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a product as ODPS, its contracts as ODCS, JSON Schema or dbt schema YAML.

    One document goes to standard output, several go into a folder (`--output`). What a format cannot say is named on
    standard error and, where the format has a place for it, in the document.
    """
    from dp_dagster.cli.names import find_named
    from dp_dagster.cli.output import print_json
    from dp_dagster.documents.exporting import export_product
    from dp_dagster.errors import UsageError

    documents = export_product(find_named(product), form.value, dataset)
    if len(documents) > 1 and output is None and not as_json:
        names = ", ".join(document.file for document in documents)
        raise UsageError(
            f"{len(documents)} documents ({names}): name a folder with --output, or one --dataset"
        )
    paths = _write(documents, output) if output is not None else []
    if as_json:
        print_json({"format": form.value, "documents": documents, "files": paths})
    elif output is not None:
        for path in paths:
            typer.echo(str(path))
    else:
        typer.echo(documents[0].text, nl=False)
    if not as_json:
        for document in documents:
            for note in document.notes:
                typer.echo(f"{document.file}: not expressed: {note}", err=True)


def _write(documents: tuple[Written, ...], folder: Path) -> list[Path]:
    from dp_dagster.errors import UsageError

    paths = [folder / document.file for document in documents]
    try:
        for path, document in zip(paths, documents, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(document.text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be written: {error.strerror}") from error
    return paths
