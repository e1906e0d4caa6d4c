"""The interface of policies: what one looks at, and what it may find.

Built-in policies and those of others register in the same way, through the entry point group ``dp_dagster.policies``
or a Python file that the settings name. A module of policies must be cheap to import: ``dp validate`` does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.resolve import ResolvedDataset, ResolvedOutput, ResolvedProduct
    from dp_dagster.settings import Settings

Severity = Literal["error", "warn"]
"""``error`` refuses the product; ``warn`` is told."""

Scope = Literal["platform", "product", "dataset", "port"]


@dataclass(frozen=True)
class Finding:
    """One way in which a subject does not keep a policy.

    Attributes:
        place: Where in ``product.yaml``, from the subject on: ``contract``, ``owner.email``; empty for all of it.
        message: What is wrong. Never holds a secret.
        fix: What would be right.
    """

    place: str
    message: str
    fix: str = ""


@dataclass(frozen=True)
class PlatformSubject:
    """The platform itself: its settings. Places are keys of the settings."""

    settings: Settings

    place = ""
    label = "platform"


@dataclass(frozen=True)
class ProductSubject:
    """One product.

    Attributes:
        product: The product, resolved.
        acknowledged: Consumers that agreed to a change that breaks them.
    """

    product: ResolvedProduct
    acknowledged: tuple[str, ...] = ()

    place = ""
    label = "product"


@dataclass(frozen=True)
class DatasetSubject:
    """One dataset of a product; each of its major versions is one."""

    product: ResolvedProduct
    dataset: ResolvedDataset
    acknowledged: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where the dataset is declared: ``datasets[0]``."""
        number = self.product.descriptor.datasets.index(self.dataset.declaration)
        if self.dataset.is_current:
            return f"datasets[{number}]"
        majors = [version.major for version in self.dataset.declaration.versions]
        return f"datasets[{number}].versions[{majors.index(self.dataset.major)}]"

    @property
    def label(self) -> str:
        """``datasets.flights``."""
        return f"datasets.{self.dataset.label}"


@dataclass(frozen=True)
class PortSubject:
    """One output port of a product; each of its major versions is one."""

    product: ResolvedProduct
    port: ResolvedOutput

    @property
    def place(self) -> str:
        """Where the port is declared: ``output_ports[0]``."""
        return f"output_ports[{self.product.descriptor.output_ports.index(self.port.declaration)}]"

    @property
    def label(self) -> str:
        """``output_ports.vw_flights``."""
        return f"output_ports.{self.port.label}"


Subject = PlatformSubject | ProductSubject | DatasetSubject | PortSubject


class PolicyParameters(BaseModel):
    """Base of a policy's own parameters: frozen, unknown keys refused. Each has a description and a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Policy(ABC):
    """What must hold of each of its subjects. Derive from one of the four classes below.

    Attributes:
        id: Name in settings, exemptions and messages: ``[a-z][a-z0-9_]*``.
        title: What must hold, in one sentence.
        why: Why it must, for ``dp policy explain``.
        severity: What it is unless the settings say otherwise.
        scope: What it looks at.
        is_gate: Whether what it finds is refused elsewhere, too, so that it can be neither switched off nor exempted.
        Parameters: What the settings may say to it.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    why: ClassVar[str] = ""
    severity: ClassVar[Severity] = "error"
    scope: ClassVar[Scope]
    is_gate: ClassVar[bool] = False
    Parameters: ClassVar[type[PolicyParameters]] = PolicyParameters

    def __init__(self, parameters: PolicyParameters | None = None) -> None:
        """Make the policy.

        Args:
            parameters: Of its ``Parameters``; its defaults where there are none.
        """
        self.parameters: Any = self.Parameters() if parameters is None else parameters

    def not_applicable(self, subject: Any) -> str:  # noqa: ARG002 - for those who override it
        """Why there is nothing to check; empty where there is. What is not checked never shows as passed."""
        return ""

    @abstractmethod
    def check(self, subject: Any) -> Iterable[Finding]:
        """What is wrong with a subject; nothing where it keeps the policy.

        Whatever is raised counts as failed, with the cause.
        """


class PlatformPolicy(Policy):
    """A policy on the platform's settings; it concerns every product."""

    scope: ClassVar[Scope] = "platform"

    @abstractmethod
    def check(self, subject: PlatformSubject) -> Iterable[Finding]:
        """What is wrong with the settings."""


class ProductPolicy(Policy):
    """A policy on a product as a whole."""

    scope: ClassVar[Scope] = "product"

    @abstractmethod
    def check(self, subject: ProductSubject) -> Iterable[Finding]:
        """What is wrong with a product."""


class DatasetPolicy(Policy):
    """A policy on each dataset."""

    scope: ClassVar[Scope] = "dataset"

    @abstractmethod
    def check(self, subject: DatasetSubject) -> Iterable[Finding]:
        """What is wrong with a dataset."""


class PortPolicy(Policy):
    """A policy on each output port that is active."""

    scope: ClassVar[Scope] = "port"

    def not_applicable(self, subject: PortSubject) -> str:
        """Why there is nothing to check: the port is not active, say."""
        return "" if subject.port.state == "active" else f"the port is {subject.port.state}"

    @abstractmethod
    def check(self, subject: PortSubject) -> Iterable[Finding]:
        """What is wrong with a port."""
