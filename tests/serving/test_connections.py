"""Connections over a real server: who is slow gets an answer, who stands still makes room."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from support import listening

from dp_dagster.serving.connections import PatientProtocol
from dp_dagster.serving.shell import Route, Shell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.serving.protocol import Receive, Scope, Send

SECONDS = 0.4
BLOCK = b"x" * 65536
BLOCKS = 256


async def _short(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def _long(_scope: Scope, _receive: Receive, send: Send) -> None:
    """More than the system's buffers hold."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(BLOCKS):
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _reading(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answers when the request's body has come to its end."""
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.request":
        await _short(_scope, receive, send)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server whose patience is short."""
    shell = Shell([Route("/short", _short), Route("/long", _long), Route("/reading", _reading)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PatientProtocol, "request_seconds", SECONDS)
        patch.setattr(PatientProtocol, "stalled_seconds", SECONDS)
        with listening(shell) as found:
            yield found


def connection(address: str, sent: bytes) -> socket.socket:
    parts = urlsplit(address)
    made = socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=30)
    made.sendall(sent)
    return made


def all_of(made: socket.socket) -> bytes:
    pieces = []
    while piece := made.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def still_works(address: str) -> bool:
    return httpx.get(f"{address}/short", trust_env=False).text == "ok"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /short HTTP/1.1\r\nhost: x\r\n",
        b"GET /short HTTP/1.1\r\nhost: x\r\n\r\nGET /sho",
    ],
    ids=["nothing", "half a request", "half a second request"],
)
def test_half_a_request_is_not_waited_for(address: str, sent: bytes) -> None:
    """A byte now and then does not keep the connection open."""
    begun = time.monotonic()
    with connection(address, sent) as made:
        for _ in range(3):
            time.sleep(SECONDS / 6)
            if sent:
                made.sendall(b"x")
        received = all_of(made)
    assert time.monotonic() - begun < SECONDS + 10
    assert received.endswith(b"connection: close\r\n\r\n")
    assert b"HTTP/1.1 408 Request Timeout" in received
    assert (b"HTTP/1.1 200 OK" in received) == sent.endswith(b"/sho")
    assert still_works(address)


def test_a_body_that_never_ends_is_not_waited_for(address: str) -> None:
    sent = b"POST /reading HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf"
    with connection(address, sent) as made:
        assert all_of(made) == b""
    assert still_works(address)


def test_a_slow_request_that_ends_in_time_is_answered(address: str) -> None:
    with connection(address, b"POST /reading HTTP/1.1\r\nhost: x\r\nconnection: close\r\n") as made:
        for part in (b"content-length: 4\r\n", b"\r\n", b"ha", b"lf"):
            time.sleep(SECONDS / 10)
            made.sendall(part)
        assert all_of(made).endswith(b"ok")


def test_who_waits_between_two_requests_is_not_cut_off(address: str) -> None:
    """A connection that is kept open waits for as long as uvicorn lets it."""
    sent = b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n"
    with connection(address, sent) as made:
        assert made.recv(65536).endswith(b"ok")
        time.sleep(SECONDS * 2)
        made.sendall(sent)
        assert made.recv(65536).endswith(b"ok")


def test_a_request_behind_a_long_answer_is_not_cut_off(address: str) -> None:
    """What is on its way is not broken off because the next request is only half there."""
    sent = b"GET /long HTTP/1.1\r\nhost: x\r\n\r\nGET /short HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    received = 0
    with connection(address, sent) as made:
        until = time.monotonic() + SECONDS * 3
        while time.monotonic() < until:
            received += len(made.recv(16384))
            time.sleep(0.01)
        made.sendall(b"\r\n")
        rest = all_of(made)
    assert rest.endswith(b"ok")
    assert received + len(rest) > len(BLOCK) * BLOCKS


def test_a_reader_who_reads_nothing_makes_room(address: str) -> None:
    """The server breaks the connection off, and goes on for the others."""
    with connection(address, b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n") as made:
        deadline = time.monotonic() + 30
        own = f"{made.getsockname()[1]:04X}"
        while _is_open(address, own):
            assert still_works(address)
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _is_open(address: str, reader: str) -> bool:
    """Whether the server's end of a connection is there, as the system has it."""
    port = f"{urlsplit(address).port:04X}"
    with open("/proc/net/tcp") as table:  # noqa: PTH123 - a file of the system
        ends = [line.split()[1:4] for line in table.readlines()[1:]]
    return [one[2] for one in ends if one[0].endswith(port) and one[1].endswith(reader)] == ["01"]
