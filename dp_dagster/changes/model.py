"""What is known of the changes between two versions, besides the changes themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Literal

from dp_dagster.contracts.model import Column

Operation = Literal["inserted", "updated", "deleted"]
"""What became of a row."""

Kind = Literal["first", "changes", "break"]
"""``first``: there was no version before, every row is new. ``break``: there was one, and it cannot be compared."""

_FORMAT = 1


@dataclass(frozen=True)
class Counts:
    """How many rows were inserted, updated and deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.inserted + self.updated + self.deleted


@dataclass(frozen=True)
class ChangeSet:
    """The changes that one publication made.

    Attributes:
        version: The version that was published.
        previous: The version that it followed; ``None`` for the first one.
        kind: Whether it has changes, and how they are known.
        reason: Why it cannot be compared, for a ``break``.
        file: Name of the file with the changes, in the folder of this document; ``None`` where no row changed, and
            for the other kinds.
        counts: Changed rows, whoever may see them.
        rows: Rows of the version.
        committed_at: When it was published, or rolled back to, UTC.
        operation: ``publish`` or ``rollback``.
        contract_hash: The contract that it was proven against.
        key: The columns that rows are told apart by.
        before: Columns of the previous version.
        after: Columns of the version.
        needs: Files of the previous version that are gone when it is vacuumed; then the changes go, too.
    """

    version: int
    previous: int | None
    kind: Kind
    rows: int
    committed_at: datetime
    operation: str
    contract_hash: str
    key: tuple[str, ...]
    after: tuple[Column, ...]
    before: tuple[Column, ...] = ()
    reason: str = ""
    file: str | None = None
    counts: Counts = Counts()
    needs: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        content = asdict(self)
        columns = {
            side: [[one.name, one.type] for one in getattr(self, side)] for side in ("before", "after")
        }
        return {**content, **columns, "format": _FORMAT, "committed_at": self.committed_at.isoformat()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> ChangeSet:
        """Back from JSON.

        Raises:
            ValueError: it was written by a newer release.
            KeyError, TypeError: it is no such document.
        """
        if content.get("format") != _FORMAT:
            raise ValueError(f"has format {content.get('format')!r}, this release reads {_FORMAT}")
        rest = {name: value for name, value in content.items() if name != "format"}
        made = cls(**rest)
        return replace(
            made,
            committed_at=datetime.fromisoformat(content["committed_at"]),
            counts=Counts(**content["counts"]),
            key=tuple(content["key"]),
            before=_columns(content["before"]),
            after=_columns(content["after"]),
            needs=tuple(content["needs"]),
        )


def _columns(content: list[list[str]]) -> tuple[Column, ...]:
    return tuple(Column(name, kind) for name, kind in content)
