"""Masks: the same masked value in Python, DuckDB and PostgreSQL.

``hash``
    A keyed hash (HMAC-SHA256, the first 32 hexadecimal digits). Who does not know the platform's secret cannot try
    values out; the same value gives the same hash in every dataset, so masked columns can still be joined.
``partial``
    The first character, and the domain of an e-mail address. Says nothing of the length.
``redact``
    Always the same text, for null as well: not even whether there is a value shows.
``null``
    Always null. The only mask of columns that hold no text.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.samples import MASK
from dp_dagster.errors import SettingsError
from dp_dagster.predicates.sql import SQL_TYPES, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Column
    from dp_dagster.predicates.sql import Dialect
    from dp_dagster.settings import MaskMethod

SECRET_VARIABLE = "DP_MASK_SECRET"  # noqa: S105 - the name of a variable, not a secret
SHOWN_MOST: tuple[MaskMethod, ...] = ("partial", "hash", "redact", "null")
"""The methods, what shows most first."""

_SHORTEST_SECRET = 16
_DIGITS = 32
_EMAIL = r"^[^@ ]+@[A-Za-z0-9.-]+$"
_IS_EMAIL = re.compile(_EMAIL.replace("$", r"\Z"))


def carried(method: MaskMethod, type_name: str) -> MaskMethod:
    """The method that a column of that canonical type can carry: ``null`` where it cannot carry ``method``."""
    return method if type_name == "string" else "null"


def masked_column(column: Column, method: MaskMethod) -> Column:
    """A column as it looks when it is masked: nothing that its contract says of single values holds any more."""
    return replace(column, nullable=column.nullable if method == "redact" else True)


@dataclass(frozen=True)
class Masks:
    """Masks values. Without a secret it can do all but ``hash``.

    Args:
        secret: The platform's secret.
    """

    secret: bytes | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Masks:
        """With the secret of the environment variable ``DP_MASK_SECRET``, if it is set.

        Raises:
            SettingsError: it is too short to be one.
        """
        text = (os.environ if environment is None else environment).get(SECRET_VARIABLE, "")
        if not text:
            return cls()
        secret = text.encode()
        if len(secret) < _SHORTEST_SECRET:
            raise SettingsError(
                f"environment variable {SECRET_VARIABLE}: is shorter than {_SHORTEST_SECRET} bytes; "
                "make one with: openssl rand -hex 32"
            )
        return cls(secret)

    def check(self, view: DatasetView) -> None:
        """See that everything the view asks for can be done.

        Raises:
            SettingsError: a column is masked by hash, and there is no secret.
        """
        if "hash" in view.masks.values():
            self._key()

    def value(self, value: Any, method: MaskMethod) -> Any:
        """The masked value.

        Args:
            value: A text or null for all methods but ``null``.
            method: One that the column's type can carry.

        Raises:
            SettingsError: the method is ``hash``, and there is no secret.
        """
        if method == "null":
            return None
        if method == "redact":
            return MASK
        if value is None:
            return None
        if method == "hash":
            return hmac.digest(self._key(), value.encode(), "sha256").hex()[:_DIGITS]
        return _partial(value)

    def row_function(
        self, view: DatasetView, columns: Sequence[str]
    ) -> Callable[[Sequence[Any]], tuple[Any, ...]] | None:
        """What masks a row of these columns; ``None`` where none of them is masked.

        Raises:
            SettingsError: a column is masked by hash, and there is no secret.
        """
        masked = [(place, view.masks[name]) for place, name in enumerate(columns) if name in view.masks]
        if not masked:
            return None
        self.check(view)

        def mask(row: Sequence[Any]) -> tuple[Any, ...]:
            values = list(row)
            for place, method in masked:
                values[place] = self.value(values[place], method)
            return tuple(values)

        return mask

    def sql(self, column: Column, method: MaskMethod, dialect: Dialect) -> tuple[str, tuple[Any, ...]]:
        """An expression for the masked value of a column, and the values for its marks.

        Raises:
            SettingsError: the method is ``hash``, and there is no secret.
        """
        name = quoted(column.name, dialect)
        mark = "?" if dialect == "duckdb" else "%s"
        text = SQL_TYPES[dialect]["string"]
        if method == "null":
            return f"cast(null as {SQL_TYPES[dialect].get(column.type, column.type)})", ()
        if method == "redact":
            return f"cast({mark} as {text})", (MASK,)
        if method == "hash":
            inner, outer = _pads(self._key())
            blob = SQL_TYPES[dialect]["binary"]
            if dialect == "duckdb":
                first = f"unhex(sha256(cast({mark} as {blob}) || encode({name})))"
                made = f"sha256(cast({mark} as {blob}) || {first})"
            else:
                first = f"sha256(cast({mark} as {blob}) || convert_to({name}, 'UTF8'))"
                made = f"encode(sha256(cast({mark} as {blob}) || {first}), 'hex')"
            return f"left({made}, {_DIGITS})", (outer, inner)
        is_email = f"regexp_matches({name}, {mark})" if dialect == "duckdb" else f"{name} ~ {mark}"
        domain = f"split_part({name}, '@', 2)"
        first = f"left({name}, 1)"
        fixed = f"cast({mark} as {text})"
        start = f"case when length({name}) > length({domain}) + 2 then {first} else '' end"
        of_email = f"{start} || {fixed} || '@' || {domain}"
        of_text = f"when length({name}) > 1 then {first} || {fixed} else {fixed}"
        sql = f"case when {name} is null then null when {is_email} then {of_email} {of_text} end"
        return sql, (_EMAIL, MASK, MASK, MASK)

    def _key(self) -> bytes:
        if self.secret is None:
            raise SettingsError(
                f"a column is masked by hash, which needs a secret in the environment variable {SECRET_VARIABLE}; "
                "make one with: openssl rand -hex 32"
            )
        return self.secret

    def __repr__(self) -> str:
        return f"Masks({'with' if self.secret else 'without'} a secret)"


def _partial(value: str) -> str:
    if _IS_EMAIL.match(value):
        local, _, domain = value.partition("@")
        return f"{local[:1] if len(local) > 1 else ''}{MASK}@{domain}"
    return f"{value[:1]}{MASK}" if len(value) > 1 else MASK


def _pads(key: bytes) -> tuple[bytes, bytes]:
    """The two blocks that HMAC hashes in front, since engines know SHA-256, but not all of them HMAC."""
    block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)
