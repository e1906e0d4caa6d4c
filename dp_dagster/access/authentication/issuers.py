"""Keys of OpenID Connect issuers: found by discovery, kept, and fetched again when they are old or one is missing.

What can go wrong is kept away from requests: an issuer that is down costs nothing while its keys are known, a token
that names an unknown key makes at most one fetch in :data:`PAUSE` seconds, and many requests share one fetch.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dp_dagster.access.authentication.config import is_loopback, is_safe_url
from dp_dagster.errors import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from joserfc.jwk import ECKey, OKPKey, RSAKey

    Key = RSAKey | ECKey | OKPKey

FRESH = 600.0
"""Seconds that keys are used without asking again."""
PAUSE = 15.0
"""Seconds between two fetches that did not help: an unknown key, or an issuer that is down."""
TIMEOUT = 5.0

_LARGEST = 512 * 1024
_MOST_KEYS = 100
_SHORTEST_MODULUS = 342  # characters: 2048 bits in base64
# Algorithms by type of key. No symmetric one: whoever knows a public key could sign with it.
ALGORITHMS: dict[str, frozenset[str]] = {
    "RSA": frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    "EC": frozenset({"ES256", "ES384", "ES512"}),
    "OKP": frozenset({"EdDSA", "Ed25519"}),
}
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519", "Ed25519": "Ed25519"}


class UnknownKeyError(Exception):
    """The issuer has no such key."""


class Issuer:
    """One issuer and its keys.

    Args:
        url: As it stands in tokens.
        clock: Seconds that only go up.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self.generation = 0
        """Goes up whenever the keys have changed, so that tokens that were good by others are looked at again."""
        self._clock = clock
        self._keys: dict[tuple[str, str], Key] = {}
        self._single: dict[str, list[Key]] = {}
        self._published: str = ""
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._trouble = ""

    async def key(self, key_id: str | None, algorithm: str) -> Key:
        """The key that checks a token's signature.

        Raises:
            UnknownKeyError: the issuer has none of that id for that algorithm.
            AuthenticationError: no key was ever fetched, and none can be now.
        """
        if self._fetched_at is None or self._clock() - self._fetched_at > FRESH:
            await self._fetch()
        found = self._find(key_id, algorithm)
        if found is None:
            await self._fetch()
            found = self._find(key_id, algorithm)
        if found is None:
            if self._fetched_at is None:
                raise AuthenticationError(
                    f"tokens cannot be checked now: {self._trouble}", status=503, retry_after=int(PAUSE)
                )
            raise UnknownKeyError
        return found

    def _find(self, key_id: str | None, algorithm: str) -> Key | None:
        if key_id is not None:
            return self._keys.get((key_id, algorithm))
        fitting = self._single.get(algorithm, [])
        return fitting[0] if len(fitting) == 1 else None

    async def _fetch(self) -> None:
        """Fetch the keys, unless that was tried a moment ago; who comes meanwhile waits for the same fetch."""
        if self._fetching is None:
            if self._tried_at is not None and self._clock() - self._tried_at < PAUSE:
                return
            self._tried_at = self._clock()
            self._fetching = asyncio.get_running_loop().create_task(self._fetch_now())
            self._fetching.add_done_callback(self._ended)
        await asyncio.shield(self._fetching)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()

    async def _fetch_now(self) -> None:
        import httpx

        try:
            found = await self._document(f"{self.url.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self.url:
                raise _BadAnswerError("its configuration names another issuer")  # noqa: TRY301
            address = found.get("jwks_uri")
            if not isinstance(address, str) or not is_safe_url(address):
                raise _BadAnswerError("its configuration names no address of keys that can be trusted")  # noqa: TRY301
            keys = await self._document(address)
            self._take(keys)
        except _BadAnswerError as error:
            self._trouble = f"the issuer {self.url} answers wrongly: {error}"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            self._trouble = f"the issuer {self.url} cannot be reached ({type(error).__name__})"

    async def _document(self, address: str) -> dict[str, Any]:
        """A JSON object. Redirects are not followed: only the address itself is trusted."""
        import httpx

        # A proxy that is meant for the world outside has no business with this machine.
        by_itself = is_loopback(urlsplit(address).hostname or "")
        async with (
            asyncio.timeout(2 * TIMEOUT),
            httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, trust_env=not by_itself) as client,
            client.stream("GET", address, headers={"accept": "application/json"}) as response,
        ):
            if response.status_code != httpx.codes.OK:
                raise _BadAnswerError(f"status {response.status_code}")
            content = b""
            async for part in response.aiter_bytes():
                content += part
                if len(content) > _LARGEST:
                    raise _BadAnswerError(f"more than {_LARGEST:,} bytes")
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            raise _BadAnswerError("no JSON") from None
        if not isinstance(found, dict):
            raise _BadAnswerError("no JSON object")
        return found

    def _take(self, document: dict[str, Any]) -> None:
        published = document.get("keys")
        if not isinstance(published, list) or len(published) > _MOST_KEYS:
            raise _BadAnswerError("no list of keys")
        keys: dict[tuple[str, str], Key] = {}
        single: dict[str, list[Key]] = {}
        for entry in published:
            for algorithm, key in _usable(entry):
                single.setdefault(algorithm, []).append(key)
                if isinstance(entry.get("kid"), str):
                    keys[entry["kid"], algorithm] = key
        if not single:
            raise _BadAnswerError("no key that can check signatures")
        self._keys, self._single = keys, single
        self._fetched_at = self._clock()
        self._trouble = ""
        text = json.dumps(published, sort_keys=True)
        if text != self._published:
            self._published = text
            self.generation += 1


class _BadAnswerError(Exception):
    """What an issuer answered is not what OpenID Connect says."""


def _usable(entry: Any) -> list[tuple[str, Key]]:
    """The algorithms that a published key may check signatures of; others' keys are passed over."""
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey, OKPKey, RSAKey

    kinds: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
    if not isinstance(entry, dict) or entry.get("kty") not in kinds or entry.get("use", "sig") != "sig":
        return []
    if "key_ops" in entry and "verify" not in (entry["key_ops"] or ()):
        return []
    if entry["kty"] == "RSA" and len(str(entry.get("n", ""))) < _SHORTEST_MODULUS:
        return []
    try:
        key = kinds[entry["kty"]].import_key(
            {name: value for name, value in entry.items() if name not in {"use", "key_ops", "alg"}}
        )
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return []
    algorithms = ALGORITHMS[entry["kty"]]
    if isinstance(entry.get("alg"), str):
        algorithms &= {entry["alg"]}
    return [
        (name, key) for name in sorted(algorithms) if _CURVES.get(name, entry.get("crv")) == entry.get("crv")
    ]
