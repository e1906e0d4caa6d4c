"""What ``endpoint`` means to a served kind: the address that consumers use, and the path that is served."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dp_dagster.ports.base import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.access.authentication.config import Authentication
    from dp_dagster.ports.base import OutputContext

_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_VERSION_PART = re.compile(r"/v[0-9]+(?=/|$)")
_RIGHT = "write https://api.example.com/v1/customers, or leave it out"


def endpoint_faults(endpoint: str | None) -> Iterable[Fault]:
    """What is wrong with an endpoint. It must be an address whose path can be served; never repeats a secret."""
    if endpoint is None:
        return
    try:
        parts = urlsplit(endpoint)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname)
        # Reading it says whether it is a number.
        _ = parts.port
    except ValueError:
        is_address = False
    if not is_address:
        yield Fault("endpoint", "is no address of the web", _RIGHT)
    elif parts.username is not None or parts.password is not None:
        yield Fault("endpoint", "holds a user or password", "remove it; auth says who may ask")
    elif parts.query or parts.fragment:
        yield Fault("endpoint", "holds more than an address", "end it with its path")
    elif _PATH.fullmatch(parts.path.rstrip("/")) is None:
        yield Fault(
            "endpoint", "has no path that can be served: parts of letters, digits and . _ ~ -", _RIGHT
        )


def served_path(endpoint: str | None, default: str, context: OutputContext) -> str:
    """Where a port is mounted: the endpoint's path, or ``default``."""
    if endpoint is None:
        return default
    return urlsplit(_of_major(endpoint, context)).path.rstrip("/")


def served_address(endpoint: str | None, default: str, context: OutputContext) -> str:
    """Where consumers find a port: the endpoint, or ``default`` where ``dp serve`` listens."""
    if endpoint is None:
        return f"{context.settings.serve_url.rstrip('/')}{default}"
    parts = urlsplit(_of_major(endpoint, context))
    # Without a user and password, which are refused anyway.
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def credential_header(auth: Authentication) -> tuple[str, str] | None:
    """The header that a consumer sends, with a variable of the shell for the secret; ``None`` where there is none."""
    headers = {"api_key": ("X-API-Key", "$API_KEY"), "OAuth2": ("Authorization", "Bearer $TOKEN")}
    return headers.get(auth.type)


def _of_major(endpoint: str, context: OutputContext) -> str:
    """The endpoint of this major version: an older one that stays live has its own number in the path."""
    if context.is_current:
        return endpoint
    parts = urlsplit(endpoint)
    path, found = _VERSION_PART.subn(f"/v{context.major}", parts.path, count=1)
    return parts._replace(path=path if found else f"/v{context.major}{parts.path}").geturl()
