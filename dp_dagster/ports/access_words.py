"""How a consumer gets access to a served port, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dp_dagster.access.authentication.config import Authentication
    from dp_dagster.ports.base import OutputContext


def how_to_get_access(auth: Authentication, context: OutputContext) -> str:
    """What to do before the first request, in a sentence or two."""
    who = f"`access` of {context.product_id} says who sees what."
    if auth.type == "none":
        return "Nobody is asked who they are."
    if auth.type == "api_key":
        return f"Ask the owner for a key (`dp keys`), and send it as `X-API-Key`. {who}"
    issuer = f" of {auth.issuer}" if auth.issuer else ""
    audience = f" for the audience `{auth.audience}`" if auth.audience else ""
    scopes = f" with the scopes {', '.join(f'`{scope}`' for scope in auth.scopes)}" if auth.scopes else ""
    return f"Get a token{issuer}{audience}{scopes}, and send it as `Authorization: Bearer …`. {who}"
