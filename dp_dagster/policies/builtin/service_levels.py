"""What consumers are promised: objectives of every port, and how long data is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dp_dagster.policies.model import (
    DatasetPolicy,
    DatasetSubject,
    Finding,
    PolicyParameters,
    PortPolicy,
    PortSubject,
    Severity,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.resolve import ResolvedOutput


class SlaDeclaredParameters(PolicyParameters):
    """Parameters of ``sla_declared``."""

    objectives: tuple[str, ...] = Field(
        default=(), description="Objectives that every port must promise: `availability`, `freshness`, …"
    )


class SlaDeclared(PortPolicy):
    """Every output port has an SLA."""

    id = "sla_declared"
    title = "Every output port has an SLA."
    why = (
        "Without one, nobody knows whether a port is as good as it should be. A warning by default: what can be "
        "promised shows when a product has run for a while."
    )
    severity: ClassVar[Severity] = "warn"
    Parameters: ClassVar[type[PolicyParameters]] = SlaDeclaredParameters

    def check(self, subject: PortSubject) -> Iterable[Finding]:
        """Look at the objectives of the port: its own, the product's, its contract's, and its refresh rate."""
        promises = subject.port.promises
        promised = {objective.name for objective in promises.objectives}
        missing = [name for name in self.parameters.objectives if name not in promised]
        if not promised:
            yield Finding(
                "", "promises nothing", 'add `sla: {availability: "99.9%"}`, here or to the product'
            )
        elif missing:
            yield Finding(
                "", f"does not promise {', '.join(missing)}", "add it to `sla`, here or of the product"
            )
        elif all(objective.id in promises.unmeasured for objective in promises.objectives):
            reasons = "; ".join(dict.fromkeys(promises.unmeasured.values()))
            yield Finding(
                "", f"promises only what cannot be measured: {reasons}", "add an objective that can be"
            )


class RetentionDeclared(DatasetPolicy):
    """Every dataset says how long its data is kept."""

    id = "retention_declared"
    title = "Every dataset says how long its versions are kept."
    why = (
        "Consumers must know how far back they can go, and the law may say when data must be gone. A warning by "
        "default: nothing is removed until it is declared."
    )
    severity: ClassVar[Severity] = "warn"

    def not_applicable(self, subject: DatasetSubject) -> str:
        """Only a dataset that somebody reads has consumers to promise something to."""
        return "" if _ports(subject) else "no output port shows the dataset"

    def check(self, subject: DatasetSubject) -> Iterable[Finding]:
        """Look for retention among the objectives of the dataset's ports."""
        if not any(one.name == "retention" for port in _ports(subject) for one in port.objectives):
            yield Finding(
                "",
                "no port of it says how long its versions are kept",
                "add `sla: {retention: 90d}` to the product or to a port",
            )


def _ports(subject: DatasetSubject) -> list[ResolvedOutput]:
    return [
        port
        for port in subject.product.ports
        if port.dataset is not None and port.dataset.label == subject.dataset.label
    ]
