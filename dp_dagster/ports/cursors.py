"""Cursors: where a page ended, as a text that says nothing and cannot be forged.

A cursor holds the values of the last row's sort columns and key, and the version that the page was read from. It is
encrypted, since such values may be more than its holder should keep in a log, and authenticated together with what it
belongs to: a cursor of another port, another query or somebody with another view is refused, whatever it says.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import orjson

from dp_dagster.errors import StoreError, UsageError
from dp_dagster.rows.query import Position

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dp_dagster.settings import Settings

_FORMAT = b"\x01"
_NONCE_BYTES = 12
_KEY_BYTES = 32
_LONGEST = 8192
_IN_ADDRESSES = bytes.maketrans(b"+/", b"-_")


class InvalidCursorError(UsageError):
    """A cursor was not made here, or for another query, port or view."""


@dataclass(frozen=True)
class Cursor:
    """What a cursor says.

    Attributes:
        version: The version that the page was read from.
        position: Where it ended.
        backward: Whether to go on in front of the position, instead of behind it.
    """

    version: int
    position: Position
    backward: bool = False


class Cursors:
    """Writes and reads cursors.

    Args:
        key: 32 random bytes. All processes that serve a port must have the same.
    """

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher = AESGCM(key)

    @classmethod
    def of(cls, settings: Settings) -> Cursors:
        """With the key of this project, which is made when it is first asked for.

        Raises:
            StoreError: the key's file cannot be read or written.
        """
        return cls(_key(settings.state_directory / "serving" / "cursors.key"))

    def write(self, binding: bytes, cursor: Cursor) -> str:
        """The cursor as text that is safe in a URL.

        Args:
            binding: What it belongs to: port, query and view. Reading it wants the same.
            cursor: What to say.
        """
        return self.write_all(binding, (cursor,))[0]

    def write_all(self, binding: bytes, cursors: Sequence[Cursor]) -> list[str]:
        """Many cursors that belong to the same."""
        nonces = secrets.token_bytes(_NONCE_BYTES * len(cursors))
        made = []
        for number, cursor in enumerate(cursors):
            values = [_tagged(value) for value in cursor.position.values]
            nonce = nonces[number * _NONCE_BYTES : (number + 1) * _NONCE_BYTES]
            said = orjson.dumps([cursor.version, cursor.backward, values])
            sealed = self._cipher.encrypt(nonce, said, binding)
            text = binascii.b2a_base64(_FORMAT + nonce + sealed, newline=False)
            made.append(text.translate(_IN_ADDRESSES, b"=").decode())
        return made

    def read(self, binding: bytes, text: str) -> Cursor:
        """What a cursor says.

        Raises:
            InvalidCursorError: it was not made here, or not for this.
        """
        from cryptography.exceptions import InvalidTag

        refused = InvalidCursorError(
            "this is no cursor of this query; take it from the links of a page, and leave filters and sorting as "
            "they were"
        )
        if len(text) > _LONGEST or not text.isascii():
            raise refused
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            if sealed[:1] != _FORMAT:
                raise refused
            nonce, content = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
            version, backward, values = json.loads(self._cipher.decrypt(nonce, content, binding))
        except (binascii.Error, InvalidTag, ValueError):
            raise refused from None
        return Cursor(version, Position(tuple(_untagged(value) for value in values)), backward)


def _tagged(value: Any) -> Any:
    """A value as JSON that keeps its type; plain where JSON has the type."""
    if value is None or isinstance(value, bool | int | str):
        return value
    match value:
        case float():
            return ["f", repr(value)]
        case bytes():
            return ["b", value.hex()]
        case Decimal():
            return ["d", str(value)]
        case datetime():
            return ["t", value.isoformat()]
        case date():
            return ["a", value.isoformat()]
    raise TypeError(f"a position holds a {type(value).__name__}, which cannot be kept in a cursor")


def _untagged(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    kind, text = value
    readers: dict[str, Any] = {
        "f": float,
        "b": bytes.fromhex,
        "d": Decimal,
        "t": datetime.fromisoformat,
        "a": date.fromisoformat,
    }
    return readers[kind](text)


def _key(path: Path) -> bytes:
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise StoreError(f"the key of cursors, {path}, cannot be kept: {error}") from error
    if len(key) != _KEY_BYTES:
        raise StoreError(f"{path} is damaged; remove it, and pages that are being read are asked for anew")
    return key


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_KEY_BYTES))
    try:
        # Of several processes that begin together, one key stays: a link replaces nothing.
        os.link(own, path)
    except FileExistsError:
        pass
    finally:
        own.unlink()
