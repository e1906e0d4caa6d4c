"""``auth`` of a served port: what it demands of who asks. Imports nothing of the web."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from dp_dagster.descriptor.values import Names, Text, fault

_TYPES = ("none", "api_key", "OAuth2")
_OF_OAUTH2 = ("issuer", "audience", "scopes", "roles_claim", "client_claim")


class Authentication(BaseModel):
    """What a served port demands. ``auth: OAuth2`` is short for ``auth: {type: OAuth2}``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["none", "api_key", "OAuth2"] = Field(
        description="`none`: nobody is asked, and `anyone` alone sees something. `api_key`: a key that `dp keys` made. "
        "`OAuth2`: a token (JWT) of an OpenID Connect issuer."
    )
    beyond_loopback: bool = Field(
        default=False, description="Of `none`: serve also where other machines can reach the port."
    )
    issuer: Text | None = Field(
        default=None, description="Of `OAuth2`: URL of the issuer. By default the platform's `oauth2_issuer`."
    )
    audience: Text | None = Field(
        default=None,
        description="Of `OAuth2`: what tokens must be meant for. By default the platform's `oauth2_audience`.",
    )
    scopes: Names = Field(default=(), description="Of `OAuth2`: scopes that a token must have, all of them.")
    roles_claim: Text = Field(
        default="roles",
        description="Of `OAuth2`: claim that holds the roles; dots lead inside: `realm_access.roles`.",
    )
    client_claim: Text | None = Field(
        default=None,
        description="Of `OAuth2`: claim that names the application. By default `azp` or `client_id`.",
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        for name in _OF_OAUTH2:
            if self.type != "OAuth2" and getattr(self, name) != type(self).model_fields[name].default:
                raise fault(
                    "is for OAuth2 alone", f"remove it, or write type: OAuth2 instead of {self.type}", (name,)
                )
        if self.type != "none" and self.beyond_loopback:
            raise fault(
                "is for none alone", f"remove it: {self.type} may serve anywhere", ("beyond_loopback",)
            )
        if self.issuer is not None and not is_safe_url(self.issuer):
            raise fault(
                "is no address that can be trusted", "write https://…; http:// is for loopback", ("issuer",)
            )
        return self


def is_safe_url(url: str) -> bool:
    """Whether keys may be fetched from there: over https, or from this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises where it is no number
    except ValueError:
        return False
    if not host or parts.username is not None or parts.query or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine itself."""
    if host in {"localhost", "localhost."}:
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _expanded(value: Any) -> Any:
    """The long form. Types are known in any case, and with ``-`` for ``_``."""
    if value is None:
        raise fault("is empty", f"write one of {', '.join(_TYPES)}")
    if isinstance(value, Mapping):
        known = _known(value.get("type"))
        return {**value, "type": known} if known is not None else value
    if isinstance(value, Authentication):
        return value
    known = _known(value)
    if known is None:
        raise fault("is no way to authenticate", f"write one of {', '.join(_TYPES)}")
    return {"type": known}


def _known(value: Any) -> str | None:
    names = {name.lower(): name for name in _TYPES}
    return names.get(value.lower().replace("-", "_")) if isinstance(value, str) else None


AuthenticationField = Annotated[
    Authentication,
    BeforeValidator(_expanded),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(_TYPES)},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["type"],
                    "properties": {
                        "type": {"enum": list(_TYPES)},
                        "beyond_loopback": {"type": "boolean"},
                        **{name: {"type": "string"} for name in _OF_OAUTH2 if name != "scopes"},
                        "scopes": {
                            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
                        },
                    },
                },
            ]
        }
    ),
]
