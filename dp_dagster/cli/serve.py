"""``dp serve``: answer requests on served output ports."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    products: Annotated[
        list[str] | None, typer.Argument(metavar="[PRODUCT…]", help="By default every product.")
    ] = None,
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Beyond this machine only if you say so: 0.0.0.0.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port.")] = 8700,
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 1,
) -> None:
    """Serve the REST_API, GRAPHQL and EVENT_STREAM ports of products, always the newest published version.

    New versions are picked up without a restart. Ends on SIGTERM or Ctrl-C, when what has begun is answered.
    """
    from pathlib import Path

    from dp_dagster.errors import NotInstalledError
    from dp_dagster.serving.options import ServeOptions
    from dp_dagster.serving.products import served_ports, served_products
    from dp_dagster.settings import Settings

    options = ServeOptions(tuple(products or ()), str(Path.cwd()), workers)
    settings = Settings.load()
    try:
        from dp_dagster.serving.server import refuse_open_ports, run
    except ImportError as error:
        raise NotInstalledError("dp serve needs the extra serve: pip install 'dp_dagster[serve]'") from error
    found = served_products(options, settings)
    refuse_open_ports(found, host)
    for product in found:
        for output in served_ports(product):
            typer.echo(f"{product.id}.{output.label}  {output.config.auth.type}", err=True)
    run(
        options,
        host=host,
        port=port,
        when_bound=lambda: typer.echo(f"listening on http://{_shown(host)}:{port}", err=True),
    )


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
