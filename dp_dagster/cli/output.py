"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, is_dataclass
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console, RenderableType

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
"""The option that every listing command has."""

_WIDTH_OF_FILES = 160

STATE_STYLES = {
    "active": "green",
    "not installed": "yellow",
    "not evaluated": "cyan",
    "refused": "bold red",
}


def print_json(data: Any) -> None:
    """Print data as JSON. Dataclasses, paths, dates, durations (in seconds) and shares are understood."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, default=_plain))


def console() -> Console:
    """Where tables go; as wide as the terminal, or as COLUMNS says. In a file or pipe: wide, without colours."""
    from rich.console import Console

    made = Console(highlight=False, soft_wrap=False)
    if made.is_terminal or "COLUMNS" in os.environ:
        return made
    return Console(highlight=False, soft_wrap=False, width=_WIDTH_OF_FILES)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> RenderableType:
    """A table of plain texts; cells are folded, never cut, so that nothing is lost on a narrow terminal.

    A cell that is a ``rich`` renderable is kept; any other is shown as text, its brackets included.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(
        *columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for column in made.columns:
        column.overflow = "fold"
    if made.columns:
        # The name of a thing stays whole; the rest may be folded.
        made.columns[0].no_wrap = True
    for row in rows:
        made.add_row(*(cell if hasattr(cell, "__rich_console__") else Text(str(cell)) for cell in row))
    return made


def state(name: str) -> RenderableType:
    """A state in its colour."""
    from rich.text import Text

    return Text(name, style=STATE_STYLES.get(name, ""))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> None:
    """Print a table."""
    console().print(table(columns, rows, title=title))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
