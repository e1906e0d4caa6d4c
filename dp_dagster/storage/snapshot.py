"""What readers get: one committed version, resolved once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from dp_dagster.storage.mirror import ensure
from dp_dagster.storage.types import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

    from dp_dagster.contracts.model import Column
    from dp_dagster.storage.location import TableLocation
    from dp_dagster.storage.partitions import Partition


@dataclass(frozen=True)
class Snapshot:
    """One committed version of a table. Its files never change; read exactly these.

    Attributes:
        location: The table.
        version: Version of the publication. Upkeep makes commits of its own and never changes this number.
        paths: Absolute paths of the files on this machine.
        rows: Rows of all files.
        columns: Names and canonical types.
        committed_at: When the commit was made, UTC.
        metadata: The commit's ``dp.*`` entries.
        partitions: By key, in order of time; none where the table has no partitions.
    """

    location: TableLocation
    version: int
    paths: tuple[str, ...]
    rows: int
    columns: tuple[Column, ...]
    committed_at: datetime
    metadata: dict[str, str]
    partitions: dict[str, Partition] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """The paths, with all files there to be read: from a bucket, what is missing is fetched.

        Raises:
            StoreError: a file is gone, or the bucket cannot be read.
        """
        ensure(self.location.root, self.paths)
        return self.paths

    @property
    def schema(self) -> pa.Schema:
        """The columns as an Arrow schema."""
        return arrow_schema(self.columns)

    @property
    def published_at(self) -> datetime:
        """When these rows were first published. A rollback keeps it: old rows do not become fresh."""
        stated = self.metadata.get("dp.published_at")
        return datetime.fromisoformat(stated) if stated else self.committed_at


@dataclass(frozen=True)
class PublicationEntry:
    """One line of a table's history.

    ``operation`` is ``publish``, ``append`` or ``rollback``; ``rows`` counts the whole version.
    """

    version: int
    at: datetime
    rows: int
    operation: str
    metadata: dict[str, str]
