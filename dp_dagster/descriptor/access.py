"""``access``: who may see what of a product's datasets, and whom the readers of a file are taken for."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from dp_dagster.descriptor.base import Model
from dp_dagster.descriptor.values import MaskMethods, Names, Text, fault


class Who(Model):
    """Whom something is for. What is said must hold all together; of several names, one is enough."""

    anyone: bool = Field(default=False, description="`true`: everybody, also who gives no name.")
    subject: Names = Field(
        default=(), description="Persons or services, as the issuer (or `dp keys`) names them."
    )
    client: Names = Field(default=(), description="Applications that ask on somebody's behalf.")
    role: Names = Field(default=(), description="Roles that the issuer (or `dp keys`) vouches for.")
    scope: Names = Field(default=(), description="Scopes that the token or key was issued for.")

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        named = bool(self.subject or self.client or self.role or self.scope)
        if self.anyone and named:
            raise fault("is for anyone and for somebody", "leave `anyone` out, or the others")
        if not self.anyone and not named:
            raise fault("is for nobody", "write subject, client, role or scope; or `anyone: true`")
        return self


class Grant(Who):
    """Who may see what. Nobody sees anything that no grant gives."""

    datasets: Names = Field(
        default=(),
        description="What it gives: names of datasets (`orders@1` for one major version). By default all.",
    )
    columns: Names = Field(default=(), description="The columns it gives. By default all.")
    rows: Text | None = Field(
        default=None,
        description="The rows it gives, as an SQL condition: `region = 'EU' and amount > 100`. `{subject}`, "
        "`{client}` and `{claim.NAME}` stand for what is known of who asks. By default all.",
    )
    unmask: Names = Field(default=(), description="Classified columns that are seen in clear.")
    masks: MaskMethods = Field(
        default_factory=dict,
        description="Columns that are masked otherwise than by default: `{name: partial}`. `hash`, `redact`, `partial` "
        "or `null`.",
    )
    note: Text | None = Field(default=None, description="Why it is given.")
