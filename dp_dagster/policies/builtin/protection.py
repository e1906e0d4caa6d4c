"""What served ports give to whom: classified columns masked, and nobody unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dp_dagster.policies.model import Finding, PolicyParameters, PortPolicy, PortSubject, Severity
from dp_dagster.ports.served import ServedConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.access.policy import Who


class _ServedPolicy(PortPolicy):
    def not_applicable(self, subject: PortSubject) -> str:
        """Only a served port decides for each request what it gives."""
        inactive = super().not_applicable(subject)
        if inactive or isinstance(subject.port.config, ServedConfig):
            return inactive
        return "the port is not served: who can read the storage reads it"


class ClassifiedMaskedParameters(PolicyParameters):
    """Parameters of ``classified_masked``."""

    clear_for: Literal["named", "nobody"] = Field(
        default="named",
        description="Who may be granted classified columns in clear: `named` subjects, clients, roles or scopes; or "
        "`nobody`.",
    )
    classifications: tuple[str, ...] | None = Field(
        default=None, description="Only columns of these classifications; all of them by default."
    )


class ClassifiedMasked(_ServedPolicy):
    """Classified columns are masked on every served port."""

    id = "classified_masked"
    title = "Classified columns are masked on every served port, except for those who are named."
    why = (
        "Masks are what keeps personal data from everybody who can reach a port. An error by default: what was given "
        "once cannot be taken back. Columns are classified in the contract; a grant may show them in clear to those "
        "it names (`unmask`), never to anyone. A key is always in clear, so it should not be classified."
    )
    Parameters: ClassVar[type[PolicyParameters]] = ClassifiedMaskedParameters

    def check(self, subject: PortSubject) -> Iterable[Finding]:
        """Look at each grant of the port's dataset."""
        dataset = subject.port.dataset
        if dataset is None:
            return
        wanted = self.parameters.classifications
        classified = [
            column.name
            for column in dataset.contract.columns
            if column.classification and (wanted is None or column.classification in wanted)
        ]
        guarded = subject.product.access.datasets.get(dataset.label)
        shown: dict[str, list[str]] = {}
        for grant in guarded.grants if guarded is not None else ():
            if self.parameters.clear_for == "named" and not grant.who.anyone:
                continue
            clear = [name for name in classified if name in grant.columns and grant.columns[name] is None]
            if clear:
                shown.setdefault(_whom(grant.who), []).extend(clear)
        for whom, columns in shown.items():
            named = ", ".join(dict.fromkeys(columns))
            keys = [name for name in dict.fromkeys(columns) if name in dataset.key]
            fix = (
                f"use a key that is not classified instead of {', '.join(keys)}"
                if keys
                else "leave them out of unmask, or grant them to somebody named"
            )
            yield Finding("", f"gives classified columns of {dataset.label} in clear to {whom}: {named}", fix)


def _whom(who: Who) -> str:
    if who.anyone:
        return "anyone"
    names = sorted({*who.subjects, *who.clients, *who.roles, *who.scopes})
    return ", ".join(names)


class ServedAuthenticated(_ServedPolicy):
    """Every served port asks who is there."""

    id = "served_authenticated"
    title = "Every served port authenticates who asks."
    why = (
        "Who is not asked cannot be told apart, limited or held to account. A warning by default: `auth: none` must "
        "be written out to have any effect, serves this machine alone unless told otherwise, and shows what `anyone` "
        "is granted and nothing else."
    )
    severity: ClassVar[Severity] = "warn"

    def check(self, subject: PortSubject) -> Iterable[Finding]:
        """Look at ``auth``."""
        if subject.port.config.auth.type == "none":
            yield Finding("auth", "asks nobody who they are", "write `auth: OAuth2` or `auth: api_key`")
