"""Tokens of a provider that somebody else wrote: ``oidc-provider-mock``, in a process of its own."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from support import end_group

from dp_dagster.access.authentication.issuers import Issuer
from dp_dagster.access.authentication.oauth2 import OAuth2Authenticator
from dp_dagster.errors import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = "dashboard"


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "oidc_provider_mock", "--port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/.well-known/openid-configuration", trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield url
    finally:
        end_group(process)


def token_of(provider: str, subject: str, **claims: Any) -> str:
    """Sign in as a person does, and take the token that the application gets."""
    with httpx.Client(base_url=provider, trust_env=False) as browser:
        browser.put(f"/users/{subject}", json=claims).raise_for_status()
        question = {
            "client_id": CLIENT,
            "redirect_uri": "http://localhost/back",
            "response_type": "code",
            "scope": "openid email",
        }
        answer = browser.post("/oauth2/authorize", params=question, data={"sub": subject})
        code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
        given = browser.post(
            "/oauth2/token",
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": "http://localhost/back",
                "client_id": CLIENT,
                "client_secret": "any",
            },
        )
        return str(given.raise_for_status().json()["id_token"])


@pytest.mark.slow
def test_its_tokens_are_understood(provider: str) -> None:
    token = token_of(provider, "ada", region="EU", roles=["analyst"])

    def identify(audience: str, issuer: str = provider) -> Any:
        authenticator = OAuth2Authenticator(Issuer(issuer), audience)
        return asyncio.run(authenticator.identify({"authorization": f"Bearer {token}"}))

    found = identify(CLIENT)
    assert (found.subject, found.roles, found.method) == ("ada", {"analyst"}, "oauth2")
    assert found.reference("claim.region") == "EU"
    with pytest.raises(AuthenticationError, match="another audience"):
        identify("others")
    with pytest.raises(AuthenticationError, match="cannot be checked now"):
        identify(CLIENT, f"{provider}/other")
