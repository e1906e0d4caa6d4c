"""What ports give to whom: classified columns masked, and nobody unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from dp_dagster.policies.model import Finding, PolicyParameters, PortPolicy, PortSubject, Severity
from dp_dagster.ports.served import ServedConfig
from dp_dagster.resolve.access import identity_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.access.policy import DatasetGrant, Who


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


class ClassifiedMasked(PortPolicy):
    """Classified columns are masked on every port that shows each reader what access gives."""

    id = "classified_masked"
    title = "Classified columns are masked on every port, except for those who are named."
    why = (
        "Masks are what keeps personal data from everybody who can reach a port. An error by default: what was given "
        "once cannot be taken back. Columns are classified in the contract; a grant may show them in clear to those "
        "it names (`unmask`), never to anyone. A key is always in clear, so it should not be classified."
    )
    Parameters: ClassVar[type[PolicyParameters]] = ClassifiedMaskedParameters

    def not_applicable(self, subject: PortSubject) -> str:
        """Files that are handed out whole are a matter of who can read the storage."""
        inactive = super().not_applicable(subject)
        if inactive or not _hands_out_files(subject) or subject.port.declaration.readers is not None:
            return inactive
        classified = self._classified(subject)
        shown = f", {', '.join(classified)} in clear too" if classified else ""
        return f"the port hands out files as they are: who can read the storage reads them{shown}"

    def check(self, subject: PortSubject) -> Iterable[Finding]:
        """Look at each grant of the port's dataset; of a port that hands out files, at what its readers get."""
        dataset, classified = subject.port.dataset, self._classified(subject)
        if dataset is None or not classified:
            return
        shown: dict[str, list[str]] = {}
        if _asks_nobody(subject):
            shown["everybody whom its server lets read it"] = classified
        for grant in _grants(subject):
            if self.parameters.clear_for == "named" and not grant.who.anyone:
                continue
            clear = [name for name in classified if name in grant.columns and grant.columns[name] is None]
            if clear:
                shown.setdefault(_whom(grant.who), []).extend(clear)
        for whom, columns in shown.items():
            named = ", ".join(dict.fromkeys(columns))
            keys = [name for name in dict.fromkeys(columns) if name in dataset.key]
            if _asks_nobody(subject):
                fix = "say under access who may see what: `- {anyone: true}` masks them"
            elif keys:
                fix = f"use a key that is not classified instead of {', '.join(keys)}"
            else:
                fix = "leave them out of unmask, or grant them to somebody named"
            yield Finding("", f"gives classified columns of {dataset.label} in clear to {whom}: {named}", fix)

    def _classified(self, subject: PortSubject) -> list[str]:
        wanted = self.parameters.classifications
        dataset = subject.port.dataset
        return [
            column.name
            for column in (dataset.contract.columns if dataset is not None else ())
            if column.classification and (wanted is None or column.classification in wanted)
        ]


def _hands_out_files(subject: PortSubject) -> bool:
    kind, config = subject.port.port, subject.port.config
    return kind is not None and kind.capabilities_of(config).hands_out_files


def _asks_nobody(subject: PortSubject) -> bool:
    """Whether the port shows the same to all: without ``access``, a server has nothing to decide by."""
    served = isinstance(subject.port.config, ServedConfig)
    return (
        not served
        and not _hands_out_files(subject)
        and "access" not in subject.product.descriptor.model_fields_set
    )


def _grants(subject: PortSubject) -> list[DatasetGrant]:
    """The grants by which the port decides: all of its dataset, or those of the readers of its files."""
    dataset = subject.port.dataset
    guarded = subject.product.access.datasets.get(dataset.label) if dataset is not None else None
    if guarded is None:
        return []
    readers = subject.port.declaration.readers
    if readers is None or not _hands_out_files(subject):
        return list(guarded.grants)
    identity = identity_of(readers)
    return [grant for grant in guarded.grants if grant.who.includes(identity)]


def _whom(who: Who) -> str:
    if who.anyone:
        return "anyone"
    names = sorted({*who.subjects, *who.clients, *who.roles, *who.scopes})
    return ", ".join(names)


class ServedAuthenticated(PortPolicy):
    """Every served port asks who is there."""

    id = "served_authenticated"
    title = "Every served port authenticates who asks."
    why = (
        "Who is not asked cannot be told apart, limited or held to account. A warning by default: `auth: none` must "
        "be written out to have any effect, serves this machine alone unless told otherwise, and shows what `anyone` "
        "is granted and nothing else."
    )
    severity: ClassVar[Severity] = "warn"

    def not_applicable(self, subject: PortSubject) -> str:
        """Who reads other ports is known elsewhere."""
        inactive = super().not_applicable(subject)
        if inactive or isinstance(subject.port.config, ServedConfig):
            return inactive
        if _hands_out_files(subject):
            return "the port hands out files: who can read the storage reads them"
        return "the port is on a server, which asks by itself who is there"

    def check(self, subject: PortSubject) -> Iterable[Finding]:
        """Look at ``auth``."""
        if subject.port.config.auth.type == "none":
            yield Finding("auth", "asks nobody who they are", "write `auth: OAuth2` or `auth: api_key`")
