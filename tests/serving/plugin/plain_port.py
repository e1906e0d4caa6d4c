"""A served kind with the least that one can have: what it answers is asked of the shell in the plainest way."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from dp_dagster.ports.base import Example, Projected
from dp_dagster.ports.served import EXCHANGE, ServedConfig, ServedPort
from dp_dagster.rows.query import Position, Query

if TYPE_CHECKING:
    from dp_dagster.ports.base import OutputContext
    from dp_dagster.ports.served import Exchange, PortHost


class PlainConfig(ServedConfig):
    """Nothing but who may ask."""


class PlainPort(ServedPort[PlainConfig]):
    """Rows as JSON arrays."""

    kind = "PLAIN"
    summary = "rows as JSON arrays"
    Config = PlainConfig

    def path(self, config: PlainConfig, context: OutputContext) -> str:
        return f"/{context.product_id}/v{context.major}/{context.port_name}"

    def address(self, config: PlainConfig, context: OutputContext) -> str:
        return f"http://127.0.0.1:8700{self.path(config, context)}"

    def examples(self, config: PlainConfig, context: OutputContext) -> tuple[Example, ...]:
        return (Example("shell", f"curl {self.address(config, context)}"),)

    def project(self, config: PlainConfig, context: OutputContext, snapshot: Any, manifest: Any) -> Projected:
        return Projected(self.address(config, context))

    def application(self, config: PlainConfig, context: OutputContext, host: PortHost) -> Any:
        path = self.path(config, context)

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            exchange: Exchange = scope[EXCHANGE]
            rest = scope["path"].removeprefix(path).strip("/")
            asked = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
            columns = tuple(asked.get("columns", ",".join(exchange.view.columns)).split(","))
            if rest == "fail":
                raise RuntimeError("a secret of the operator")
            if rest == "sleep":
                await asyncio.sleep(float(asked["seconds"]))
                await reply(send, "slept")
                return
            if rest == "echo":
                body = b""
                while True:
                    message = await receive()
                    body += message.get("body", b"")
                    if not message.get("more_body"):
                        break
                await reply(send, len(body))
                return
            version = host.at(int(asked["version"])) if "version" in asked else host.newest()
            exchange.version, exchange.columns = version.version, columns
            if rest == "export":
                await stream(send, version.export(exchange.view, Query(columns, limit=None), asked["form"]))
                return
            if rest == "count":
                await reply(send, await version.fetch_count(exchange.view))
                return
            if rest:
                row = await version.fetch_row(exchange.view, (int(rest),), columns)
                exchange.rows = int(row is not None)
                await reply(send, row, 200 if row is not None else 404)
                return
            after = Position((int(asked["after"]),)) if "after" in asked else None
            page = await version.fetch_page(
                exchange.view, Query(columns, limit=int(asked.get("limit", "100")), after=after)
            )
            exchange.rows = len(page.rows)
            await reply(send, {"version": version.version, "rows": page.rows})

        return answer


async def reply(send: Any, document: Any, status: int = 200) -> None:
    body = json.dumps(document, default=str).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send: Any, pieces: Any) -> None:
    begun = False
    try:
        async for piece in pieces:
            if not begun:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                begun = True
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        await pieces.aclose()
    await send({"type": "http.response.body", "body": b""})
