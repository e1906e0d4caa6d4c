"""What every request meets: addresses, errors, headers, sizes, compression."""

from __future__ import annotations

import gzip
import socket
from typing import TYPE_CHECKING

import pytest
import zstandard
from serving_helpers import DESCRIPTOR, make_product, resolved

from dp_dagster.errors import AuthorError, UsageError
from dp_dagster.serving.app import assemble
from dp_dagster.serving.server import refuse_open_ports

if TYPE_CHECKING:
    from pathlib import Path

    from serving_helpers import Running

PORT = "/counted/v1/plain"
NONSENSE = (
    b"\x16\x03\x01\x00",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET  \r\n\r\n",
    b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
)


def test_rows_are_served(running: Running) -> None:
    assert running.client.get(f"{PORT}/5").json() == [5, 1, "row 5 of batch 1"]
    assert running.client.get(f"{PORT}/5000").status_code == 404
    assert running.client.get(PORT, params={"limit": 2}).json()["rows"] == [
        [0, 1, "row 0 of batch 1"],
        [1, 1, "row 1 of batch 1"],
    ]
    assert running.client.get(f"{PORT}/count").json() == 1000


def test_health_and_readiness(running: Running) -> None:
    assert running.client.get("/health").json() == {"status": "alive"}
    ready = running.client.get("/ready").json()
    assert ready["status"] == "ready"
    (port,) = ready["ports"]
    assert (port["port"], port["path"], port["state"], port["version"]) == ("counted.plain", PORT, "ready", 0)


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/", 404, "/ready"),
        ("/counted/v1/other", 404, "/ready"),
        (f"{PORT}?columns=secret", 403, "'secret' is not granted"),
        (f"{PORT}?version=7", 410, "start again"),
        (f"{PORT}?limit=0", 400, "limit"),
        (f"{PORT}/fail", 500, "tell its owner"),
    ],
)
def test_errors_are_problem_documents(running: Running, address: str, status: int, said: str) -> None:
    answer = running.client.get(address, headers={"x-request-id": "mine-1"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert said in problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"] == "mine-1"
    assert "secret of the operator" not in answer.text
    head = running.client.head(address)
    assert (head.status_code, head.content) == (status, b"")


def test_headers_of_every_answer(running: Running) -> None:
    for address in (PORT, "/health", "/nowhere", f"{PORT}/fail"):
        headers = running.client.get(address, headers={"x-request-id": "not\tfit"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert "\t" not in headers["x-request-id"]
        assert "server" not in headers


def test_what_is_too_large_is_refused(running: Running) -> None:
    client = running.client
    assert client.get(PORT, headers={"x-large": "x" * 40_000}).status_code == 431
    assert client.get(PORT, params={"x": "x" * 20_000}).status_code == 414
    assert client.post(f"{PORT}/echo", content=b"x" * 1_000_000).json() == 1_000_000
    assert client.post(f"{PORT}/echo", content=b"x" * 2_000_000).status_code == 413
    pieces = (b"x" * 100_000 for _ in range(20))
    assert client.post(f"{PORT}/echo", content=pieces).status_code == 413


def test_compression_for_who_asks_and_where_it_pays(running: Running) -> None:
    address = f"http://127.0.0.1:{running.port}{PORT}"
    plain = running.client.get(address, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    for accepted, encoding in (
        ("gzip, deflate", "gzip"),
        ("gzip, zstd;q=0.9", "gzip"),
        ("zstd, gzip", "zstd"),
    ):
        with running.client.stream("GET", address, headers={"accept-encoding": accepted}) as answer:
            assert answer.headers["content-encoding"] == encoding
            assert "accept-encoding" in answer.headers["vary"].lower()
            raw = b"".join(answer.iter_raw())
        assert len(raw) < len(plain.content) / 2
        unpacked = (
            gzip.decompress(raw)
            if encoding == "gzip"
            else zstandard.ZstdDecompressor().decompressobj().decompress(raw)
        )
        assert unpacked == plain.content
    small = running.client.get(f"{PORT}/5", headers={"accept-encoding": "gzip"})
    refused = running.client.get(address, headers={"accept-encoding": "gzip;q=0, zstd;q=0"})
    assert "content-encoding" not in small.headers
    assert "content-encoding" not in refused.headers


def test_nonsense_on_the_wire_hurts_nobody(running: Running) -> None:
    for nonsense in NONSENSE:
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1000)
    assert running.client.get("/health").status_code == 200


def test_two_ports_at_one_path_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twice = DESCRIPTOR.replace(
        "access:", "  - {name: inner, type: PLAIN, dataset: numbers, auth: none}\naccess:"
    )
    make_product(tmp_path, twice)
    product = resolved(tmp_path)
    for output in product.ports:
        monkeypatch.setattr(output.port, "path", lambda *_: "/same")
    with pytest.raises(AuthorError, match=r"counted\.plain is served at /same and counted\.inner at /same"):
        assemble([product], product.settings)


def test_ports_that_ask_nobody_stay_on_this_machine(tmp_path: Path) -> None:
    make_product(tmp_path)
    product = resolved(tmp_path)
    refuse_open_ports([product], "127.0.0.1")
    refuse_open_ports([product], "::1")
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(UsageError, match=r"counted\.plain: auth: none .*beyond_loopback: true"):
            refuse_open_ports([product], host)
    meant = DESCRIPTOR.replace("auth: none", "auth: {type: none, beyond_loopback: true}")
    other = tmp_path / "other"
    other.mkdir()
    make_product(other, meant)
    refuse_open_ports([resolved(other)], "0.0.0.0")
