"""What must never stand in a file: secrets in clear text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from dp_dagster.policies.builtin.secret_patterns import what_secret
from dp_dagster.policies.model import Finding, PolicyParameters, ProductPolicy, ProductSubject

if TYPE_CHECKING:
    from collections.abc import Iterable


class NoClearTextSecretParameters(PolicyParameters):
    """Parameters of ``no_clear_text_secret``."""

    ignore: tuple[str, ...] = Field(
        default=(),
        description="Places that hold no secret whatever it looks like: `input_ports[0].path`, `tags`.",
    )


class NoClearTextSecret(ProductPolicy):
    """No secret stands in the descriptor in clear text."""

    id = "no_clear_text_secret"
    title = "No secret stands in product.yaml in clear text."
    why = (
        "A file is copied, committed and shown. An error by default: a secret that was committed once is no secret "
        "any more. Known forms of keys and tokens, passwords in addresses, values of keys that are called `password` "
        "and the like, and texts that look random are found; references (`${NAME}`) are what should be there."
    )
    Parameters: ClassVar[type[PolicyParameters]] = NoClearTextSecretParameters

    def check(self, subject: ProductSubject) -> Iterable[Finding]:
        """Look at every value as its author wrote it."""
        for line in subject.product.lines:
            if any(
                line.path == place or line.path.startswith((f"{place}.", f"{place}["))
                for place in self.parameters.ignore
            ):
                continue
            what = what_secret(line.path, line.value)
            if what:
                yield Finding(
                    line.path,
                    f"looks like {what} in clear text",
                    "write ${NAME} and set the variable where it runs; replace the secret if it was ever committed",
                )
