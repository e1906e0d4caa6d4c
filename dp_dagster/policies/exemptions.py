"""What allows a product not to keep a policy: until when, and why."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from dp_dagster.errors import DataProductError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dp_dagster.policies.grants import Grants


class Exemption(BaseModel):
    """What allows a product not to keep a policy, until when, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    policy: str = Field(description="Id of the policy.")
    product: str = Field(description="Id of the product.")
    part: str | None = Field(
        default=None,
        description="`datasets.flights`, `output_ports.vw_flights`; without it all of the product.",
    )
    reason: str = Field(min_length=1, max_length=1000, description="Why.")
    expires: date = Field(description="The last day on which it holds (UTC).")

    def __str__(self) -> str:
        part = f" ({self.part})" if self.part else ""
        return f"exemption of {self.product}{part} from {self.policy} until {self.expires.isoformat()}"

    @property
    def has_expired(self) -> bool:
        """Whether it is past its date."""
        return datetime.now(UTC).date() > self.expires

    def covers(self, policy: str, product: str, part: str) -> bool:
        """Whether it allows what a policy found at a part of a product."""
        return (self.policy, self.product) == (policy, product) and self.part in {None, part}


class GrantedExemption(Exemption):
    """One that somebody granted, as the audit log has it.

    Attributes:
        id: Number of the record that granted it.
        by: Who did.
        at: When, UTC, ISO 8601.
    """

    id: int
    by: str
    at: str

    def __str__(self) -> str:
        return f"{super().__str__()} (granted by {self.by}, record {self.id})"


class ExemptionsOfProduct:
    """All exemptions of one product.

    Those that were granted lie in the records; they are read when something was found that one could allow, and not
    before: who keeps the policies needs no database.
    """

    def __init__(self, product: str, declared: Sequence[Exemption], grants: Grants) -> None:
        self._product = product
        self._declared = [one for one in declared if one.product == product]
        self._grants = grants
        self.fault = ""

    @cached_property
    def _granted(self) -> Sequence[GrantedExemption]:
        try:
            return self._grants.current(self._product)
        except DataProductError as error:
            # Nobody is exempted by what cannot be read.
            self.fault = f"granted exemptions could not be read, and count as none: {error}"
            return ()

    @property
    def known(self) -> list[Exemption]:
        """What was declared, and what was read so far."""
        return [*self._declared, *self.__dict__.get("_granted", ())]

    def allowing(self, policy: str, part: str) -> Exemption | None:
        """What allows what a policy found at a part; ``None`` where nothing does."""
        return _first(self._declared, policy, self._product, part) or _first(
            self._granted, policy, self._product, part
        )


def _first(exemptions: Sequence[Exemption], policy: str, product: str, part: str) -> Exemption | None:
    return next(
        (one for one in exemptions if one.covers(policy, product, part) and not one.has_expired), None
    )
