"""What a platform allows: kinds of ports and transforms, and where data may come from and go to."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from dp_dagster.policies.model import Finding, PolicyParameters, ProductPolicy, ProductSubject

if TYPE_CHECKING:
    from collections.abc import Iterable

_WILD = {"**": ".*", "*": r"[^/?#@\\]*"}


class AllowedKindsParameters(PolicyParameters):
    """Parameters of ``allowed_kinds``; a list that is not given allows every kind."""

    input_ports: tuple[str, ...] | None = Field(default=None, description="Kinds of input ports.")
    transforms: tuple[str, ...] | None = Field(default=None, description="Kinds of transforms.")
    output_ports: tuple[str, ...] | None = Field(default=None, description="Kinds of output ports.")

    @field_validator("*")
    @classmethod
    def _as_kinds_are_written(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else tuple(name.upper().replace("-", "_") for name in value)


class AllowedKinds(ProductPolicy):
    """Ports and transforms are of kinds that the platform allows."""

    id = "allowed_kinds"
    title = "Ports and transforms are of kinds that the platform allows."
    why = "A kind is a library, a protocol and a way for data to leave; the platform decides which of them it runs."
    Parameters: ClassVar[type[PolicyParameters]] = AllowedKindsParameters

    def not_applicable(self, subject: ProductSubject) -> str:
        """Nothing is allowed or forbidden until the settings say so."""
        given = self.parameters.model_dump(exclude_none=True)
        return "" if given else "the settings name no kinds, so all are allowed"

    def check(self, subject: ProductSubject) -> Iterable[Finding]:
        """Look at the type of each port and transform."""
        for part, allowed in self.parameters.model_dump(exclude_none=True).items():
            for number, one in enumerate(getattr(subject.product.descriptor, part)):
                if one.type not in allowed:
                    choices = ", ".join(allowed) or "none"
                    yield Finding(
                        f"{part}[{number}].type", f"{one.type} is not allowed here", f"allowed: {choices}"
                    )


class AllowedLocationsParameters(PolicyParameters):
    """Parameters of ``allowed_locations``.

    Patterns of whole locations. ``*`` stands for anything but ``/ ? # @``, ``**`` for anything; a list that is not
    given allows every location.
    """

    inputs: tuple[str, ...] | None = Field(
        default=None, description="Where input ports may read: `data/**`, `https://*.example.com/**`."
    )
    endpoints: tuple[str, ...] | None = Field(default=None, description="Endpoints of output ports.")


class AllowedLocations(ProductPolicy):
    """Data comes from, and goes to, places that the platform allows."""

    id = "allowed_locations"
    title = "Data comes from, and goes to, places that the platform allows."
    why = "Where data lies decides which law holds and who can read it."
    Parameters: ClassVar[type[PolicyParameters]] = AllowedLocationsParameters

    def not_applicable(self, subject: ProductSubject) -> str:
        """Nothing is allowed or forbidden until the settings say so."""
        given = self.parameters.model_dump(exclude_none=True)
        return "" if given else "the settings name no locations, so all are allowed"

    def check(self, subject: ProductSubject) -> Iterable[Finding]:
        """Look at the location of each input port, and at the endpoint of each output port."""
        product = subject.product
        if self.parameters.inputs is not None:
            for one in product.inputs:
                number = product.descriptor.input_ports.index(one.declaration)
                location = one.port.location(one.config)
                if not _is_allowed(location, self.parameters.inputs):
                    yield Finding(
                        f"input_ports[{number}]",
                        f"reads {location}, which is not allowed here",
                        f"allowed: {', '.join(self.parameters.inputs) or 'nowhere'}",
                    )
        if self.parameters.endpoints is not None:
            for number, port in enumerate(product.descriptor.output_ports):
                if port.endpoint is not None and not _is_allowed(port.endpoint, self.parameters.endpoints):
                    yield Finding(
                        f"output_ports[{number}].endpoint",
                        "is no endpoint that is allowed here",
                        f"allowed: {', '.join(self.parameters.endpoints) or 'none'}",
                    )


def _is_allowed(location: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(_expression(pattern), _normal(location)) for pattern in patterns)


def _normal(location: str) -> str:
    """The location without steps back: ``data/../../secrets`` is not below ``data``."""
    if ".." not in location:
        return location
    scheme, separator, rest = location.rpartition("://")
    if not separator:
        return posixpath.normpath(location)
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}{posixpath.normpath(f'/{path}')}"


def _expression(pattern: str) -> str:
    parts = re.split(r"(\*\*|\*)", pattern)
    return "".join(_WILD.get(part, re.escape(part)) for part in parts)
