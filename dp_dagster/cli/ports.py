"""``dp ports``: where a product's output ports are, and how to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.pipeline.ports import PortFacts


def ports(
    product: Annotated[str, typer.Argument(help="Id of a product, or path of its folder.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show a product's output ports: address, version on show, how to get access, lines to copy."""
    from dp_dagster.cli.names import find_named
    from dp_dagster.cli.output import print_json
    from dp_dagster.pipeline.ports import port_facts

    resolved = find_named(product)
    facts = port_facts(resolved)
    if as_json:
        print_json(facts)
    elif not facts:
        typer.echo(f"{resolved.id} has no output ports")
    else:
        # Not a table: what is to be copied must not be folded.
        typer.echo("\n\n".join("\n".join(_lines(one)) for one in facts))


def _lines(one: PortFacts) -> Iterator[str]:
    head = "  ".join(part for part in (one.port, one.kind, one.dataset) if part)
    yield typer.style(head, bold=True)
    if one.state != "active":
        yield f"  {one.state}: {one.reason}"
        return
    yield f"  address  {one.address}"
    yield f"  version  {_version(one)}"
    yield f"  access   {one.access}"
    if one.delivery:
        yield f"  sent     {one.delivery}"
    for line in one.differs:
        yield f"  differs  {line}"
    if one.deprecated:
        yield f"  {one.deprecated}"
    for example in one.examples:
        first, *rest = example.text.splitlines()
        yield f"  {example.language:<8} {first}"
        yield from (f"           {line}" for line in rest)


def _version(one: PortFacts) -> str:
    if one.version is None or one.rows is None or one.published_at is None:
        return "none yet: run the product"
    return f"{one.version}, {one.rows:,} rows, published {one.published_at[:16].replace('T', ' ')} UTC"
