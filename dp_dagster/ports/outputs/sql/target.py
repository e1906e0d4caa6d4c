"""What a SQL port asks of the place that its view is in: the DuckDB catalog, or a server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.ports.base import (
        Example,
        Fault,
        Missing,
        OutputCapabilities,
        OutputContext,
        Projected,
    )
    from dp_dagster.ports.outputs.sql.config import SqlConfig
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest


class SqlTarget(ABC):
    """One way to show a dataset as a view. The methods are those of the port's kind."""

    badge: ClassVar[str]
    capabilities: ClassVar[OutputCapabilities]

    def check(self, config: SqlConfig) -> Iterable[Fault]:
        """Faults that can be known without asking the server."""
        return ()

    def missing(self) -> Missing | None:
        """What must be installed."""
        return None

    @abstractmethod
    def address(self, config: SqlConfig, context: OutputContext) -> str:
        """Where consumers find the view."""

    @abstractmethod
    def access(self, config: SqlConfig, context: OutputContext) -> str:
        """How a consumer gets access, in Markdown."""

    @abstractmethod
    def examples(self, config: SqlConfig, context: OutputContext) -> tuple[Example, ...]:
        """Lines to copy."""

    @abstractmethod
    def probe(self, config: SqlConfig, context: OutputContext) -> None:
        """Read next to nothing of the view; ``StoreError`` where that fails."""

    @abstractmethod
    def project(
        self, config: SqlConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """Make the version what the view shows."""
