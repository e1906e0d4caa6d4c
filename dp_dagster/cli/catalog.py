"""``dp catalog``: what data products there are, for people who do not know them yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_dagster.control.catalog import ProductEntry
    from dp_dagster.settings import Settings


def catalog(
    *,
    text: Annotated[
        str | None,
        typer.Option(
            "--search", metavar="TEXT", help="Only what has all these words, or words that begin so."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List data products with their ports, owners and consumers, those of other projects included; search them."""
    from dp_dagster.cli.output import print_json, print_table
    from dp_dagster.control.catalog import search
    from dp_dagster.settings import Settings

    entries = entries_of(Settings.load())
    if text is not None:
        hits = search(entries, text)
        if as_json:
            print_json(hits)
        elif hits:
            print_table(("where", "what it says"), [(hit.where, hit.text) for hit in hits])
        else:
            typer.echo(f"nothing has all the words of {text!r}")
        return
    if as_json:
        print_json(entries)
        return
    print_table(
        ("product", "version", "domain", "owner", "output port", "kind", "shows", "promises", "consumers"),
        [row for entry in entries for row in _rows(entry)],
    )
    for entry in entries:
        if entry.problem:
            typer.echo(f"{entry.id}: {entry.problem}", err=True)


def entries_of(settings: Settings) -> list[ProductEntry]:
    """The catalogue of the project that the settings belong to."""
    from dp_dagster.control.catalog import catalog as made
    from dp_dagster.control.states import states_by_port, told
    from dp_dagster.resolve import resolve_project

    project = resolve_project(settings)
    faults = {
        failure.product_id: "its product.yaml is refused; see dp validate" for failure in project.failures
    }
    return made(settings, project.products, faults, told(states_by_port(settings)))


def _rows(entry: ProductEntry) -> Sequence[Sequence[Any]]:
    owner = entry.owner.get("team", "")
    head = (entry.id, entry.version or entry.status, entry.domain or "", owner)
    if not entry.ports:
        return [(*head, "", "", "", "", "")]
    rows: list[Sequence[Any]] = []
    for number, port in enumerate(entry.ports):
        shows = "nothing yet" if port.version is None else f"version {port.version}, {port.rows or 0:,} rows"
        states = ", ".join(f"{one['name']}: {one['state']}" for one in port.objectives)
        rows.append(
            (
                *(head if number == 0 else ("", "", "", "")),
                port.name,
                port.kind,
                f"{shows}{'; deprecated' if port.deprecated else ''}",
                states,
                ", ".join(port.consumers),
            )
        )
    return rows
