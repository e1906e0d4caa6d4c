"""An OpenID Connect issuer on this machine whose keys, tokens and misbehaviour a test decides."""

from __future__ import annotations

import json
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from joserfc.jws import JWSRegistry

AUDIENCE = "products"
_RSA: dict[str, RSAKey] = {}


def rsa_key(name: str, bits: int = 2048) -> RSAKey:
    """A key of that name; made once, since making one takes time."""
    if name not in _RSA:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of keys that are too short; a test wants one
            _RSA[name] = RSAKey.generate_key(bits, {"kid": name}, private=True, auto_kid=False)
    return _RSA[name]


class IssuerServer:
    """The issuer: ``answers`` by path, and a count of what was fetched."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version: ClassVar[str] = "HTTP/1.0"

            def do_GET(self) -> None:
                issuer.fetched.append(self.path)
                status, headers, body = issuer.answers.get(self.path, (404, {}, b"{}"))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.configure()
        self.publish(rsa_key("first"))

    def configure(self, **changes: Any) -> None:
        document = {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **changes}
        self.answers["/.well-known/openid-configuration"] = (200, {}, json.dumps(document).encode())

    def publish(self, *keys: RSAKey | ECKey, **changes: Any) -> None:
        published = [{**key.as_dict(private=False), "use": "sig", **changes} for key in keys]
        self.answers["/keys"] = (200, {}, json.dumps({"keys": published}).encode())

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 300, **changes}
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self,
        key: Any = None,
        *,
        algorithm: str = "RS256",
        header: dict[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        key = key or rsa_key("first")
        made = {"alg": algorithm, "kid": key.kid, **(header or {})}
        registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        return jwt.encode(
            {name: value for name, value in made.items() if value is not None},
            self.claims(**changes),
            key,
            algorithms=[algorithm],
            registry=registry,
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
