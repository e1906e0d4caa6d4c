"""What checking a product's policies came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.errors import Problem
    from dp_dagster.policies.exemptions import Exemption
    from dp_dagster.policies.model import Scope, Severity

Status = Literal["passed", "failed", "exempted", "raised", "not applicable"]

_MOST_FACTS = 50


@dataclass(frozen=True)
class Found:
    """A finding with its place.

    Attributes:
        problem: File, line, field, what is wrong and what would be right.
        part: What exemptions call it: ``datasets.flights``; empty for the product as a whole.
        exemption: What allows it; ``None`` where nothing does.
    """

    problem: Problem
    part: str
    exemption: Exemption | None = None


@dataclass(frozen=True)
class PolicyResult:
    """What one policy came to on one subject.

    Attributes:
        policy: Its id.
        title: What must hold.
        severity: What a failure means.
        scope: What it looks at.
        subject: What it looked at: ``product``, ``datasets.flights``, ``output_ports.vw_flights``, ``platform``.
        status: ``raised`` counts as failed. ``exempted`` where an exemption allows all that was found.
        found: What is wrong.
        reason: Why it is not applicable, or what was raised.
    """

    policy: str
    title: str
    severity: Severity
    scope: Scope
    subject: str
    status: Status
    found: tuple[Found, ...] = ()
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether the policy is not kept, and nothing allows it."""
        return self.status in {"failed", "raised"}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong and not allowed; each names the policy."""
        return tuple(found.problem for found in self.found if found.exemption is None)


@dataclass(frozen=True)
class PolicyReport:
    """All results of one product.

    Attributes:
        product: Its id.
        results: By policy, then by subject.
        expired: Exemptions of the product that are past their date; they count as none.
        unused: Exemptions of the product that allow nothing that was found.
        fault: Why granted exemptions could not be read, and count as none; empty where they could, or nobody had to.
    """

    product: str
    results: tuple[PolicyResult, ...]
    expired: tuple[Exemption, ...] = ()
    unused: tuple[Exemption, ...] = ()
    fault: str = ""

    @property
    def refused(self) -> bool:
        """Whether a policy of severity ``error`` is not kept."""
        return any(result.failed and result.severity == "error" for result in self.results)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What refuses the product."""
        return _problems(result for result in self.results if result.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is told only."""
        return _problems(result for result in self.results if result.severity == "warn")

    @property
    def notices(self) -> tuple[str, ...]:
        """What is to be known of exemptions, one sentence each."""
        return (
            *(f"{exemption}: has expired, and counts as none" for exemption in self.expired),
            *(f"{exemption}: allows nothing that was found" for exemption in self.unused),
            *([self.fault] if self.fault else []),
        )

    def only(self, *subjects: str) -> PolicyReport:
        """The results of some subjects."""
        return PolicyReport(self.product, tuple(one for one in self.results if one.subject in subjects))

    def facts(self) -> dict[str, Any]:
        """What the audit log keeps: enough to see what changed, the same for the same result."""
        failed = [result for result in self.results if result.failed]
        return {
            "failed": sorted({result.policy for result in failed if result.severity == "error"}),
            "warned": sorted({result.policy for result in failed if result.severity == "warn"}),
            "passed": sorted(
                {result.policy for result in self.results} - {result.policy for result in failed}
            ),
            "findings": [
                f"{problem.field}: {problem.message}" if problem.field else problem.message
                for problem in _problems(failed)[:_MOST_FACTS]
            ],
        }

    def exemptions(self) -> list[dict[str, str]]:
        """The exemptions that allow something that was found, as the audit log keeps them."""
        used = {
            found.exemption: None
            for result in self.results
            for found in result.found
            if found.exemption is not None
        }
        return [
            {
                "policy": exemption.policy,
                "part": exemption.part or "",
                "reason": exemption.reason,
                "expires": exemption.expires.isoformat(),
            }
            for exemption in used
        ]


def _problems(results: Iterable[PolicyResult]) -> tuple[Problem, ...]:
    # A port is checked once for each of its major versions; what is said of all of them is said once.
    return tuple(dict.fromkeys(problem for result in results if result.failed for problem in result.problems))
