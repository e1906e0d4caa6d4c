"""``${NAME}`` and ``${NAME:-default}`` in a descriptor's text values; ``$${`` writes a literal ``${``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
"""A reference without a default, all of a text."""

_TOKEN = re.compile(r"\$\$\{|\$\{(?P<body>[^}]*)(?P<end>\}?)")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?\Z", re.DOTALL)


class InterpolationError(ValueError):
    """A reference is malformed or names a variable that is not set. Never holds a variable's value."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True)
class Interpolated:
    """The text with its references replaced, and the variables that were read for it."""

    text: str
    variables: frozenset[str]
    replaced: bool


def interpolate(text: str, environment: Mapping[str, str]) -> Interpolated:
    """Replace the references in ``text``. As in a shell, a default also stands in for an empty variable.

    Raises:
        InterpolationError: a reference is malformed, or its variable is not set and it has no default.
    """
    if "${" not in text:
        return Interpolated(text, frozenset(), replaced=False)
    variables: set[str] = set()

    def replace(token: re.Match[str]) -> str:
        if token.group() == "$${":
            return "${"
        body = _BODY.match(token.group("body"))
        if body is None or not token.group("end") or "${" in token.group("body"):
            raise InterpolationError(
                f"{token.group()[:60]} is not a reference",
                "write ${NAME} or ${NAME:-default}, or $${ for a literal ${",
            )
        name, default = body.group("name"), body.group("default")
        value = environment.get(name)
        if value is None and default is None:
            raise InterpolationError(
                f"environment variable {name} is not set", f"set it, or give a default: ${{{name}:-…}}"
            )
        if default is not None and not value:
            return default
        variables.add(name)
        return value or ""

    return Interpolated(_TOKEN.sub(replace, text), frozenset(variables), replaced=True)


_SEPARATORS = r"[/:@?&=#,;\s]+"


def without_secret(text: str, name: str, value: str) -> str:
    """A text without the value of a variable, whole or in parts: a URL is made of several secrets."""
    parts = {value, unquote(value)}
    # Split as it is written first: a password may hold, quoted, what separates the parts.
    for part in re.split(_SEPARATORS, value):
        parts |= {part, unquote(part)}
    parts |= set(re.split(_SEPARATORS, unquote(value)))
    hidden = sorted((part for part in parts if len(part) > 3), key=len, reverse=True)
    # All at once: what stands in their place may hold one of them again.
    pattern = "|".join(re.escape(part) for part in hidden)
    return re.sub(pattern, f"${{{name}}}", text, flags=re.IGNORECASE) if hidden else text
