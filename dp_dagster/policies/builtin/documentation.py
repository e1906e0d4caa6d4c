"""What a stranger must be able to read: what each column means."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dp_dagster.policies.model import DatasetPolicy, DatasetSubject, Finding, PolicyParameters, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMED = 10


class ColumnsDescribedParameters(PolicyParameters):
    """Parameters of ``columns_described``."""

    least: int = Field(default=1, ge=1, description="The least number of characters of a description.")


class ColumnsDescribed(DatasetPolicy):
    """Every column of every dataset has a description."""

    id = "columns_described"
    title = "Every column of every dataset has a description."
    why = (
        "A name does not say whether an amount has taxes in it. A warning by default: a product runs while its "
        "columns are being described."
    )
    severity: ClassVar[Severity] = "warn"
    Parameters: ClassVar[type[PolicyParameters]] = ColumnsDescribedParameters

    def check(self, subject: DatasetSubject) -> Iterable[Finding]:
        """Look at the columns of the contract."""
        contract = subject.dataset.contract
        missing = [
            column.name
            for column in contract.columns
            if len(column.description.strip()) < self.parameters.least
        ]
        if missing:
            named = ", ".join(missing[:_NAMED])
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            verb = "columns have" if len(missing) > 1 else "column has"
            yield Finding(
                "contract",
                f"{len(missing)} {verb} no description: {named}{more}",
                f"add a description to each, in {contract.source}",
            )
