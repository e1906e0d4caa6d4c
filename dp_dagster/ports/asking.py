"""Asking served ports over HTTP whether they can answer. Needs nothing but the standard library."""

from __future__ import annotations

import http.client
import json
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from dp_dagster.errors import StoreError

_PATIENCE_SECONDS = 5.0
_MOST_BYTES = 1_000_000
_ABLE = frozenset({"ready", "ready, from files", "behind"})


class _Stay(HTTPRedirectHandler):
    """Follows nobody: a redirection is an answer."""

    def redirect_request(self, *_: object) -> None:
        return None


def ask_ready(base: str, path: str) -> None:
    """Ask ``dp serve`` whether the port at a path can answer.

    Raises:
        StoreError: nobody answers there, or the port cannot.
    """
    address = f"{base.rstrip('/')}/ready"
    _, body = _get(address)
    try:
        found = {one["path"]: one["state"] for one in json.loads(body)["ports"]}
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{address} does not answer like dp serve") from error
    if path not in found:
        raise StoreError(f"{address} serves nothing at {path}; start dp serve again")
    if found[path] not in _ABLE:
        raise StoreError(f"{path} is {found[path]}, says {address}")


def ask_endpoint(address: str) -> None:
    """Ask a public address. That it wants to know who asks is an answer; an error of the server is none.

    Raises:
        StoreError: nobody answers, or with an error of the server.
    """
    status, _ = _get(address)
    if status >= 500:
        raise StoreError(f"{_shown(address)} answers {status}")


def _get(address: str) -> tuple[int, bytes]:
    if urlsplit(address).scheme not in {"http", "https"}:
        raise StoreError(f"{_shown(address)} is no address of the web")
    # No proxy for addresses of this machine, and none that the environment names by accident for others.
    opener = build_opener(_Stay, ProxyHandler({}))
    request = Request(address, headers={"User-Agent": "dp_dagster-probe"})  # noqa: S310 checked above
    try:
        with opener.open(request, timeout=_PATIENCE_SECONDS) as answer:
            return answer.status, answer.read(_MOST_BYTES)
    except HTTPError as error:
        with error:
            return error.code, error.read(_MOST_BYTES)
    except (URLError, OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, URLError) else error
        raise StoreError(f"{_shown(address)} does not answer: {cause}") from error


def _shown(address: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
