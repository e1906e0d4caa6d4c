"""``/sla``: the page of service levels, for whom the control port lets in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from dp_dagster.access.authentication.authenticators import Authenticators
from dp_dagster.access.authentication.config import AuthenticationField
from dp_dagster.control.config import control_config
from dp_dagster.errors import SettingsError
from dp_dagster.records import Records
from dp_dagster.serving.mounts import Mount
from dp_dagster.serving.problems import RequestRefusedError
from dp_dagster.sla.page import POLICY, render, sections_of
from dp_dagster.sla.store import Readings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.access.authentication.config import Authentication
    from dp_dagster.access.view import Identity
    from dp_dagster.control.config import ControlConfig
    from dp_dagster.serving.mounts import Services
    from dp_dagster.serving.protocol import Receive, Scope, Send

PATH = "/sla"
WINDOW = timedelta(days=30)


def mount(services: Services) -> Mount | None:
    """The page; ``None`` where the settings name no control port, since nobody says then who may see it.

    Raises:
        SettingsError: the settings of the control port are wrong.
    """
    config = control_config(services.settings)
    if config is None:
        return None
    records = Records(services.settings.resolved_records_url, lock_timeout=services.settings.lock_timeout)
    authenticators = Authenticators(services.settings, records)
    authenticator = authenticators.of(authentication_of(config))

    async def identify(headers: Mapping[str, str]) -> Identity:
        identity = await authenticator.identify(headers)
        config.admit(identity, "sla")
        return identity

    return Mount(PATH, _Page(services), identify=identify, stop=authenticators.aclose)


def authentication_of(config: ControlConfig) -> Authentication:
    """What the control port demands of who asks.

    Raises:
        SettingsError: it is no way to authenticate.
    """
    try:
        adapter: TypeAdapter[Authentication] = TypeAdapter(AuthenticationField)
        return adapter.validate_python(config.auth)
    except ValidationError as error:
        lines = [
            f"control.auth: {detail['msg']}"
            for detail in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("\n".join(lines)) from None


class _Page:
    """Answers with what was read last. Nothing is evaluated here: who looks must not decide how often that happens."""

    def __init__(self, services: Services) -> None:
        self._services = services
        settings = services.settings
        self._readings = Readings(settings.resolved_records_url, lock_timeout=settings.lock_timeout)

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RequestRefusedError(404, "there is nothing here but a page")
        if scope["path"].rstrip("/") != PATH:
            raise RequestRefusedError(404, f"there is nothing here; the page is {PATH}")
        if scope["method"] not in {"GET", "HEAD"}:
            raise RequestRefusedError(405, "the page can only be read")
        body = (await asyncio.to_thread(self._html)).encode()
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"content-security-policy", POLICY.encode()),
            (b"cache-control", b"private, no-cache"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _html(self) -> str:
        now = datetime.now(UTC)
        products = self._services.products
        ids = {product.id for product in products}
        states = self._readings.states(ids)
        trends = self._readings.trends(now - WINDOW, now, ids)
        return render(sections_of(products, states), trends, now - WINDOW, now)
