"""Asking an ASGI application in this process, as a client over HTTP would, with what runs beside it running."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Response:
    """An answer.

    Attributes:
        status: HTTP status.
        headers: By name in lower case.
        body: The whole of it.
        broke_off: What the application raised after its answer had begun.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    broke_off: BaseException | None = None

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Client:
    """Asks an application. Used as a context, it starts and ends the application as a server does.

    Attributes:
        application: What is asked.
        headers: Sent with every request.
    """

    application: Application
    headers: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Start the application.

        Raises:
            RuntimeError: it says that it cannot.
        """
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="asgi", daemon=True)
        self._thread.start()
        self._call(self._begin())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_SECONDS)
        self._loop.close()

    def get(self, target: str, **headers: str) -> Response:
        """GET; header names may be written with ``_``."""
        return self.request("GET", target, headers={n.replace("_", "-"): v for n, v in headers.items()})

    def request(
        self, method: str, target: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Response:
        """Ask.

        Args:
            method: In capitals.
            target: Path and query, percent-encoded.
            headers: Besides those of the client.
            body: What is sent along.

        Raises:
            BaseException: whatever the application raised before its answer began.
        """
        response: Response = self._call(
            self._request(method, target, {**self.headers, **(headers or {})}, body)
        )
        return response

    # -- in the loop -------------------------------------------------------------------------------------

    def _call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_SECONDS)

    async def _request(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Response:
        path, _, query = target.partition("?")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
        }
        sent: list[dict[str, Any]] = []
        is_read = False

        async def receive() -> dict[str, Any]:
            nonlocal is_read
            if is_read:
                await asyncio.Event().wait()
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        broke_off: BaseException | None = None
        try:
            await self.application(scope, receive, send)
        except Exception as error:
            if not sent:
                raise
            broke_off = error
        return Response(
            sent[0]["status"],
            {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]},
            b"".join(message.get("body", b"") for message in sent[1:]),
            broke_off,
        )

    async def _begin(self) -> None:
        self._to_application: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_application: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
        self._life = asyncio.ensure_future(
            self.application(scope, self._to_application.get, self._from_application.put)
        )
        await self._told("startup")

    async def _end(self) -> None:
        await self._told("shutdown")
        await self._life

    async def _told(self, what: str) -> None:
        await self._to_application.put({"type": f"lifespan.{what}"})
        answer = await self._from_application.get()
        if answer["type"] != f"lifespan.{what}.complete":
            raise RuntimeError(f"the application failed: {answer.get('message', answer['type'])}")
