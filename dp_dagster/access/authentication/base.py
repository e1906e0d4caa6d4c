"""What every way to authenticate has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from dp_dagster.access.view import ANONYMOUS
from dp_dagster.errors import AuthenticationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dp_dagster.access.view import Identity

LONGEST_CREDENTIAL = 16_384
"""Characters of a token or key; more than any issuer needs, and less than hurts to look at."""


class Authenticator(ABC):
    """Makes identities out of what a request carries. One for each port; may be used by many requests at once."""

    @abstractmethod
    async def identify(self, headers: Mapping[str, str]) -> Identity:
        """Who asks.

        Args:
            headers: Of the request, names in lower case.

        Raises:
            AuthenticationError: they did not prove it, or it cannot be checked now. The message never holds what was
                sent.
        """

    async def aclose(self) -> None:
        """Write down what is still to be written, and let go of connections. Default: nothing."""
        return


class NobodyAsked(Authenticator):
    """``auth: none``: everybody is anonymous."""

    async def identify(self, headers: Mapping[str, str]) -> Identity:  # noqa: ARG002 - nothing in it is asked for
        """Always the anonymous identity."""
        return ANONYMOUS


def bearer(headers: Mapping[str, str], challenge: str) -> str:
    """The credential of an ``Authorization: Bearer`` header.

    Raises:
        AuthenticationError: there is none, or it is no credential by its form.
    """
    header = headers.get("authorization", "")
    if not header:
        raise AuthenticationError("send a token: Authorization: Bearer …", challenge=challenge)
    scheme, _, credential = header.partition(" ")
    credential = credential.strip(" ")
    if scheme.lower() != "bearer" or not credential:
        raise AuthenticationError("only Authorization: Bearer … is understood", challenge=challenge)
    if len(credential) > LONGEST_CREDENTIAL:
        raise AuthenticationError(
            f"the token is longer than {LONGEST_CREDENTIAL:,} characters", challenge=challenge
        )
    return credential
