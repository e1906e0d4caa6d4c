"""Server-Sent Events: the stream that a consumer reads, from where they left off for as long as they like."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from dp_dagster.errors import UsageError
from dp_dagster.ports.outputs.event_stream.asking import read_request
from dp_dagster.ports.outputs.event_stream.schema import data_schema
from dp_dagster.ports.outputs.event_stream.streams import Streams
from dp_dagster.ports.problems import Problem, RequestError
from dp_dagster.ports.served import EXCHANGE
from dp_dagster.storage.contracts import kept_contract

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from dp_dagster.contracts.model import Contract
    from dp_dagster.ports.outputs.event_stream.changes_pages import ChangePages
    from dp_dagster.ports.outputs.event_stream.envelope import Envelope
    from dp_dagster.ports.outputs.event_stream.streams import Batch
    from dp_dagster.ports.served import Exchange, PortHost

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

_GRACE_SECONDS = 5.0


class EventStreamApplication:
    """The ASGI application of a port.

    Args:
        envelope: What events say of the port.
        contract: What rows keep.
        pages: Reads changes.
        host: Knows the versions.
        path: Where the port is mounted.
        seconds: How long one answer lasts at most; who asked is then asked again who they are.
        largest: Bytes of one answer; ``None`` for any number.
    """

    def __init__(
        self,
        envelope: Envelope,
        contract: Contract,
        pages: ChangePages,
        host: PortHost,
        path: str,
        *,
        seconds: float,
        largest: int | None,
    ) -> None:
        self._envelope = envelope
        self._contract = contract
        self._pages = pages
        self._host = host
        self._path = path
        self._seconds = seconds
        self._largest = largest
        self._streams = Streams(envelope, pages, host)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange: Exchange = scope[EXCHANGE]
        raw = scope.get("raw_path") or scope["path"].encode()
        below = raw.partition(b"?")[0].decode("latin-1").removeprefix(self._path).strip("/")
        if below not in {"", "schema.json"}:
            raise RequestError(
                Problem(404, "nothing-here", "there is nothing at this address", fix=f"ask for {self._path}")
            )
        if scope["method"] not in {"GET", "HEAD"}:
            raise RequestError(
                Problem(
                    405,
                    "wrong-method",
                    f"{scope['method']} is not known here",
                    headers=(("Allow", "GET, HEAD"),),
                )
            )
        if below:
            await self._schema(exchange, scope, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        _check_accept(headers.get(b"accept"))
        asked = read_request(scope["query_string"], headers.get(b"last-event-id"))
        batches = self._streams.batches(asked, exchange)
        # What is wrong with a question shows before the answer begins.
        first = await anext(batches, None)
        if first is None:
            # Nothing more will come: the one answer after which a browser does not come back.
            await _start(send, 204, [])
            await send({"type": "http.response.body", "body": b""})
            return
        await _start(
            send, 200, [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
        )
        if scope["method"] == "HEAD":
            await batches.aclose()
            await send({"type": "http.response.body", "body": b""})
            return
        try:
            await self._send_all(first, batches, exchange, receive, send)
        finally:
            await batches.aclose()

    async def _send_all(
        self, first: Batch, batches: AsyncIterator[Batch], exchange: Exchange, receive: Receive, send: Send
    ) -> None:
        """Send until the end, the client's or the server's leaving, or the time is over."""
        work = asyncio.ensure_future(self._pump(first, batches, exchange, send))
        gone = asyncio.ensure_future(_disconnected(receive))
        ended = asyncio.ensure_future(self._host.ended())
        try:
            async with asyncio.timeout(self._seconds + _GRACE_SECONDS):
                await asyncio.wait({work, gone, ended}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done() and not gone.done():
                    # What is under way is sent; a reader who does not read is not waited for.
                    await asyncio.wait(
                        {work, gone}, timeout=_GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
        except TimeoutError:
            pass
        finally:
            for task in (work, gone, ended):
                if not task.done():
                    task.cancel()
            results = await asyncio.gather(work, gone, ended, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _pump(
        self, first: Batch, batches: AsyncIterator[Batch], exchange: Exchange, send: Send
    ) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._seconds
        sent = 0
        batch: Batch | None = first
        while batch is not None:
            if sent and self._largest is not None and sent + len(batch.body) > self._largest:
                break
            await send({"type": "http.response.body", "body": batch.body, "more_body": True})
            sent += len(batch.body)
            exchange.rows += batch.rows
            exchange.version = batch.version if batch.version is not None else exchange.version
            if loop.time() >= until or self._host.is_ending:
                break
            batch = await anext(batches, None)
        await send({"type": "http.response.body", "body": b""})

    # -- besides -------------------------------------------------------------------------------------------

    async def _schema(self, exchange: Exchange, scope: dict[str, Any], send: Send) -> None:
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("contract", [self._contract.hash])[-1]
        contract = await asyncio.to_thread(self._contract_of, asked)
        body = orjson.dumps(data_schema(contract, exchange.view, self._envelope))
        exchange.columns = exchange.view.columns
        await _start(
            send,
            200,
            [(b"content-type", b"application/schema+json"), (b"content-length", str(len(body)).encode())],
        )
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _contract_of(self, contract_hash: str) -> Contract:
        """The contract of that hash, if it is or was one of the port's.

        Raises:
            RequestError: 404, it is not.
        """
        if contract_hash == self._contract.hash:
            return self._contract
        location = self._pages.changes.location
        found = None
        with contextlib.suppress(UsageError):
            found = kept_contract(location.root, location.product, contract_hash)
        if found is None:
            raise RequestError(Problem(404, "nothing-here", "nothing was published under that contract"))
        return found


def _check_accept(accept: bytes | None) -> None:
    if accept is None:
        return
    kinds = {part.partition(b";")[0].strip().lower() for part in accept.split(b",")}
    if not kinds & {b"text/event-stream", b"text/*", b"*/*", b""}:
        raise RequestError(
            Problem(406, "not-acceptable", "events come as text/event-stream", fix="accept text/event-stream")
        )


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    with contextlib.suppress(ConnectionError):
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    *headers,
                    (b"cache-control", b"no-store"),
                    (b"vary", b"Authorization, X-API-Key"),
                ],
            }
        )
