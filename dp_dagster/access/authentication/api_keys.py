"""API keys: made by ``dp keys``, shown once, and known afterwards by their hash alone.

A key is 256 random bits. Nobody can try out values of that size, so a fast hash is as safe as a slow one, and a lookup
costs microseconds; a slow hash is for passwords, which people choose.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import Column, MetaData, String, Table, Text

from dp_dagster.access.authentication.base import Authenticator, bearer
from dp_dagster.access.view import Identity
from dp_dagster.errors import AuthenticationError, DataProductError, UsageError
from dp_dagster.records import append_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import timedelta

    from sqlalchemy import Row

    from dp_dagster.access.view import Claim
    from dp_dagster.records import Records

PREFIX = "dp"
STALE = 5.0
"""Seconds after which the keys are read again: how long a revoked key may still work."""
PAUSE = 1.0
"""Seconds between two readings on account of keys that nobody knows."""
_USED_EVERY = 60.0
_KEY = re.compile(r"dp_([0-9a-f]{12})_([A-Za-z0-9_-]{43})\Z")
_CONSUMER = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._:/+-]{0,199}\Z")
_CHALLENGE = "Bearer"

_TABLES = MetaData()
_KEYS = Table(
    "dp_api_keys",
    _TABLES,
    Column("id", String(12), primary_key=True),
    Column("consumer", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("roles", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("claims", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", String(32)),
    Column("revoked_at", String(32)),
    Column("last_used_at", String(32)),
)


@dataclass(frozen=True)
class ApiKey:
    """What is known of a key.

    Attributes:
        id: Its first part, which is no secret.
        consumer: Whose it is.
        hash: SHA-256 of the key.
        roles: Roles that it brings.
        scopes: Scopes that it brings.
        claims: What else is said of the consumer.
        created_at: When it was made.
        created_by: Who made it.
        expires_at: When it ends; ``None`` for never.
        revoked_at: When it was revoked.
        last_used_at: When it was last used, to a minute; ``None`` for never.
    """

    id: str
    consumer: str
    hash: str
    roles: tuple[str, ...]
    scopes: tuple[str, ...]
    claims: tuple[tuple[str, Claim], ...]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def state(self, now: datetime) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "active"


class ApiKeys:
    """The keys, in a table of their own beside the records; each one made or revoked is on the chain.

    Args:
        records: The chain, in whose database the keys are.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._made = False

    def create(
        self,
        consumer: str,
        actor: str,
        *,
        roles: Iterable[str] = (),
        scopes: Iterable[str] = (),
        claims: Mapping[str, Claim] | None = None,
        lifetime: timedelta | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a key. The first part of the answer is the key itself, which is kept nowhere.

        Args:
            consumer: Whose it is; the subject of those who show it.
            actor: Who makes it.
            roles: Roles that it brings.
            scopes: Scopes that it brings.
            claims: What else is said of the consumer, for row filters.
            lifetime: How long it is good; for ever by default.

        Raises:
            UsageError: the consumer is no name.
            StoreError: the database cannot be written.
        """
        if not _CONSUMER.match(consumer):
            raise UsageError(
                f"{consumer[:60]!r} is no name of a consumer; use letters, digits and @ . _ : / + - (at most 200)"
            )
        identifier, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        key = f"{PREFIX}_{identifier}_{secret}"
        now = datetime.now(UTC)
        try:
            expires = now + lifetime if lifetime is not None else None
        except OverflowError:
            raise UsageError("the key would end after the year 9999; leave its end out") from None
        made = ApiKey(
            id=identifier,
            consumer=consumer,
            hash=_hash(key),
            roles=tuple(dict.fromkeys(roles)),
            scopes=tuple(dict.fromkeys(scopes)),
            claims=tuple(sorted((claims or {}).items())),
            created_at=now,
            created_by=actor,
            expires_at=expires,
            revoked_at=None,
            last_used_at=None,
        )
        database = self._records.database()
        self._make()
        with database.writing() as connection:
            connection.execute(_KEYS.insert().values(**_row(made)))
            append_within(
                database,
                connection,
                "key_created",
                "",
                f"key/{identifier}",
                actor,
                "",
                {
                    "consumer": consumer,
                    "roles": list(made.roles),
                    "scopes": list(made.scopes),
                    "claims": [name for name, _ in made.claims],
                    "expires_at": _text(expires),
                },
            )
        return key, made

    def revoke(self, identifier: str, actor: str) -> ApiKey:
        """Revoke a key; servers notice within :data:`STALE` seconds.

        Raises:
            UsageError: there is no such key, or it is revoked already.
            StoreError: the database cannot be written.
        """
        database = self._records.database()
        self._make()
        now = datetime.now(UTC)
        with database.writing() as connection:
            row = connection.execute(_KEYS.select().where(_KEYS.c.id == identifier)).first()
            if row is None:
                raise UsageError(f"there is no key {identifier[:60]}; see dp keys list")
            if row.revoked_at is not None:
                raise UsageError(f"key {identifier} was revoked on {row.revoked_at[:10]}")
            connection.execute(_KEYS.update().where(_KEYS.c.id == identifier).values(revoked_at=_text(now)))
            append_within(
                database,
                connection,
                "key_revoked",
                "",
                f"key/{identifier}",
                actor,
                "",
                {"consumer": row.consumer},
            )
        return _key(row)

    def all(self) -> list[ApiKey]:
        """All keys, the newest first; revoked and expired ones too.

        Raises:
            StoreError: the database cannot be read.
        """
        self._make()
        with self._records.database().reading() as connection:
            return [
                _key(row) for row in connection.execute(_KEYS.select().order_by(_KEYS.c.created_at.desc()))
            ]

    def used(self, moments: Mapping[str, datetime]) -> None:
        """Note when keys were last used.

        Raises:
            StoreError: the database cannot be written.
        """
        self._make()
        with self._records.database().writing() as connection:
            for identifier, moment in moments.items():
                connection.execute(
                    _KEYS.update()
                    .where(_KEYS.c.id == identifier)
                    .where(
                        sqlalchemy.or_(_KEYS.c.last_used_at.is_(None), _KEYS.c.last_used_at < _text(moment))
                    )
                    .values(last_used_at=_text(moment))
                )

    def _make(self) -> None:
        if not self._made:
            self._records.database().make(_TABLES)
            self._made = True


class ApiKeyAuthenticator(Authenticator):
    """Checks keys against a copy of the table in memory, which is read again every few seconds.

    Args:
        keys: The table.
        clock: Seconds that only go up.
    """

    def __init__(self, keys: ApiKeys, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._known: dict[str, tuple[ApiKey, Identity]] = {}
        self._read_at: float | None = None
        self._reading: asyncio.Task[None] | None = None
        self._used: dict[str, datetime] = {}
        self._noted_at = clock()

    async def identify(self, headers: Mapping[str, str]) -> Identity:
        """Whose key it is. Keys come as ``Authorization: Bearer …`` or ``X-API-Key: …``."""
        credential = headers.get("x-api-key")
        if not credential and not headers.get("authorization"):
            raise AuthenticationError(
                "send a key: X-API-Key: …; the owner of the product makes one (dp keys create)",
                challenge=_CHALLENGE,
            )
        credential = credential or bearer(headers, _CHALLENGE)
        match = _KEY.match(credential)
        if match is None:
            raise self._refused()
        identifier = match.group(1)
        if (
            self._read_at is None
            or self._clock() - self._read_at > STALE
            or (identifier not in self._known and self._clock() - self._read_at > PAUSE)
        ):
            await self._read()
        key, identity = self._known.get(identifier, (_NOBODY, None))
        # The same work for unknown keys, in the same time.
        is_right = hmac.compare_digest(_hash(credential), key.hash)
        now = datetime.now(UTC)
        if identity is None or not is_right or key.state(now) != "active":
            raise self._refused()
        self._used[identifier] = now
        return identity

    async def aclose(self) -> None:
        """Note which keys were used last."""
        await asyncio.to_thread(self._note)

    async def _read(self) -> None:
        await asyncio.shield(self._begin_to_read())

    def _begin_to_read(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read_now())
            self._reading.add_done_callback(self._ended)
        return self._reading

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()

    async def _read_now(self) -> None:
        try:
            keys = await asyncio.to_thread(self._keys.all)
            if self._clock() - self._noted_at > _USED_EVERY:
                self._noted_at = self._clock()
                await asyncio.to_thread(self._note)
        except DataProductError as error:
            # A key that was revoked meanwhile must not go on working for as long as the database is away.
            raise AuthenticationError(
                "keys cannot be checked now", status=503, retry_after=int(STALE)
            ) from error
        self._known = {
            key.id: (
                key,
                Identity(
                    key.consumer, key.id, frozenset(key.roles), frozenset(key.scopes), "api_key", key.claims
                ),
            )
            for key in keys
        }
        self._read_at = self._clock()

    def _note(self) -> None:
        used, self._used = self._used, {}
        if used:
            self._keys.used(used)

    def _refused(self) -> AuthenticationError:
        return AuthenticationError(
            "the key is not known, has ended or was revoked",
            challenge=f'{_CHALLENGE} error="invalid_token", error_description="no valid key"',
        )


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")


def _row(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "consumer": key.consumer,
        "hash": key.hash,
        "roles": json.dumps(key.roles),
        "scopes": json.dumps(key.scopes),
        "claims": json.dumps(dict(key.claims)),
        "created_at": _text(key.created_at),
        "created_by": key.created_by,
        "expires_at": _text(key.expires_at),
        "revoked_at": None,
        "last_used_at": None,
    }


def _key(row: Row[Any]) -> ApiKey:
    def moment(text: str | None) -> datetime | None:
        return None if text is None else datetime.fromisoformat(text)

    claims = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(row.claims).items()
    }
    return ApiKey(
        id=row.id,
        consumer=row.consumer,
        hash=row.hash,
        roles=tuple(json.loads(row.roles)),
        scopes=tuple(json.loads(row.scopes)),
        claims=tuple(sorted(claims.items())),
        created_at=datetime.fromisoformat(row.created_at),
        created_by=row.created_by,
        expires_at=moment(row.expires_at),
        revoked_at=moment(row.revoked_at),
        last_used_at=moment(row.last_used_at),
    )


_NOBODY = ApiKey(
    "",
    "",
    "0" * 64,
    (),
    (),
    (),
    datetime.fromtimestamp(0, UTC),
    "",
    None,
    datetime.fromtimestamp(0, UTC),
    None,
)
