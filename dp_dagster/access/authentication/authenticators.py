"""Authenticators of the ports of a process; what they can share, they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.access.authentication.base import Authenticator, NobodyAsked
from dp_dagster.errors import SettingsError

if TYPE_CHECKING:
    from dp_dagster.access.authentication.api_keys import ApiKeyAuthenticator
    from dp_dagster.access.authentication.config import Authentication
    from dp_dagster.access.authentication.issuers import Issuer
    from dp_dagster.records import Records
    from dp_dagster.settings import Settings


class Authenticators:
    """Makes the authenticator of each port. Ports with the same issuer share its keys.

    Args:
        settings: Of the platform.
        records: The chain, in whose database API keys are.
    """

    def __init__(self, settings: Settings, records: Records) -> None:
        self._settings = settings
        self._records = records
        self._issuers: dict[str, Issuer] = {}
        self._keys: ApiKeyAuthenticator | None = None

    def of(self, auth: Authentication) -> Authenticator:
        """The authenticator for what a port demands.

        Raises:
            SettingsError: no issuer or no audience is known.
        """
        if auth.type == "none":
            return NobodyAsked()
        if auth.type == "api_key":
            from dp_dagster.access.authentication.api_keys import ApiKeyAuthenticator, ApiKeys

            if self._keys is None:
                self._keys = ApiKeyAuthenticator(ApiKeys(self._records))
            return self._keys
        from dp_dagster.access.authentication.issuers import Issuer
        from dp_dagster.access.authentication.oauth2 import OAuth2Authenticator

        url = auth.issuer or self._settings.oauth2_issuer
        audience = auth.audience or self._settings.oauth2_audience
        if url is None or audience is None:
            raise SettingsError(
                "auth: OAuth2 needs an issuer and an audience; set oauth2_issuer and oauth2_audience"
            )
        issuer = self._issuers.setdefault(url, Issuer(url))
        return OAuth2Authenticator(
            issuer,
            audience,
            scopes=auth.scopes,
            roles_claim=auth.roles_claim,
            client_claim=auth.client_claim,
        )

    async def aclose(self) -> None:
        """Close what the authenticators share."""
        if self._keys is not None:
            await self._keys.aclose()
