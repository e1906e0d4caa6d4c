"""``[tool.dp_dagster.control]``: how governance proves who it is, and which roles may read what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dp_dagster.access.authentication.config import (
    AuthenticationField,  # noqa: TC001 - pydantic reads annotations at run time
)
from dp_dagster.errors import AccessDeniedError, SettingsError

if TYPE_CHECKING:
    from dp_dagster.access.view import Identity
    from dp_dagster.settings import Settings

Part = Literal["catalog", "schemas", "sla", "metrics", "audit", "policies"]
EVERYONE = "*"


class ControlConfig(BaseModel):
    """What the control port demands of who asks.

    Attributes:
        auth: As ``auth`` of a served port: ``none`` (loopback only), ``api_key`` or ``OAuth2``.
        roles: For each part, the roles that may use it; ``*`` is whoever has proven who they are. A part that is not
            named is denied to all but those that stand here by default: the catalogue, the schemas and the page of
            service levels are open to every identity, the rest to none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    auth: AuthenticationField
    roles: Mapping[Part, tuple[str, ...]] = Field(default_factory=dict)

    @field_validator("roles", mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {part: (roles,) if isinstance(roles, str) else roles for part, roles in value.items()}
        return value

    def admit(self, identity: Identity, part: Part) -> None:
        """Let an identity use a part.

        Raises:
            AccessDeniedError: none of its roles may; names the part and no role.
        """
        default = (EVERYONE,) if part in ("catalog", "schemas", "sla") else ()
        allowed = self.roles.get(part, default)
        if EVERYONE not in allowed and not identity.roles & set(allowed):
            raise AccessDeniedError(
                f"you may not use {part} at the control port; ask the platform's operator"
            )


def control_config(settings: Settings) -> ControlConfig | None:
    """What the settings say; ``None`` where they say nothing, and there is no control port.

    Raises:
        SettingsError: a key is unknown or a value is wrong.
    """
    if settings.control is None:
        return None
    try:
        return ControlConfig.model_validate(dict(settings.control))
    except ValidationError as error:
        lines = [
            f"control.{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise SettingsError("\n".join(lines)) from None
