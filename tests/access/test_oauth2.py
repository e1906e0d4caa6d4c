"""``auth: OAuth2``: tokens that are good, and all the ways in which they are not."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from issuer_server import AUDIENCE, IssuerServer, rsa_key
from joserfc.jwk import ECKey

from dp_dagster.access.authentication import issuers
from dp_dagster.access.authentication.issuers import Issuer
from dp_dagster.access.authentication.oauth2 import OAuth2Authenticator
from dp_dagster.access.view import Identity
from dp_dagster.errors import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def shared_server() -> Iterator[IssuerServer]:
    server = IssuerServer()
    yield server
    server.close()


@pytest.fixture
def server(shared_server: IssuerServer) -> IssuerServer:
    shared_server.configure()
    shared_server.publish(rsa_key("first"))
    shared_server.fetched.clear()
    return shared_server


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Tried:
    """An authenticator, its two clocks, and what it said last."""

    def __init__(self, server: IssuerServer, **options: Any) -> None:
        self.clock, self.wall = Clock(1000), Clock(time.time())
        self.issuer = Issuer(server.url, self.clock)
        self.authenticator = OAuth2Authenticator(self.issuer, AUDIENCE, clock=self.wall, **options)

    def identify(self, token: str, **headers: str) -> Identity:
        return asyncio.run(self.authenticator.identify({"authorization": f"Bearer {token}", **headers}))

    def refused(self, token: str, **headers: str) -> AuthenticationError:
        with pytest.raises(AuthenticationError) as caught:
            self.identify(token, **headers)
        assert token[:30] not in str(caught.value) or len(token) < 10
        return caught.value


@pytest.fixture
def tried(server: IssuerServer) -> Tried:
    return Tried(server)


def test_a_good_token_says_who_asks(server: IssuerServer, tried: Tried) -> None:
    token = server.token(
        azp="app",
        roles=["analyst"],
        scope="read write",
        region="EU",
        stores=["a", "b"],
        address={"country": "FR"},
    )
    assert tried.identify(token) == Identity(
        "ada",
        "app",
        frozenset({"analyst"}),
        frozenset({"read", "write"}),
        "oauth2",
        (
            ("address.country", "FR"), ("azp", "app"), ("region", "EU"), ("roles", ("analyst",)),
            ("scope", "read write"), ("stores", ("a", "b")), ("sub", "ada"),
        ),
    )  # fmt: skip
    assert tried.identify(token) is tried.identify(token), "verified once"
    assert server.fetched == ["/.well-known/openid-configuration", "/keys"]


def test_roles_and_client_stand_where_the_port_says(server: IssuerServer) -> None:
    tried = Tried(server, roles_claim="realm_access.roles", client_claim="app")
    found = tried.identify(server.token(realm_access={"roles": ["a", 5]}, app="x", azp="y", scp=["s"]))
    assert (found.roles, found.client, found.scopes) == ({"a"}, "x", {"s"})


def test_scopes_are_all_required(server: IssuerServer) -> None:
    tried = Tried(server, scopes=("read", "people"))
    tried.identify(server.token(scope="people other read"))
    error = tried.refused(server.token(scope="read"))
    assert (error.status, str(error)) == (403, "the token lacks the scope people")
    assert error.challenge.startswith('Bearer scope="read people", error="insufficient_scope"')


@pytest.mark.parametrize("algorithm", ["RS512", "PS256", "ES256"])
def test_other_asymmetric_algorithms(server: IssuerServer, tried: Tried, algorithm: str) -> None:
    key = (
        ECKey.generate_key("P-256", {"kid": "curve"}, auto_kid=False)
        if algorithm == "ES256"
        else rsa_key("first")
    )
    server.publish(key)
    assert tried.identify(server.token(key, algorithm=algorithm)).subject == "ada"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exp": int(time.time()) - 3600}, "has expired"),
        ({"exp": None}, "does not say when it ends"),
        ({"exp": "tomorrow"}, "does not say when it ends"),
        ({"exp": True}, "does not say when it ends"),
        ({"nbf": int(time.time()) + 3600}, "is not valid yet"),
        ({"iat": int(time.time()) + 3600}, "is not valid yet"),
        ({"nbf": "soon"}, "has no time as its nbf"),
        ({"aud": "others"}, "is meant for another audience"),
        ({"aud": ["others", "product"]}, "is meant for another audience"),
        ({"aud": None}, "is meant for another audience"),
        ({"aud": {AUDIENCE: 1}}, "is meant for another audience"),
        ({"iss": "https://evil.example.com"}, "was issued by another issuer"),
        ({"iss": None}, "was issued by another issuer"),
        ({"sub": None}, "names no subject"),
        ({"sub": ""}, "names no subject"),
        ({"sub": 5}, "names no subject"),
    ],
)
def test_claims_that_are_not_good_enough(
    server: IssuerServer, tried: Tried, changes: dict[str, Any], said: str
) -> None:
    error = tried.refused(server.token(**changes))
    assert (error.status, str(error)) == (401, f"the token {said}")
    assert error.challenge == f'Bearer error="invalid_token", error_description="the token {said}"'


def test_clocks_may_differ_by_a_minute(server: IssuerServer, tried: Tried) -> None:
    now = int(time.time())
    tried.identify(server.token(exp=now - 30, nbf=now + 30, iat=now + 30))
    token = server.token(exp=now + 100)
    tried.identify(token)
    tried.wall.now = now + 161
    assert "has expired" in str(tried.refused(token)), "what was good once does not stay so"


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(server: IssuerServer, algorithm: str) -> str:
    return f"{part({'alg': algorithm})}.{part(server.claims())}."


def signed_by_hand(server: IssuerServer, header: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """What a library refuses to make."""
    text = f"{part({'kid': 'first', **header})}.{part(server.claims())}"
    return f"{text}.{base64.urlsafe_b64encode(sign(text.encode())).rstrip(b'=').decode()}"


def signed_with_the_public_key(server: IssuerServer, form: str) -> str:
    public = rsa_key("first")
    secret = (
        public.as_pem(private=False) if form == "pem" else json.dumps(public.as_dict(private=False)).encode()
    )
    return signed_by_hand(server, {"alg": "HS256"}, lambda text: hmac.digest(secret, text, "sha256"))


def signed_with_the_right_key(server: IssuerServer, **header: Any) -> str:
    def sign(text: bytes) -> bytes:
        return rsa_key("first").private_key.sign(text, padding.PKCS1v15(), hashes.SHA256())

    return signed_by_hand(server, {"alg": "RS256", **header}, sign)


def embedded(server: IssuerServer, **header: Any) -> str:
    return server.token(rsa_key("attacker"), header={"kid": "first", **header})


def changed(token: str, place: int, value: Any) -> str:
    parts = token.split(".")
    parts[place] = part(value)
    return ".".join(parts)


FORGERIES: dict[str, Any] = {
    "alg none": lambda server: unsigned(server, "none"),
    "alg None": lambda server: unsigned(server, "None"),
    "no alg": lambda server: f"{part({})}.{part(server.claims())}.",
    "alg is a list": lambda server: f"{part({'alg': ['RS256']})}.{part(server.claims())}.",
    "hmac with the public key as PEM": lambda server: signed_with_the_public_key(server, "pem"),
    "hmac with the public key as JWK": lambda server: signed_with_the_public_key(server, "jwk"),
    "another key": lambda server: server.token(rsa_key("attacker"), header={"kid": "first"}),
    "embedded jwk": lambda server: embedded(server, jwk=rsa_key("attacker").as_dict(private=False)),
    "embedded jwk without kid": lambda server: embedded(
        server, jwk=rsa_key("attacker").as_dict(private=False), kid=None
    ),
    "jku": lambda server: embedded(server, jku="https://evil.example.com/keys"),
    "x5u": lambda server: embedded(server, x5u="https://evil.example.com/keys"),
    "crit": lambda server: signed_with_the_right_key(server, crit=["b64"], b64=False),
    "kid is no text": lambda server: f"{part({'alg': 'RS256', 'kid': 5})}.{part(server.claims())}.AA",
    "other payload": lambda server: changed(server.token(), 1, server.claims(sub="root")),
    "other header": lambda server: changed(server.token(), 0, {"alg": "PS256", "kid": "first"}),
    "cut signature": lambda server: server.token()[:-20],
    "empty signature": lambda server: server.token().rpartition(".")[0] + ".",
    "encrypted": lambda _: "a.b.c.d.e",
    "one part": lambda _: "abc",
    "no JSON": lambda _: "e30x.e30.AA",
    "deep JSON": lambda _: base64.urlsafe_b64encode(b"[" * 9000).decode() + ".e30.AA",
    "not ASCII": lambda _: "é.è.ê",
    "surrogates": lambda _: "\udce9.a.b",
    "empty parts": lambda _: "..",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgeries(server: IssuerServer, tried: Tried, forgery: str) -> None:
    tried.identify(signed_with_the_right_key(server))
    fetched = len(server.fetched)
    error = tried.refused(FORGERIES[forgery](server))
    assert error.status == 401
    assert 'error="invalid_token"' in error.challenge
    assert server.fetched[fetched:] == []


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "send a token"),
        ("Basic YTpi", "only Authorization: Bearer"),
        ("Bearer", "only Authorization: Bearer"),
        ("Bearer  ", "only Authorization: Bearer"),
        ("Bearer " + "a" * 20_000, "longer than 16,384 characters"),
    ],
)
def test_headers_without_a_token(server: IssuerServer, tried: Tried, header: str, said: str) -> None:
    with pytest.raises(AuthenticationError, match=said) as caught:
        asyncio.run(tried.authenticator.identify({"authorization": header} if header else {}))
    assert (caught.value.status, caught.value.challenge) == (401, "Bearer")
    assert server.fetched == []


def test_a_new_key_is_fetched_when_a_token_names_it(server: IssuerServer, tried: Tried) -> None:
    old = server.token()
    tried.identify(old)
    server.publish(rsa_key("first"), rsa_key("second"))
    new = server.token(rsa_key("second"))
    tried.clock.now += issuers.PAUSE + 1
    assert tried.identify(new).subject == "ada"
    assert tried.identify(old).subject == "ada"
    server.publish(rsa_key("second"))
    tried.clock.now += issuers.FRESH + 1
    tried.wall.now += 1
    fresh = server.token(rsa_key("second"), jti="x")
    tried.identify(fresh)
    assert "a key that the issuer does not have" in str(tried.refused(old)), (
        "a withdrawn key ends what it signed"
    )


def test_unknown_keys_make_no_storm(server: IssuerServer, tried: Tried) -> None:
    tried.identify(server.token())
    tokens = [server.token(rsa_key("attacker"), header={"kid": f"unknown-{number}"}) for number in range(20)]

    async def many() -> list[BaseException | Identity]:
        identify = tried.authenticator.identify
        return await asyncio.gather(
            *(identify({"authorization": f"Bearer {token}"}) for token in tokens), return_exceptions=True
        )

    before = len(server.fetched)
    tried.clock.now += issuers.PAUSE + 1
    for _ in range(3):
        found = asyncio.run(many())
        assert all(isinstance(one, AuthenticationError) and one.status == 401 for one in found)
    assert len(server.fetched) - before == 2, "one look at configuration and keys"


def test_an_issuer_that_is_down(server: IssuerServer) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    down = Tried(server)
    down.issuer.url = url
    error = down.refused(server.token(iss=url))
    assert (error.status, error.retry_after) == (503, 15)
    assert str(error) == f"tokens cannot be checked now: the issuer {url} cannot be reached (ConnectError)"
    up = Tried(server)
    up.identify(server.token())
    up.issuer.url = url
    up.clock.now += issuers.FRESH + 1
    assert up.identify(server.token(iss=url)).subject == "ada", "keys that are known are kept"


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"/.well-known/openid-configuration": (302, {"location": "/elsewhere"}, b"")}, "status 302"),
        ({"/keys": (307, {"location": "http://127.0.0.1:1/keys"}, b"")}, "status 307"),
        ({"/keys": (500, {}, b"")}, "status 500"),
        ({"/keys": (200, {}, b"<html>")}, "no JSON"),
        ({"/keys": (200, {}, b"[" * 100_000)}, "no JSON"),
        ({"/keys": (200, {}, b"[]")}, "no JSON object"),
        ({"/keys": (200, {}, b'{"keys": []}')}, "no key that can check signatures"),
        ({"/keys": (200, {}, b'{"keys": {}}')}, "no list of keys"),
        ({"/keys": (200, {}, b"x" * 600_000)}, "more than 524,288 bytes"),
    ],
)
def test_an_issuer_that_answers_wrongly(
    server: IssuerServer, tried: Tried, answers: dict[str, Any], said: str
) -> None:
    server.answers.update(answers)
    error = tried.refused(server.token())
    assert error.status == 503
    assert said in str(error)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"issuer": "http://other"}, "names another issuer"),
        ({"jwks_uri": "http://keys.example.com/"}, "no address of keys that can be trusted"),
        ({"jwks_uri": "file:///etc/passwd"}, "no address of keys that can be trusted"),
        ({"jwks_uri": None}, "no address of keys that can be trusted"),
    ],
)
def test_a_configuration_that_leads_elsewhere(
    server: IssuerServer, tried: Tried, changes: dict[str, Any], said: str
) -> None:
    server.configure(**changes)
    assert said in str(tried.refused(server.token()))


def test_keys_that_are_not_for_signatures_are_passed_over(server: IssuerServer, tried: Tried) -> None:
    def publish(**changes: Any) -> None:
        server.publish(rsa_key("first"), **changes)
        tried.clock.now += issuers.FRESH + 1

    publish()
    tried.identify(server.token())
    for changes in ({"use": "enc"}, {"key_ops": ["encrypt"]}, {"alg": "RS512"}):
        fresh = Tried(server)
        server.publish(rsa_key("first"), **changes)
        assert fresh.refused(server.token()).status in {401, 503}
    weak = rsa_key("weak", 1024)
    server.publish(weak)
    assert Tried(server).refused(server.token(weak)).status == 503
    oct_key = {"kty": "oct", "kid": "first", "k": "c2VjcmV0"}
    server.answers["/keys"] = (200, {}, json.dumps({"keys": [oct_key]}).encode())
    assert Tried(server).refused(server.token()).status == 503
