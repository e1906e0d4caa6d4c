"""Whom to ask: an owner and a domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dp_dagster.policies.model import Finding, PolicyParameters, ProductPolicy, ProductSubject, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable


class OwnerAndDomainParameters(PolicyParameters):
    """Parameters of ``owner_and_domain``."""

    email: bool = Field(default=False, description="Whether the owner must have an e-mail address.")


class OwnerAndDomain(ProductPolicy):
    """Every product has an owner and a domain."""

    id = "owner_and_domain"
    title = "Every product has an owner and a domain."
    why = (
        "A product that nobody answers for is repaired by nobody, and one without a domain is found by nobody. A "
        "warning by default: the first draft of a product may not have either."
    )
    severity: ClassVar[Severity] = "warn"
    Parameters: ClassVar[type[PolicyParameters]] = OwnerAndDomainParameters

    def check(self, subject: ProductSubject) -> Iterable[Finding]:
        """Look at ``owner`` and ``domain``."""
        declared = subject.product.descriptor
        if declared.owner is None:
            yield Finding("owner", "nobody owns the product", "add `owner: {team: …, email: …}`")
        elif self.parameters.email and not declared.owner.email:
            yield Finding("owner", "the owner has no e-mail address", "add `email: …`")
        if declared.domain is None:
            yield Finding("domain", "the product belongs to no domain", "add `domain: …`")
