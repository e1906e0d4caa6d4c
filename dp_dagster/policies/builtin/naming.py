"""How things are called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from dp_dagster.policies.model import Finding, PolicyParameters, ProductPolicy, ProductSubject, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NAMED = 10


class NamingParameters(PolicyParameters):
    """Parameters of ``naming``: a regular expression that whole names must match; none allows every name."""

    product_id: str | None = Field(default=None, description="Of ids of products.")
    domain: str | None = Field(default=None, description="Of domains.")
    input_ports: str | None = Field(default=None, description="Of input ports.")
    transforms: str | None = Field(default=None, description="Of transforms.")
    datasets: str | None = Field(default=None, description="Of datasets.")
    output_ports: str | None = Field(default=None, description="Of output ports.")
    columns: str | None = Field(default="[a-z][a-z0-9_]*", description="Of columns of datasets.")

    @field_validator("*")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        return value


class Naming(ProductPolicy):
    """Names follow the conventions of the platform."""

    id = "naming"
    title = "Names follow the conventions of the platform."
    why = (
        "Who knows one product finds their way in the next. Ids and names of ports are lower case everywhere; by "
        "default only columns are checked beyond that, as a warning, since other systems name columns too."
    )
    severity: ClassVar[Severity] = "warn"
    Parameters: ClassVar[type[PolicyParameters]] = NamingParameters

    def check(self, subject: ProductSubject) -> Iterable[Finding]:
        """Match every name with its pattern."""
        for part, place, name in self._names(subject):
            pattern = getattr(self.parameters, part)
            if pattern is not None and not re.fullmatch(pattern, name):
                yield Finding(place, f"{name} does not match {pattern}", "rename it")
        if self.parameters.columns is None:
            return
        for number, dataset in enumerate(subject.product.descriptor.datasets):
            columns = subject.product.dataset(dataset.name).contract.columns
            wrong = [one.name for one in columns if not re.fullmatch(self.parameters.columns, one.name)]
            if wrong:
                more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
                yield Finding(
                    f"datasets[{number}].contract",
                    f"columns do not match {self.parameters.columns}: {', '.join(wrong[:_NAMED])}{more}",
                    "rename them in the transform and in the contract",
                )

    def _names(self, subject: ProductSubject) -> Iterator[tuple[str, str, str]]:
        declared = subject.product.descriptor
        yield "product_id", "product_id", declared.product_id
        if declared.domain is not None:
            yield "domain", "domain", declared.domain
        for part in ("input_ports", "transforms", "datasets", "output_ports"):
            for number, one in enumerate(getattr(declared, part)):
                yield part, f"{part}[{number}].name", one.name
