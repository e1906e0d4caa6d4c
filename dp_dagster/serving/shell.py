"""The shell: one ASGI application around all served ports.

What every request goes through is one function, without layers of middleware: find the port, authenticate, decide
the view, limit, call the port's application, put the headers on its answer, write the access down.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn

from dp_dagster.errors import AccessDeniedError, QueryLimitError
from dp_dagster.ports.served import EXCHANGE, REQUEST_ID, Exchange
from dp_dagster.serving.compression import Compressor, wished
from dp_dagster.serving.problems import RequestRefusedError, answer_problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from dp_dagster.access.view import DatasetView, Identity
    from dp_dagster.serving.protocol import Application, Headers, Message, Receive, Scope, Send

_LOG = logging.getLogger("dp_dagster.serving")
_GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_LARGEST_HEADERS = 32 * 1024
_LARGEST_TARGET = 16 * 1024
_LARGEST_BODY = 1024 * 1024
_SAFE: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
_NO_SOURCES = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")


@dataclass(frozen=True)
class Served:
    """One finished request, for the access log.

    Attributes:
        exchange: Who asked, and what the application said of the answer; ``None`` where it was never asked.
        status: HTTP status.
        milliseconds: From the request's beginning to the answer's end.
        size: Bytes of the answer's body as they were sent.
    """

    route: Route
    exchange: Exchange | None
    status: int
    milliseconds: float
    size: int


@dataclass
class Route:
    """What answers below one path.

    Attributes:
        path: Without a trailing slash.
        application: What answers.
        identify: From the request's headers to who asks; ``None`` where nobody is asked.
        admit: Raises where somebody has had enough.
        view: What somebody sees; ``None`` where the application needs no view.
        finished: Called when an answer has ended.
        headers: Added to every answer.
        largest: Bytes that an answer may have; ``None`` for any number.
        seconds: How long an answer may take to begin; ``None`` where the version's own limit is enough.
    """

    path: str
    application: Application
    identify: Callable[[Mapping[str, str]], Awaitable[Identity]] | None = None
    admit: Callable[[Identity], None] | None = None
    view: Callable[[Identity], DatasetView | None] | None = None
    finished: Callable[[Served], None] | None = None
    headers: Headers = field(default_factory=list)
    largest: int | None = None
    seconds: float | None = None


class Shell:
    """The ASGI application.

    Args:
        routes: What is mounted; no two at one path.
        start: Awaited when the server starts.
        stop: Awaited when it has answered its last request.
    """

    def __init__(
        self,
        routes: list[Route],
        *,
        start: Callable[[], Awaitable[None]] | None = None,
        stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._routes = {route.path: route for route in routes}
        self._start = start
        self._stop = stop
        self._ids = count()
        self._prefix = secrets.token_hex(4)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    def route_of(self, path: str) -> Route | None:
        """What answers a path: the longest prefix that is mounted."""
        routes = self._routes
        end = len(path)
        while end > 0:
            found = routes.get(path[:end])
            if found is not None:
                return found
            end = path.rfind("/", 0, end)
        return None

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        if given is not None and _GIVEN_ID.fullmatch(given):
            request_id = given.decode()
        else:
            request_id = f"{self._prefix}-{next(self._ids):x}"
        scope[REQUEST_ID] = request_id
        answer = Answer(send, request_id)
        route: Route | None = None
        out: Send = answer
        try:
            check_size(scope, headers)
            route = self.route_of(scope["path"])
            if route is None:
                _refuse(404, "there is nothing here; GET /ready lists what is served")
            answer.more = route.headers
            answer.largest = route.largest
            if scope["method"] != "HEAD" and (encoding := wished(headers.get(b"accept-encoding", b""))):
                out = Compressor(answer, encoding)
            await _let_in(route, scope)
            scope["root_path"] = scope.get("root_path", "") + route.path
            if scope["method"] not in {"GET", "HEAD"}:
                receive = limited(receive)
            if route.seconds is None:
                await route.application(scope, receive, out)
            else:
                async with asyncio.timeout(route.seconds) as answer.timeout:
                    await route.application(scope, receive, out)
        except asyncio.CancelledError:
            answer.status = answer.status or 499
            raise
        except Exception as error:  # noqa: BLE001 - the one place where errors become answers
            await self._fail(answer, out, error, request_id, head=scope["method"] == "HEAD")
        finally:
            if route is not None and route.finished is not None:
                route.finished(
                    Served(
                        route,
                        scope.get(EXCHANGE),
                        answer.status,
                        (time.perf_counter() - begun) * 1000,
                        answer.size,
                    )
                )

    async def _fail(
        self, answer: Answer, out: Send, error: Exception, request_id: str, *, head: bool
    ) -> None:
        if isinstance(error, TimeoutError):
            error = QueryLimitError("the answer takes longer than this port allows; ask for fewer rows")
        if answer.is_gone:
            # The client left; there is nobody to tell.
            answer.status = 499
            return
        if not answer.status:
            answer.timeout = answer.largest = None
            try:
                await answer_problem(out, error, request_id, head=head)
            except ConnectionError:
                answer.status = 499
            return
        # It has begun: all that is left is to break it off, so that nobody takes a part for the whole.
        _LOG.error("request %s broke off: %s", request_id, error)
        answer.is_broken = True
        raise BrokenOffError(request_id) from error

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    if self._start is not None:
                        await self._start()
                except Exception as error:  # noqa: BLE001 - told to the server, which ends
                    _LOG.error("%s", error)
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._stop is not None:
                    await self._stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


class BrokenOffError(Exception):
    """An answer failed after it had begun; the server closes the connection."""


class Answer:
    """What the application sends, on its way to the client: gets the shell's headers, and is measured."""

    __slots__ = ("_id", "_send", "is_broken", "is_gone", "largest", "more", "size", "status", "timeout")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._id = request_id.encode()
        self.more: Headers = []
        self.largest: int | None = None
        self.timeout: asyncio.Timeout | None = None
        self.status = 0
        self.size = 0
        self.is_broken = False
        self.is_gone = False

    async def __call__(self, message: Message) -> None:
        """One message."""
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"x-request-id", self._id), *_SAFE, *self.more]
            if self.largest is not None:
                self._check(sum(int(value) for name, value in headers if name == b"content-length"))
            if not any(name == b"content-security-policy" for name, _ in headers):
                headers.append(_NO_SOURCES)
            if self.timeout is not None:
                # From here on it is the client who takes the time.
                self.timeout.reschedule(None)
            self.status = message["status"]
            message["headers"] = headers
        else:
            self.size += len(message.get("body", b""))
            self._check(self.size)
        try:
            await self._send(message)
        except ConnectionError:
            # Of the client's connection; one that a port has elsewhere fails as anything else does.
            self.is_gone = True
            raise

    def _check(self, size: int) -> None:
        if self.largest is not None and size > self.largest:
            raise QueryLimitError(
                f"the answer is larger than {self.largest:,} bytes; filter, or select fewer columns"
            )


def check_size(scope: Scope, headers: dict[bytes, bytes]) -> None:
    """Refuse what is larger than any request of ours.

    Raises:
        RequestRefusedError: it is.
    """
    if sum(len(name) + len(value) for name, value in scope["headers"]) > _LARGEST_HEADERS:
        raise RequestRefusedError(431, f"the headers are larger than {_LARGEST_HEADERS:,} bytes")
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > _LARGEST_TARGET:
        raise RequestRefusedError(414, f"the address is longer than {_LARGEST_TARGET:,} bytes")
    size = headers.get(b"content-length", b"0")
    if not size.isdigit() or int(size) > _LARGEST_BODY:
        raise _too_large()


def limited(receive: Receive) -> Receive:
    """The request's body, refused where it becomes too large."""
    left = _LARGEST_BODY

    async def receive_some() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise _too_large()
        return message

    return receive_some


def _refuse(status: int, message: str) -> NoReturn:
    raise RequestRefusedError(status, message)


async def _let_in(route: Route, scope: Scope) -> None:
    """Find out who asks and what they see, and put it into the scope; do nothing where nobody is asked.

    Raises:
        AuthenticationError: they did not prove it.
        LimitExceededError: they have had enough.
        AccessDeniedError: they see nothing.
    """
    if route.identify is None:
        return
    identity = await route.identify(
        {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    )
    # Known from here on, also where they are refused; the application is asked only when there is a view.
    exchange = scope[EXCHANGE] = Exchange(identity, None)  # type: ignore[arg-type]  # see above
    if route.admit is not None:
        route.admit(identity)
    if route.view is not None:
        view = route.view(identity)
        if view is None:
            raise AccessDeniedError("you have no access to this port; ask its owner for it")
        exchange.view = view


def _too_large() -> RequestRefusedError:
    return RequestRefusedError(413, f"the body is larger than {_LARGEST_BODY:,} bytes")


def json_answer(document: dict[str, Any], status: int = 200) -> Callable[[Send], Awaitable[None]]:
    """A small JSON answer."""
    import json

    body = json.dumps(document).encode()

    async def send_it(send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode()),
                    (b"cache-control", b"no-store"),
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})

    return send_it
