"""Commands with commands below them: ``dp policy check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import click


def group(
    summary: str, commands: Mapping[str, Callable[..., Any]], *, default: str | None = None
) -> typer.Typer:
    """A command that has others below it.

    Args:
        summary: What they are about.
        commands: The functions by name.
        default: The command that is meant when the first word names none of them: ``dp audit flights``.
    """

    class Group(TyperGroup):
        """Puts the default command's name in where none is given."""

        def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
            """Read the words after the group's name."""
            is_help = args[:1] in (["-h"], ["--help"])
            if default is not None and not is_help and args[:1] not in [[name] for name in commands]:
                args = [default, *args]
            return super().parse_args(ctx, args)

    if default is not None:
        summary = f"{summary} Without a command: {default}."
    made = typer.Typer(cls=Group, help=summary, no_args_is_help=default is None, add_completion=False)
    for name, command in commands.items():
        made.command(name)(command)
    return made
