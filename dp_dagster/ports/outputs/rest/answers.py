"""Answers and how they go out over ASGI: bytes, a stream, or a part of a file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from dp_dagster.ports.problems import MEDIA_TYPE, Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dp_dagster.rows.query import Pieces

    Send = Callable[[dict[str, Any]], Awaitable[None]]

Header = tuple[bytes, bytes]
Headers = tuple[Header, ...]

_BLOCK_BYTES = 1 << 20


class Answer(Protocol):
    """Something to send."""

    async def send(self, send: Send, *, only_head: bool) -> None:
        """Send it; for HEAD without its body."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer that is there at once."""

    status: int
    headers: Headers
    body: bytes

    async def send(self, send: Send, *, only_head: bool) -> None:
        """Send it."""
        length = (b"content-length", str(len(self.body)).encode())
        # 204 and 304 have no body, so no length either.
        headers = self.headers if self.status in (204, 304) else (*self.headers, length)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if only_head else self.body})


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that is made while it is sent; ``ended`` is called when it has been, or nobody listens any more.

    ``first`` is the beginning, which had to be there before the status could be known, and ``last`` the end. What
    fails in between ends the connection before the end of the body, so that nobody takes the half for the whole.
    """

    headers: Headers
    chunks: Pieces
    first: bytes = b""
    last: bytes = b""
    ended: Callable[[], None] | None = None

    async def send(self, send: Send, *, only_head: bool) -> None:
        """Send it, and close what makes it."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.headers})
            if not only_head:
                if self.first:
                    await send({"type": "http.response.body", "body": self.first, "more_body": True})
                async for chunk in self.chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"" if only_head else self.last})
        finally:
            if self.ended is not None and not only_head:
                self.ended()
            await self.chunks.aclose()


@dataclass(frozen=True, slots=True)
class FilePart:
    """Bytes of a file, from ``start`` up to, and without, ``end``. The file is open, so it may be removed meanwhile."""

    status: int
    headers: Headers
    descriptor: int
    start: int
    end: int

    async def send(self, send: Send, *, only_head: bool) -> None:
        """Send it, and close the file."""
        import anyio.to_thread

        try:
            length = (b"content-length", str(self.end - self.start).encode())
            await send(
                {"type": "http.response.start", "status": self.status, "headers": (*self.headers, length)}
            )
            at = self.end if only_head else self.start
            while at < self.end:
                size = min(_BLOCK_BYTES, self.end - at)
                block = await anyio.to_thread.run_sync(os.pread, self.descriptor, size, at)
                if not block:
                    raise OSError("a published file is shorter than it was")
                at += len(block)
                await send({"type": "http.response.body", "body": block, "more_body": at < self.end})
            if only_head or self.start == self.end:
                await send({"type": "http.response.body", "body": b""})
        finally:
            os.close(self.descriptor)


def problem_answer(problem: Problem, further: Headers, request_id: str | None) -> Whole:
    """A problem document as an answer; nobody keeps it."""
    if request_id is not None:
        problem = replace(problem, members={**problem.members, "request_id": request_id})
    headers = tuple((name.lower().encode(), value.encode()) for name, value in problem.headers)
    kind = (b"content-type", MEDIA_TYPE.encode())
    return Whole(
        problem.status, (kind, (b"cache-control", b"no-store"), *headers, *further), problem.document()
    )
