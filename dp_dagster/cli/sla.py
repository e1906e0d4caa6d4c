"""``dp sla``: what products promise, and how they keep it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dp_dagster.cli.output import AsJson

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.sla.model import ObjectiveState
    from dp_dagster.sla.store import Readings, Stretch

_STYLES = {
    "met": "green",
    "warning": "yellow",
    "breached": "bold red",
    "pending": "blue",
    "not_evaluated": "cyan",
}


def sla(
    product: Annotated[str | None, typer.Argument(help="A product; all by default.")] = None,
    *,
    window: Annotated[
        str, typer.Option(metavar="SPAN", help="How far back the trend goes: 24h, 7d, 30d.")
    ] = "30d",
    check: Annotated[bool, typer.Option("--check", help="End with 1 where something is breached.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure what products promise, now, and show it: target, reading, what is left of the budget, trend, state.

    Each reading is kept. What cannot be measured is not evaluated, with the reason. The exit code is 0 whatever was
    found, unless --check asks for it.
    """
    from datetime import UTC, datetime

    from dp_dagster.cli.output import print_json
    from dp_dagster.sla.evaluator import evaluator_for

    length = _length(window)
    products = _products(product)
    now = datetime.now(UTC)
    found: list[tuple[ResolvedProduct, list[ObjectiveState], dict[Any, list[Stretch]]]] = []
    # Products of one project share their records; those of another folder may have their own.
    for url in dict.fromkeys(one.settings.resolved_records_url for one in products):
        some = [one for one in products if one.settings.resolved_records_url == url]
        evaluator = evaluator_for(some[0].settings)
        states = evaluator.evaluate(some, now)
        trends = _trends(evaluator.readings, some, now, length)
        found += [(one, [state for state in states if state.product == one.id], trends) for one in some]
    if as_json:
        print_json([_facts(one, states, trends) for one, states, trends in found])
    else:
        _print(found, now - length, now)
    if check and any(state.state == "breached" for _, states, _ in found for state in states):
        raise typer.Exit(1)


def _length(window: str) -> timedelta:
    from dp_dagster.descriptor.quantities import QuantityError, read_span
    from dp_dagster.errors import UsageError

    try:
        return read_span(window)
    except QuantityError as error:
        raise UsageError(f"--window {window} {error}; {error.fix}") from None


def _products(name: str | None) -> list[ResolvedProduct]:
    from dp_dagster.cli.names import find_named
    from dp_dagster.resolve import find_descriptors, resolve
    from dp_dagster.settings import Settings

    if name is not None:
        return [find_named(name)]
    settings = Settings.load()
    return [resolve(path, settings) for path in find_descriptors(settings)]


def _trends(
    readings: Readings, products: list[ResolvedProduct], now: datetime, length: timedelta
) -> dict[Any, list[Stretch]]:
    return dict(readings.trends(now - length, now, {one.id for one in products}))


def _facts(
    product: ResolvedProduct, states: list[ObjectiveState], trends: dict[Any, list[Stretch]]
) -> dict[str, Any]:
    return {
        "product": product.id,
        "objectives": [
            {
                **asdict(one),
                "reading": one.reading_text,
                "budget": one.budget_text,
                "trend": [asdict(stretch) for stretch in trends.get(one.key, [])],
            }
            for one in states
        ],
        "not_evaluated": [
            {"port": port.label, **asdict(level)}
            for port in product.ports
            for level in port.promises.unevaluated
        ],
    }


def _print(
    found: list[tuple[ResolvedProduct, list[ObjectiveState], dict[Any, list[Stretch]]]],
    start: datetime,
    end: datetime,
) -> None:
    from rich.text import Text

    from dp_dagster.cli.output import console, table
    from dp_dagster.sla.sparkline import sparkline

    rows: list[tuple[object, ...]] = []
    for product, states, trends in found:
        rows += [
            (
                f"{one.product}.{one.port}",
                one.objective.replace("_", " "),
                one.promise,
                one.reading_text,
                one.budget_text,
                sparkline(trends.get(one.key, []), start, end),
                Text.assemble((one.state.replace("_", " "), _STYLES[one.state]), f": {one.reason}"),
            )
            for one in states
        ]
        rows += [
            (
                f"{product.id}.{port.label}",
                level.name,
                level.value,
                "",
                "",
                "",
                Text.assemble(
                    ("not evaluated", _STYLES["not_evaluated"]), f": {level.reason} ({level.origin})"
                ),
            )
            for port in product.ports
            for level in port.promises.unevaluated
        ]
    if not rows:
        typer.echo("nothing is promised; write `sla:` in product.yaml")
        return
    console().print(table(("port", "objective", "promise", "reading", "budget", "trend", "state"), rows))
