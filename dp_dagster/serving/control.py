"""The control port, mounted beside the products' ports where the settings say who may use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dp_dagster.access.authentication.authenticators import Authenticators
from dp_dagster.access.authentication.config import is_loopback
from dp_dagster.control.config import control_config
from dp_dagster.control.web import application
from dp_dagster.errors import AccessDeniedError
from dp_dagster.records import Records
from dp_dagster.serving.mounts import Mount

if TYPE_CHECKING:
    from dp_dagster.serving.mounts import Services
    from dp_dagster.serving.protocol import Application

PATH = "/control"
CATALOG = "/catalog"


def mount(services: Services) -> Mount | None:
    """The control port for ``dp serve``; ``None`` where the settings say nothing of it.

    Raises:
        SettingsError: the settings of the control port are wrong.
    """
    settings = services.settings
    config = control_config(settings)
    if config is None:
        return None
    records = Records(settings.resolved_records_url, lock_timeout=settings.lock_timeout)
    authenticators = Authenticators(settings, records)
    made: Application = application(
        settings,
        services.products,
        config,
        authenticators.of(config.auth).identify,
        services.faults,
    )
    if config.auth.type == "none" and not config.auth.beyond_loopback:
        made = _for_this_machine(made)
    return Mount(PATH, made, stop=authenticators.aclose)


def catalog_mount(services: Services) -> Mount | None:
    """``/catalog``, where people look for it: the way to the catalogue of the control port.

    Raises:
        SettingsError: the settings of the control port are wrong.
    """
    return None if control_config(services.settings) is None else Mount(CATALOG, _to_the_catalogue)


async def _to_the_catalogue(scope: Any, _: Any, send: Any) -> None:
    # The outer path, where a proxy has put the server below one.
    base = scope.get("root_path", "").removesuffix(CATALOG)
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    location = f"{base}{PATH}{CATALOG}".encode() + raw.partition(CATALOG.encode())[2] + query
    headers = [(b"location", location), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 307, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _for_this_machine(answer: Application) -> Application:
    """An application that answers this machine alone, since it asks nobody who they are."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        client = scope.get("client")
        if client is None or not is_loopback(client[0]):
            raise AccessDeniedError(
                "this control port asks nobody who they are, so it answers its own machine alone"
            )
        await answer(scope, receive, send)

    return guarded
