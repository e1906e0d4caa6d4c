"""``dp list``: the products of the project, and what of them is published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from pathlib import Path

    from dp_dagster.settings import Settings


def list_products(*, as_json: AsJson = False) -> int:
    """List the products of this project with their published versions.

    Ends with 1 if a descriptor cannot be read; the other products are listed all the same.
    """
    import typer

    from dp_dagster.cli.output import print_json, print_table
    from dp_dagster.resolve import find_descriptors
    from dp_dagster.settings import Settings

    settings = Settings.load()
    rows, complaints = [], []
    for path in find_descriptors(settings):
        row, complaint = _row(path, settings)
        rows.append(row)
        complaints += [complaint] if complaint else []
    rows.sort(key=lambda row: str(row["product_id"]))
    if as_json:
        print_json(rows)
    elif rows:
        print_table(
            ("product", "status", "owner", "dataset", "version", "rows", "published (UTC)"),
            [line for row in rows for line in _lines(row)],
        )
    else:
        typer.echo(f"no products: {', '.join(settings.products)} matches nothing in {settings.project_root}")
    for complaint in complaints:
        typer.echo(complaint, err=True)
    return 1 if complaints else 0


def _row(path: Path, settings: Settings) -> tuple[dict[str, Any], str]:
    from dp_dagster.cli.published import partitions_of, published_datasets
    from dp_dagster.deprecation import deprecation_notice
    from dp_dagster.descriptor.loading import load_descriptor
    from dp_dagster.descriptor.paths import shown
    from dp_dagster.errors import DescriptorError
    from dp_dagster.resolve.project import product_id_at

    row: dict[str, Any] = {
        "product_id": "",
        "version": "",
        "status": "broken",
        "name": "",
        "domain": None,
        "owner": None,
        "file": shown(path),
        "datasets": [],
        "older_versions": [],
        "output_ports": [],
        "published": {},
        "partitions": {},
    }
    try:
        declared = load_descriptor(path).descriptor
    except DescriptorError as error:
        return {**row, "product_id": product_id_at(path)}, str(error)
    published = published_datasets(settings.storage, declared.product_id, declared.major)
    row |= {
        "product_id": declared.product_id,
        "version": declared.version,
        "status": declared.status,
        "name": declared.title,
        "domain": declared.domain,
        "owner": declared.owner.team if declared.owner else None,
        "datasets": [dataset.name for dataset in declared.datasets],
        "older_versions": [
            {
                "dataset": dataset.name,
                "major": version.major,
                "deprecated": deprecation_notice(version.deprecated),
            }
            for dataset in declared.datasets
            for version in dataset.versions
        ],
        "output_ports": [port.name for port in declared.output_ports],
        "published": published,
        "partitions": {
            dataset.name: cut
            for dataset in declared.datasets
            if (
                cut := partitions_of(declared.partitions, dataset.partitioned_by, published.get(dataset.name))
            )
        },
    }
    return row, ""


def _lines(row: dict[str, Any]) -> list[tuple[object, ...]]:
    """A line for each dataset, the product told on the first one only."""
    cells: list[tuple[object, ...]] = [
        (name, *_published(row["published"].get(name), row["partitions"].get(name)))
        for name in row["datasets"]
    ]
    cells += [
        (f"{one['dataset']}@{one['major']}", "", "", one["deprecated"] or "kept up")
        for one in row["older_versions"]
    ]
    told = (f"{row['product_id']} {row['version']}".strip(), row["status"], row["owner"] or "")
    return [
        (*(told if number == 0 else ("", "", "")), *line)
        for number, line in enumerate(cells or [("", "", "", "")])
    ]


def _published(entry: dict[str, Any] | None, partitions: dict[str, Any] | None) -> tuple[str, str, str]:
    if entry is None:
        return "", "", "never"
    at = entry["published_at"][:16].replace("T", " ")
    if partitions is not None:
        missing = partitions["missing_told"]
        at += f", up to {partitions['newest_published']}" + (f", missing {missing}" if missing else "")
    return str(entry["version"]), f"{entry['rows']:,}", at
