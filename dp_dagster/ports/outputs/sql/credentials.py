"""What is needed to sign in to a server: from the environment alone, and never shown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dp_dagster.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HIDDEN = "•••"
_SHORTEST = 4


def from_environment(
    prefix: str, names: Iterable[str], required: Iterable[str], environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables ``<prefix>_<NAME>`` that are set, by name in lower case.

    Args:
        prefix: How the variables begin.
        names: What may be set.
        required: What must be.
        environment: By default the process's own.

    Raises:
        SettingsError: one that is needed is not set.
    """
    variables = os.environ if environment is None else environment
    found = {
        name: variables[f"{prefix}_{name}".upper()]
        for name in names
        if variables.get(f"{prefix}_{name}".upper())
    }
    absent = [f"{prefix}_{name}".upper() for name in required if name not in found]
    if absent:
        raise SettingsError(f"environment variable {', '.join(absent)} is not set; the port signs in with it")
    return found


def without_secrets(text: str, secrets: Iterable[str | None]) -> str:
    """A message with every secret in it made unreadable."""
    for secret in secrets:
        # What is shorter is found in any word, and no secret.
        if secret and len(secret) >= _SHORTEST:
            text = text.replace(secret, HIDDEN)
    return text
