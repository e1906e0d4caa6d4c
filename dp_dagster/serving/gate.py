"""The gate before each port: who asks, whether they have had enough, and what is written down of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.access.view import ANONYMOUS
from dp_dagster.errors import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.access.view import Identity
    from dp_dagster.resolve import ResolvedOutput
    from dp_dagster.serving.shell import Served
    from dp_dagster.settings import Settings


class Gate:
    """The gate before one port."""

    def __init__(self, output: ResolvedOutput) -> None:
        self._type = output.config.auth.type

    async def identify(self, headers: Mapping[str, str]) -> Identity:  # noqa: ARG002
        """Who asks.

        Raises:
            AuthenticationError: they did not prove it.
        """
        if self._type == "none":
            return ANONYMOUS
        raise AuthenticationError(f"auth: {self._type} cannot be checked yet", status=503)

    def finished(self, served: Served) -> None:
        """Write down what was answered."""


class Gates:
    """The gates of a process, and what they share."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def of(self, output: ResolvedOutput) -> Gate:
        """The gate before a port."""
        return Gate(output)

    def start(self) -> None:
        """Begin to write down."""

    async def stop(self) -> None:
        """Write down the rest."""
