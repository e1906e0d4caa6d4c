"""GraphQL over HTTP: what a request asks, in which form it wants the answer, and how answers go out.

Follows https://graphql.github.io/graphql-over-http/draft/.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

RESPONSE = "application/graphql-response+json"
JSON = "application/json"
HTML = "text/html"
_NO_STORE = (b"cache-control", b"no-store")


class HttpError(Exception):
    """A request that asks nothing we can answer; ``status`` says whose fault it is."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


@dataclass(frozen=True)
class Asked:
    """A GraphQL request."""

    query: str
    operation: str | None = None
    variables: dict[str, Any] = field(default_factory=dict)


def headers_of(scope: Mapping[str, Any]) -> dict[bytes, bytes]:
    """Headers by lower-case name; of several the last."""
    return dict(scope["headers"])


def accepted(accept: bytes | None) -> str:
    """The media type to answer in.

    Raises:
        HttpError: none that we speak is accepted.
    """
    # The first choice of the specification since 2025; a client that names nothing gets it.
    if accept is None or not accept.strip():
        return RESPONSE
    weights: dict[str, float] = {}
    for part in accept.decode("latin-1").lower().split(","):
        name, *parameters = [piece.strip() for piece in part.split(";")]
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
            elif key.strip() == "charset" and value.strip(' "') not in ("utf-8", "utf8"):
                weight = 0.0
        weights[name] = max(weight, weights.get(name, 0.0))
    found = max(
        (
            (
                next(
                    (weights[one] for one in (name, f"{name.partition('/')[0]}/*", "*/*") if one in weights),
                    0.0,
                ),
                -order,
                name,
            )
            for order, name in enumerate((RESPONSE, JSON))
        )
    )
    if found[0] <= 0:
        raise HttpError(406, f"the answer is {RESPONSE} or {JSON}; accept one of them")
    return found[2]


def wants_page(accept: bytes | None) -> bool:
    """Whether a browser asks."""
    return accept is not None and HTML in accept.decode("latin-1").lower()


def asked_by_get(query_string: bytes, most: int) -> Asked:
    """The request in a query string.

    Raises:
        HttpError: it is none.
    """
    if len(query_string) > most:
        raise HttpError(414, f"the request has more than {most:,} bytes, which are allowed")
    try:
        given = dict(
            parse_qsl(
                query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20
            )
        )
    except ValueError:
        raise HttpError(400, "the query string is not UTF-8 in percent encoding") from None
    asked: dict[str, Any] = {"query": given.get("query"), "operationName": given.get("operationName") or None}
    for name in ("variables", "extensions"):
        if text := given.get(name):
            asked[name] = _json(text.encode(), name)
    return _asked(asked)


async def asked_by_post(headers: Mapping[bytes, bytes], receive: Receive, most: int) -> Asked:
    """The request in a body.

    Raises:
        HttpError: it is none, or too large.
    """
    kind, _, rest = headers.get(b"content-type", b"").decode("latin-1").lower().partition(";")
    charset = rest.partition("charset=")[2].strip().strip('"') or "utf-8"
    if kind.strip() != JSON or charset not in ("utf-8", "utf8"):
        raise HttpError(415, f"the body is {kind.strip() or 'of no type'}; send {JSON} in UTF-8")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise HttpError(415, "the body is compressed; send it as it is")
    too_large = HttpError(413, f"the request has more than {most:,} bytes, which are allowed")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > most:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HttpError(400, "the request ended early")
        body += message.get("body", b"")
        if len(body) > most:
            raise too_large
        if not message.get("more_body", False):
            break
    return _asked(_json(bytes(body), "body"))


def _json(text: bytes, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise HttpError(400, f"{what}: is not JSON: {error}") from None


def _asked(given: Any) -> Asked:
    if isinstance(given, list):
        raise HttpError(400, "several requests in one are not answered; send them one by one")
    if not isinstance(given, dict):
        raise HttpError(400, 'the body is no request; send {"query": "{ … }"}')
    query, operation = given.get("query"), given.get("operationName")
    variables, extensions = given.get("variables"), given.get("extensions")
    if not isinstance(query, str) or not query.strip():
        hint = "; persisted queries are not kept here" if isinstance(extensions, dict) and extensions else ""
        raise HttpError(400, f"query: is missing; it is the document to execute, as text{hint}")
    if operation is not None and not isinstance(operation, str):
        raise HttpError(400, "operationName: is no text")
    if variables is not None and not isinstance(variables, dict):
        raise HttpError(400, "variables: is no object")
    if extensions is not None and not isinstance(extensions, dict):
        raise HttpError(400, "extensions: is no object")
    return Asked(query, operation, variables or {})


async def send_bytes(
    send: Send,
    status: int,
    kind: str,
    body: bytes,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    *,
    only_head: bool = False,
) -> None:
    """One whole answer."""
    own = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"vary", b"accept, authorization, x-api-key"),
    ]
    if not any(name == b"cache-control" for name, _ in headers):
        own.append(_NO_STORE)
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": b"" if only_head else body})


def written(content: Any) -> bytes:
    """JSON. Surrogates and numbers beyond 64 bits, which orjson refuses, go the slow way.

    Parts may be ``orjson.Fragment``: texts that are JSON already.
    """
    try:
        return orjson.dumps(content)
    except TypeError:
        return json.dumps(content, ensure_ascii=True, allow_nan=False, default=_read).encode()


def _read(part: Any) -> Any:
    if not isinstance(part, orjson.Fragment):
        raise TypeError(f"a {type(part).__name__} is no JSON")
    return json.loads(part.contents)
