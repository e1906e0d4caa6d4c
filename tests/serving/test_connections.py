"""Connections over a real server: who is slow gets an answer, who stands still makes room."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest
from support import listening

from dp_dagster.serving.connections import HeadWithBody, PatientProtocol
from dp_dagster.serving.shell import Route, Shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dp_dagster.serving.protocol import Receive, Scope, Send
    from dp_dagster.serving.shell import Served

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


async def _late(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Fails when the client has left."""
    LATE.reached.set()
    await asyncio.to_thread(LATE.opened.wait, 30)
    raise RuntimeError("nobody is told")


async def _begun(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Like a stream of events, of which none is there yet."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.to_thread(BEGUN.opened.wait, 30)
    await send({"type": "http.response.body", "body": b"an event"})


async def _without_database(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise ConnectionRefusedError("the port's own database")


class Gate:
    """Where an answer waits until the test lets it through."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()


LATE, BEGUN = Gate(), Gate()


@pytest.fixture(scope="module")
def outcomes() -> list[Served]:
    """What the access log is told."""
    return []


@pytest.fixture(scope="module")
def address(outcomes: list[Served]) -> Iterator[str]:
    """A server whose patience is short."""
    answers = {
        "/short": _short,
        "/long": _long,
        "/reading": _reading,
        "/late": _late,
        "/begun": _begun,
        "/without": _without_database,
    }
    shell = Shell([Route(path, answer, finished=outcomes.append) for path, answer in answers.items()])
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


@pytest.mark.parametrize(
    "behind", [b"", b"GET /short HTTP/1.1\r\nhost: x\r\n\r\n"], ids=["alone", "another one waits"]
)
def test_who_leaves_in_the_middle_is_answered_no_more(
    address: str, outcomes: list[Served], behind: bytes
) -> None:
    """The port is told with the next piece, and the access says so."""
    before = len(outcomes)
    with connection(address, b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n" + behind) as made:
        made.recv(1000)
    _wait_for(lambda: any(one.route.path == "/long" for one in outcomes[before:]))
    (left,) = [one for one in outcomes[before:] if one.route.path == "/long"]
    assert left.status == 499
    assert left.size < len(BLOCK) * BLOCKS
    assert still_works(address)


def test_an_error_of_who_has_left_is_told_to_nobody(
    address: str, outcomes: list[Served], caplog: pytest.LogCaptureFixture
) -> None:
    with connection(address, b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n") as made:
        assert LATE.reached.wait(30)
        own = f"{made.getsockname()[1]:04X}"
    _wait_for(lambda: not _is_open(address, own))
    LATE.opened.set()
    _wait_for(lambda: any(one.route.path == "/late" for one in outcomes))
    assert [one.status for one in outcomes if one.route.path == "/late"] == [499]
    assert "ASGI" not in caplog.text


def test_a_connection_of_the_ports_own_is_not_the_clients(address: str) -> None:
    """It failed, and says so; taken for a client who left, it would get no answer at all."""
    answer = httpx.get(f"{address}/without", trust_env=False)
    assert answer.status_code == 500
    assert "database" not in answer.text


def test_a_head_and_its_body_leave_in_one_piece_where_the_body_follows_at_once() -> None:
    async def sent(*steps: bytes | str) -> list[bytes]:
        transport = Written()
        answer = HeadWithBody(transport, asyncio.get_running_loop())  # type: ignore[arg-type]
        for step in steps:
            if isinstance(step, bytes):
                answer.write(step)
            elif step == "close":
                answer.close()
            else:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        return transport.pieces

    large = b"b" * (1 << 20)
    assert asyncio.run(sent(b"head", b"body", b"more")) == [b"headbody", b"more"]
    assert asyncio.run(sent(b"head", large)) == [b"head", large]
    assert asyncio.run(sent(b"head", "a moment", b"body")) == [b"head", b"body"]
    assert asyncio.run(sent(b"head")) == [b"head"]
    assert asyncio.run(sent(b"head", "close")) == [b"head", b"closed"]


class Written:
    """What is written to it."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def close(self) -> None:
        self.pieces.append(b"closed")


def test_the_head_of_a_stream_waits_for_no_body(address: str) -> None:
    with connection(address, b"GET /begun HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n") as made:
        try:
            assert made.recv(1 << 16).startswith(b"HTTP/1.1 200")
        finally:
            BEGUN.opened.set()
        assert b"an event" in all_of(made)


def test_answers_come_in_the_order_of_the_requests(address: str) -> None:
    """The first one has a head alone."""
    asked = (
        b"HEAD /short HTTP/1.1\r\nhost: x\r\n\r\nGET /short HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    with connection(address, asked) as made:
        first, second, body = all_of(made).split(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200")
    assert b"connection: close" not in first.lower()
    assert second.startswith(b"HTTP/1.1 200")
    assert body == b"ok"


def _wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _is_open(address: str, reader: str) -> bool:
    """Whether the server's end of a connection is there, as the system has it."""
    port = f"{urlsplit(address).port:04X}"
    with open("/proc/net/tcp") as table:  # noqa: PTH123 - a file of the system
        ends = [line.split()[1:4] for line in table.readlines()[1:]]
    return [one[2] for one in ends if one[0].endswith(port) and one[1].endswith(reader)] == ["01"]
