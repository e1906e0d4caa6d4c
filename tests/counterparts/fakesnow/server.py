"""Serve fakesnow on loopback: ``server.py PORT``. Runs in fakesnow's own environment, not in the project's.

fakesnow 0.12 answers a login as clients of Snowflake up to version 4 want it. Those from version 5 on also ask for a
master token, for the times that tokens are good for and for a session's id; these are added here.
"""

from __future__ import annotations

import json
import sys

import fakesnow.server
import uvicorn
from starlette.responses import Response


class CompleteLogins:
    """Adds to the answer of a login what fakesnow leaves out."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or not scope["path"].endswith("/login-request"):
            await self.app(scope, receive, send)
            return
        status, body = 200, b""

        async def keep(message):
            nonlocal status, body
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                body += message.get("body", b"")

        await self.app(scope, receive, keep)
        answer = json.loads(body)
        data = answer["data"]
        answer["data"] = {
            "masterToken": data["token"],
            "validityInSeconds": 3600,
            "masterValidityInSeconds": 14400,
            "sessionId": len(fakesnow.server.sessions),
        } | data
        made = Response(json.dumps(answer), status_code=status, media_type="application/json")
        await made(scope, receive, send)


if __name__ == "__main__":
    uvicorn.run(
        CompleteLogins(fakesnow.server.app), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning"
    )
