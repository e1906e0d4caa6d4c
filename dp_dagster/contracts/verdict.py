"""What an audit found: rule by rule counts, and the verdict that publication asks for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from dp_dagster.contracts.model import Severity


@dataclass(frozen=True)
class RuleResult:
    """What one rule found.

    ``evaluated`` is false where the rule could not be evaluated; ``reason`` then says why, and the result
    never counts as passed. ``sample`` holds a few failing values (or rows of a key), already masked for
    classified columns. ``failures`` counts rows for rules of level ``row``, else 0 or 1.
    """

    rule_id: str
    severity: Severity
    level: Literal["row", "table", "schema"]
    failures: int
    evaluated: bool = True
    reason: str = ""
    sample: tuple[Any, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the rule was evaluated and nothing failed."""
        return self.evaluated and self.failures == 0


Decision = Literal["accepted", "accepted_in_part", "held"]


@dataclass(frozen=True)
class Verdict:
    """The outcome of one audit of one candidate.

    Attributes:
        id: Unique id.
        candidate_id: The candidate that was audited.
        contract_hash: Of the contract that judged.
        contract_version: Version that the contract carries, if any.
        decision: ``accepted`` (all rows are good and may be published), ``accepted_in_part`` (the good
            rows may be published, the bad ones are in quarantine) or ``held`` (nothing may be published).
        rows_in: Rows that came in.
        rows_accepted: Rows that may be published.
        rows_rejected: Distinct rows that fail at least one rule of severity ``error``.
        input_hash: Hash of the files that came in.
        accepted_hash: Hash of the files that may be published; empty when held. Equal to ``input_hash``
            unless rows were split off.
        results: Rule by rule.
        reason: One plain sentence.
        at: UTC time, ISO 8601.
    """

    id: str
    candidate_id: str
    contract_hash: str
    contract_version: str | None
    decision: Decision
    rows_in: int
    rows_accepted: int
    rows_rejected: int
    input_hash: str
    accepted_hash: str
    results: tuple[RuleResult, ...]
    reason: str
    at: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether something may be published."""
        return self.decision != "held"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; :meth:`from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Verdict:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            **{
                **data,
                "results": tuple(
                    RuleResult(**{**result, "sample": tuple(result["sample"])}) for result in data["results"]
                ),
            }
        )
