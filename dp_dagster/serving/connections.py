"""Connections that take their time: who is slow gets an answer, who stands still makes room for others.

uvicorn waits for ever for a request that never comes to its end, and for a reader who reads nothing. Each such
connection costs a file and some memory, so a few thousand of them would be all that a server does. And it takes what
is sent to a client who has left without a word, so that an export would be made to its end for nobody.
"""

from __future__ import annotations

import fcntl
import sys
import termios
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from dp_dagster.serving.protocol import Application, Message, Receive, Scope

REQUEST_SECONDS = 20.0
"""How long a request may take to arrive: from the connection, or its first byte, to the end of its body."""

STALLED_SECONDS = 120.0
"""How long a reader may read nothing of what waits for it."""


_JOINED_BYTES = 64 * 1024
"""Bodies below this are joined with their head: copying them costs less than another call."""


class ClientGoneError(ConnectionError):
    """What was sent came to nobody: the client has left before the end of the answer."""


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1, as uvicorn speaks it, with an end to its patience. Sending to who has left raises, as ASGI 2.4 says."""

    request_seconds = REQUEST_SECONDS
    stalled_seconds = STALLED_SECONDS

    def __init__(self, *arguments: Any, **further: Any) -> None:
        super().__init__(*arguments, **further)
        self._is_arriving = True
        self._arriving: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._answered: RequestResponseCycle | None = None

    # -- a request arrives -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for a request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """A part of a request, or all of it: then no timer is ever started."""
        super().data_received(data)
        if not self._is_arriving:
            self._stop_waiting()
        elif self._arriving is None:
            self._wait()

    def on_message_begin(self) -> None:
        """A request begins, the first one or a further one."""
        self._is_arriving = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """It is there."""
        self._is_arriving = False
        super().on_message_complete()

    def _wait(self) -> None:
        self._arriving = self.loop.call_later(self.request_seconds, self._is_too_slow)

    def _stop_waiting(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _is_too_slow(self) -> None:
        self._arriving = None
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            # It stands behind another one, whose answer is on its way.
            self._wait()
            return
        if cycle is None or cycle.response_complete:
            status = HTTPStatus.REQUEST_TIMEOUT
            said = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(said.encode())
        # Who waits for the rest of a body learns that it will not come.
        self.transport.close()

    # -- an answer leaves ------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Answer a request."""
        self._answered = cycle
        if cycle.scope["method"] != "HEAD":
            cycle.transport = HeadWithBody(self.transport, self.loop)  # type: ignore[assignment]
        super()._start_asgi_task(cycle, _telling(app, cycle))

    def pause_writing(self) -> None:
        """The reader is slower than the answer."""
        super().pause_writing()
        if self._stalled is None:
            self._watch()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._go_on()

    def _watch(self) -> None:
        self._stalled = self.loop.call_later(self.stalled_seconds, self._look_again, self._unread())

    def _look_again(self, before: int) -> None:
        if self._unread() < before:
            self._watch()
        else:
            self.transport.abort()

    def _unread(self) -> int:
        """Bytes that wait for the reader, here and in the system. Nothing is added while writing is paused."""
        connection = self.transport.get_extra_info("socket")
        waiting = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(waiting, sys.byteorder) + self.transport.get_write_buffer_size()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._stop_waiting()
        self._go_on()
        answered = self._answered
        if answered is not None and answered is not self.cycle and not answered.response_complete:
            # Another request stands behind it; uvicorn tells that one alone.
            answered.disconnected = True
            answered.message_event.set()
        super().connection_lost(exc)

    def _go_on(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class HeadWithBody:
    """What an answer is written to: its head leaves together with the body, where that follows at once.

    uvicorn writes one after the other. Each of them is a call of the system, and a packet.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None
        self._is_first = True

    def write(self, data: bytes) -> None:
        """Write the head, or a part of the body."""
        if self._is_first:
            self._is_first = False
            self._held = data
            # Who asks for events has the head before the first of them.
            self._loop.call_soon(self._let_go)
            return
        if self._held is not None and len(data) < _JOINED_BYTES:
            data, self._held = self._held + data, None
        self._let_go()
        self._transport.write(data)

    def close(self) -> None:
        """Close the connection when all is written."""
        self._let_go()
        self._transport.close()

    def _let_go(self) -> None:
        """Wait for no body."""
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)


def _telling(application: Application, cycle: RequestResponseCycle) -> Any:
    """An application that is told when the client of its answer has left."""

    async def send(message: Message) -> None:
        await cycle.send(message)  # type: ignore[arg-type]  # the same messages, as plain dictionaries
        if cycle.disconnected:
            raise ClientGoneError

    async def answer(scope: Scope, receive: Receive, _: Any) -> None:
        await application(scope, receive, send)

    return answer
