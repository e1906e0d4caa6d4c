"""What a REST port is, as far as its answers and documents speak of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dp_dagster.access.authentication.config import Authentication
    from dp_dagster.contracts.model import Contract
    from dp_dagster.ports.base import Example


@dataclass(frozen=True)
class PortDescription:
    """One REST port.

    Attributes:
        product: Id of the product.
        major: Major version of the port.
        port: Its name.
        dataset: What it shows.
        path: Where it is mounted, without a trailing slash; needs no escapes.
        address: Where consumers reach it.
        description: In Markdown; the first line is a summary.
        contract: What its rows keep.
        auth: What it demands of who asks.
        access: How consumers get access, in words.
        examples: Lines to copy.
        page_size: Rows of a page where nothing else is asked for.
        most_rows: Rows that a page can hold.
        largest: Bytes that an answer may have; ``None`` for any number.
        deprecation: Until when it is kept up, and what to use instead; empty while it is not deprecated.
    """

    product: str
    major: int
    port: str
    dataset: str
    path: str
    address: str
    description: str
    contract: Contract
    auth: Authentication
    access: str
    examples: tuple[Example, ...]
    page_size: int
    most_rows: int
    largest: int | None = None
    deprecation: str = ""

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return self.description.strip().partition("\n")[0].strip() or f"{self.dataset} of {self.product}"
