"""Answers in gzip or zstd, for those who ask and where it pays."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dp_dagster.serving.protocol import Headers, Message, Send

_SMALLEST = 1024
# Below this, compressing costs less than going to a thread.
_AT_ONCE = 32 * 1024
_GZIP_LEVEL = 1
_GZIP_WINDOW = 31
_ZSTD_LEVEL = 1
_TEXT = (
    b"application/json",
    b"application/problem+json",
    b"application/x-ndjson",
    b"application/graphql-response+json",
    b"application/openapi+json",
    b"application/vnd.oai.openapi+json",
    b"application/vnd.apache.arrow.stream",
    b"text/",
)


def wished(accepted: bytes) -> bytes | None:
    """The encoding to use, from an Accept-Encoding header; ``None`` for none."""
    offered: dict[bytes, float] = {}
    for part in accepted.lower().split(b","):
        name, _, weight = part.partition(b";")
        quality = 1.0
        if weight:
            try:
                quality = float(weight.partition(b"=")[2])
            except ValueError:
                quality = 0.0
        offered[name.strip()] = quality
    every = offered.get(b"*", 0.0)
    best = max((b"zstd", b"gzip"), key=lambda name: offered.get(name, every))
    return best if offered.get(best, every) > 0 else None


class Compressor:
    """Stands between an application and the client, and compresses what is text and not small."""

    def __init__(self, send: Send, encoding: bytes) -> None:
        self._send = send
        self._encoding = encoding
        self._start: Message | None = None
        self._machine: Any = None

    async def __call__(self, message: Message) -> None:
        """One message of the application."""
        if message["type"] == "http.response.start":
            if _fits(message):
                # Whether it is small shows with the first piece.
                self._start = message
            else:
                await self._send(message)
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        body = message.get("body", b"")
        more = message.get("more_body", False)
        start = self._start
        if start is not None:
            self._start = None
            if more or len(body) >= _SMALLEST:
                start["headers"] = _encoded(start["headers"], self._encoding)
                self._machine = _machine(self._encoding)
            await self._send(start)
        if self._machine is None:
            await self._send(message)
            return
        if len(body) > _AT_ONCE:
            data = await asyncio.to_thread(self._squeeze, body, more)
        else:
            data = self._squeeze(body, more)
        if data or not more:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def _squeeze(self, body: bytes, more: bool) -> bytes:
        data: bytes = self._machine.compress(body)
        if not more:
            data += self._machine.flush()
        return data


def _machine(encoding: bytes) -> Any:
    if encoding == b"zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)


def _fits(message: Message) -> bool:
    if message["status"] not in {200, 201, 400, 403, 404, 410, 422}:
        return False
    kind, size = b"", None
    for name, value in message.get("headers", ()):
        if name == b"content-encoding":
            return False
        if name == b"content-type":
            kind = value
        elif name == b"content-length":
            size = int(value)
    # Events must not wait for more of them.
    return (
        kind.startswith(_TEXT)
        and not kind.startswith(b"text/event-stream")
        and (size is None or size >= _SMALLEST)
    )


def _encoded(headers: Headers, encoding: bytes) -> Headers:
    """The headers of the compressed answer: another length, and the tag of other bytes."""
    found: Headers = []
    for name, value in headers:
        if name == b"content-length":
            continue
        if name == b"etag" and not value.startswith(b"W/"):
            found.append((name, b"W/" + value))
        else:
            found.append((name, value))
    return [*found, (b"content-encoding", encoding), (b"vary", b"Accept-Encoding")]
