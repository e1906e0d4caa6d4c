"""What ``dp serve`` was asked to serve, as it is told to worker processes."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "DP_SERVE_OPTIONS"
"""Environment variable by which worker processes are told."""


@dataclass(frozen=True)
class ServeOptions:
    """What to serve.

    Attributes:
        products: Ids; empty for all products of the project.
        start: Folder that the settings are searched from.
        workers: How many processes serve.
    """

    products: tuple[str, ...] = ()
    start: str = "."
    workers: int = 1

    def to_environment(self) -> None:
        """Tell it to processes that are started from here."""
        os.environ[VARIABLE] = json.dumps(asdict(self))

    @classmethod
    def from_environment(cls) -> ServeOptions:
        """What the process was told."""
        data = json.loads(os.environ[VARIABLE])
        return cls(products=tuple(data["products"]), start=data["start"], workers=data["workers"])
