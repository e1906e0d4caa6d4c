"""The application: its commands, and how it ends when something is wrong.

A command is one function in a file of its own, listed below. It imports what it needs inside the function, so
that no command pays for another, and raises errors of ``dp_dagster.errors``; nothing is printed about them but
their message, and the exit code is theirs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import typer

from dp_dagster.cli.alerts import alerts
from dp_dagster.cli.audit import audit
from dp_dagster.cli.catalog import catalog
from dp_dagster.cli.dev import dev
from dp_dagster.cli.diff import diff
from dp_dagster.cli.export import export
from dp_dagster.cli.history import history
from dp_dagster.cli.import_ import import_document
from dp_dagster.cli.keys import keys
from dp_dagster.cli.lineage import lineage
from dp_dagster.cli.list import list_products
from dp_dagster.cli.policy import policy
from dp_dagster.cli.ports import ports
from dp_dagster.cli.quarantine import quarantine
from dp_dagster.cli.rollback import rollback
from dp_dagster.cli.run import run_product
from dp_dagster.cli.schema import schema
from dp_dagster.cli.serve import serve
from dp_dagster.cli.show import show
from dp_dagster.cli.sla import sla
from dp_dagster.cli.sql import sql
from dp_dagster.cli.validate import validate
from dp_dagster.errors import DataProductError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

COMMANDS: dict[str, Callable[..., Any] | typer.Typer] = {
    "validate": validate,
    "list": list_products,
    "catalog": catalog,
    "show": show,
    "ports": ports,
    "run": run_product,
    "sql": sql,
    "history": history,
    "rollback": rollback,
    "quarantine": quarantine,
    "sla": sla,
    "diff": diff,
    "lineage": lineage,
    "schema": schema,
    "import": import_document,
    "export": export,
    "audit": audit,
    "keys": keys,
    "alerts": alerts,
    "serve": serve,
    "policy": policy,
    "dev": dev,
}
"""Commands, and groups of them, by name in the order in which ``dp --help`` lists them."""

_INTERRUPTED = 130  # what shells expect after Ctrl-C


def application() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(
        name="dp",
        help="Data products: land, transform, prove the contract, publish.",
        no_args_is_help=True,
        add_completion=False,
        # Variables in a traceback may hold secrets.
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, command in COMMANDS.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)

    @app.callback()
    def _dp() -> None:
        """Data products: land, transform, prove the contract, publish."""

    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``dp`` and exit: 0 fine, 1 the product or its data is at fault, 2 wrong usage, 3 the platform is."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run ``dp`` and give its exit code."""
    command = typer.main.get_command(application())
    try:
        outcome = command.main(args=arguments, prog_name="dp", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        _complain(error.format_message())
        return UsageError.exit_code
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "dp"
        _complain(f"{error.format_message()} See `{path} --help`.")
        return UsageError.exit_code
    except DataProductError as error:
        _complain(str(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough (`dp list | head`). Nothing can be flushed at exit either.
        sys.stdout = None
        return 0
    return outcome if isinstance(outcome, int) else 0


def _complain(message: str) -> None:
    click.echo(message, err=True)
