"""An API on loopback with every style of paging, limits and faults: what a test asks of it is in ``Shop``."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 3


@dataclass
class Asked:
    """One request."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    at: float


@dataclass
class ApiShop:
    """What the API has, and what it does wrong next.

    Attributes:
        records: All of them.
        faults: Answers that are given instead of the next ones: a status with headers, ``"drop"`` (the line is cut in
            the middle of the answer) or ``"hang"``; ``None`` for a good answer.
        asked: All requests so far.
        token: What must be shown, if anything.
        gone: Whether there is nothing any more.
        raw: What the path ``raw`` answers, as it stands.
    """

    url: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Any] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    token: str = ""
    gone: bool = False
    raw: str = ""

    def answer(self, asked: Asked) -> tuple[int, dict[str, str], Any]:  # noqa: PLR0911, PLR0912 one for each path
        """Status, headers and body."""
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return 401, {}, {"error": f"token {asked.headers.get('authorization')} is not known"}
        if self.gone:
            return 404, {}, {"error": "no such thing"}
        found = self.records
        if "since" in asked.query:
            found = [record for record in found if str(record["changed"]) >= asked.query["since"]]
        if "after" in asked.query:
            found = [record for record in found if record["id"] > int(asked.query["after"])]
        style = asked.path.strip("/")
        if style == "all":
            return 200, {}, found
        if style == "raw":
            return 200, {}, self.raw
        if style == "page":
            number = int(asked.query["page"])
            return 200, {}, {"items": found[(number - 1) * PAGE : number * PAGE]}
        if style == "pages":
            number = int(asked.query["p"])
            pages = -(-len(found) // PAGE)
            return 200, {}, {"items": found[number * PAGE : (number + 1) * PAGE], "meta": {"pages": pages}}
        if style == "offset":
            start = int(asked.query["offset"])
            return 200, {}, {"items": found[start : start + int(asked.query["limit"])], "total": len(found)}
        if style == "body":
            start = int((asked.body.get("from") or {}).get("mark") or 0)
            more = start + PAGE < len(found)
            return (
                200,
                {},
                {"data": {"rows": found[start : start + PAGE]}, "next": start + PAGE if more else None},
            )
        start = int(asked.query.get("mark", 0))
        more = start + PAGE < len(found)
        rest = "".join(f"&{name}={value}" for name, value in asked.query.items() if name != "mark")
        address = f"{self.url}/{style}?mark={start + PAGE}{rest}"
        page = found[start : start + PAGE]
        if style == "cursor":
            return 200, {}, {"items": page, "next": start + PAGE if more else None, "has_more": more}
        if style == "link":
            return 200, {"Link": f'<{address}>; rel="next"'} if more else {}, page
        if style == "url":
            return 200, {}, {"items": page, "links": {"next": address if more else None}}
        if style == "elsewhere":
            return 200, {}, {"items": page, "links": {"next": "http://localhost:1/x" if more else None}}
        if style == "moved":
            return 302, {"Location": f"{self.url}/all?token=hunter2"}, {}
        if style == "html":
            return 200, {"Content-Type": "text/html"}, "<html>please log in</html>"
        return 404, {}, {"error": "no such thing"}


def serve() -> tuple[ApiShop, ThreadingHTTPServer]:
    """Start the API; shut the server down in the end."""
    shop = ApiShop()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            form = self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
            self._answer(parse_qs(content.decode()) if form else json.loads(content or b"{}"))

        def _answer(self, body: Any) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(parts.path, query, headers, body, time.monotonic())
            shop.asked.append(asked)
            if parts.path == "/token":
                self._send(200, {}, {"access_token": "made-for-a-client", "expires_in": 3600})
                return
            fault = shop.faults.pop(0) if shop.faults else None
            if fault == "drop":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'[{"id": ')
                self.close_connection = True
                return
            if fault == "hang":
                threading.Event().wait(0.6)
                self.close_connection = True
                return
            self._send(*(fault if fault is not None else shop.answer(asked)))

        def _send(self, status: int, headers: dict[str, str], body: Any) -> None:
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            """Keep still."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    shop.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return shop, server
