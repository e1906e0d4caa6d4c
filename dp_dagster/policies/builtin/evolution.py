"""What consumers were promised: no breaking change without a new major version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.evolution import agreed_to, evolution_of, published_contract
from dp_dagster.policies.model import DatasetPolicy, DatasetSubject, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable


class NoBreakingChange(DatasetPolicy):
    """A contract that breaks its consumers needs a new major version."""

    id = "no_breaking_change"
    title = "A contract that breaks its consumers is not published under the same major version."
    why = (
        "Consumers rely on what was published. It is the gate of publication itself: the consumers that would break "
        "may agree to a change (`dp run PRODUCT --acknowledge CONSUMER`), an exemption or a setting may not."
    )
    is_gate = True

    def not_applicable(self, subject: DatasetSubject) -> str:
        """Before the first publication there is nothing to compare with."""
        published = published_contract(subject.product, subject.dataset)
        return "" if published is not None else "nothing was published yet under this major version"

    def check(self, subject: DatasetSubject) -> Iterable[Finding]:
        """Compare the contract with the one that was published last."""
        evolution = evolution_of(subject.product, subject.dataset)
        if evolution is None or agreed_to(evolution, subject.acknowledged):
            return
        broken = ", ".join(sorted({one.consumer for one in evolution.broken_consumers()}))
        for change in evolution.comparison.breaking:
            whom = f"; it breaks {broken}" if broken else ""
            yield Finding(
                "contract",
                f"{change} breaks what was published under major version {evolution.major}: {change.reason}{whom}",
                f"raise version to {evolution.major + 1}.0.0; see dp diff {subject.product.id}",
            )
