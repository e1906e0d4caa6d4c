"""``auth: OAuth2``: JSON Web Tokens of an OpenID Connect issuer."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from typing import TYPE_CHECKING, Any, TypeGuard

from dp_dagster.access.authentication.base import Authenticator, bearer
from dp_dagster.access.authentication.issuers import ALGORITHMS, UnknownKeyError
from dp_dagster.access.view import Identity
from dp_dagster.errors import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dp_dagster.access.authentication.issuers import Issuer
    from dp_dagster.access.view import Claim

SKEW = 60.0
"""Seconds by which the clocks of issuer and server may differ."""

_ALGORITHMS = frozenset().union(*ALGORITHMS.values())
_MOST_KEPT = 20_000
_MOST_CLAIMS = 200
_LONGEST_CLAIM = 1_000
# What says how long and for whom a token is good is no claim about a person.
_OF_THE_TOKEN = frozenset(
    {"iss", "aud", "exp", "nbf", "iat", "jti", "nonce", "at_hash", "c_hash", "auth_time", "sid"}
)


class OAuth2Authenticator(Authenticator):
    """Checks signature, issuer, audience, time and scopes of tokens.

    A token that was found good is known by its hash until it ends or the issuer's keys change, so only the first
    request that carries it pays for the signature.

    Args:
        issuer: Whose tokens.
        audience: What they must be meant for.
        scopes: What they must all have been issued for.
        roles_claim: Where the roles stand.
        client_claim: Where the application stands; ``azp`` or ``client_id`` by default.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        issuer: Issuer,
        audience: str,
        *,
        scopes: tuple[str, ...] = (),
        roles_claim: str = "roles",
        client_claim: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._scopes = scopes
        self._roles_claim = roles_claim
        self._client_claims = (client_claim,) if client_claim else ("azp", "client_id")
        self._clock = clock
        self._kept: dict[bytes, tuple[Identity, float, int]] = {}

    async def identify(self, headers: Mapping[str, str]) -> Identity:
        """Who the token was issued for."""
        token = bearer(headers, self._challenge())
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._kept.get(digest)
        if known is not None and known[2] == self._issuer.generation and self._clock() < known[1]:
            return known[0]
        identity, ends = await self._verified(token)
        while len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[digest] = (identity, ends, self._issuer.generation)
        return identity

    async def _verified(self, token: str) -> tuple[Identity, float]:
        header = self._header(token)
        algorithm = header["alg"]
        try:
            key = await self._issuer.key(header.get("kid"), algorithm)
        except UnknownKeyError:
            raise self._refused("is signed with a key that the issuer does not have") from None
        claims = self._claims(token, key, algorithm)
        ends = self._check(claims)
        scopes = _words(claims.get("scope", claims.get("scp")))
        missing = [scope for scope in self._scopes if scope not in scopes]
        if missing:
            raise AuthenticationError(
                f"the token lacks the scope {' '.join(missing)}",
                status=403,
                challenge=self._challenge("insufficient_scope", "the token lacks a scope"),
            )
        client = next(
            (claims[name] for name in self._client_claims if isinstance(claims.get(name), str)), None
        )
        identity = Identity(
            subject=claims["sub"],
            client=client,
            roles=frozenset(_words(_at(claims, self._roles_claim))),
            scopes=frozenset(scopes),
            method="oauth2",
            claims=tuple(sorted(_flat(claims))),
        )
        return identity, ends

    def _header(self, token: str) -> dict[str, Any]:
        """What the token says of itself. Nothing of it is trusted but the choice among the issuer's own keys."""
        parts = token.split(".")
        if len(parts) != 3:
            raise self._refused("is no signed JSON Web Token")
        try:
            header = json.loads(base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)))
        except (ValueError, RecursionError):
            raise self._refused("is no signed JSON Web Token") from None
        if not isinstance(header, dict) or not isinstance(header.get("kid", ""), str):
            raise self._refused("is no signed JSON Web Token")
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in _ALGORITHMS:
            raise self._refused("is not signed by an algorithm that is accepted")
        if "crit" in header:
            raise self._refused("demands what is not understood")
        return header

    def _claims(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jws import JWSRegistry

        # Issuers put keys, addresses of keys and more into headers; none of it is looked at.
        registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        try:
            claims = jwt.decode(token, key, algorithms=[algorithm], registry=registry).claims
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            raise self._refused("does not bear the issuer's signature") from None
        return dict(claims)

    def _check(self, claims: dict[str, Any]) -> float:
        """Check issuer, audience, subject and times; when the token ends."""
        if claims.get("iss") != self._issuer.url:
            raise self._refused("was issued by another issuer")
        audience = claims.get("aud")
        if self._audience != audience and not (isinstance(audience, list) and self._audience in audience):
            raise self._refused("is meant for another audience")
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise self._refused("names no subject")
        now = self._clock()
        ends = claims.get("exp")
        if not _is_time(ends):
            raise self._refused("does not say when it ends")
        if now >= ends + SKEW:
            raise self._refused("has expired")
        for name in ("nbf", "iat"):
            begins = claims.get(name, 0)
            if not _is_time(begins):
                raise self._refused(f"has no time as its {name}")
            if now < begins - SKEW:
                raise self._refused("is not valid yet")
        return float(ends) + SKEW

    def _refused(self, what: str) -> AuthenticationError:
        return AuthenticationError(
            f"the token {what}", challenge=self._challenge("invalid_token", f"the token {what}")
        )

    def _challenge(self, error: str = "", description: str = "") -> str:
        parts = [f'scope="{" ".join(self._scopes)}"'] if self._scopes else []
        if error:
            parts += [f'error="{error}"', f'error_description="{description}"']
        return f"Bearer {', '.join(parts)}".strip()


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _words(value: object) -> list[str]:
    """Scopes and roles: a text of words, or a list of texts."""
    if isinstance(value, str):
        return value.split()
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of that name; or, where dots lead inside, the one within."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _flat(claims: Mapping[str, Any]) -> Iterator[tuple[str, Claim]]:
    """Claims about the person, those within others by dotted names. Very many or long ones are left out."""
    waiting = [("", {name: value for name, value in claims.items() if name not in _OF_THE_TOKEN})]
    count = 0
    while waiting:
        before, values = waiting.pop()
        for name, value in values.items():
            count += 1
            if count > _MOST_CLAIMS:
                return
            if isinstance(value, dict):
                waiting.append((f"{before}{name}.", value))
            elif _is_simple(value):
                yield f"{before}{name}", value
            elif (
                isinstance(value, list)
                and len(value) <= _MOST_CLAIMS
                and all(_is_simple(one) for one in value)
            ):
                yield f"{before}{name}", tuple(value)


def _is_simple(value: object) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _LONGEST_CLAIM)
