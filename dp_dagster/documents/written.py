"""What an export hands over: a document as text, and what it could not say."""

from __future__ import annotations

from dataclasses import dataclass

from dp_dagster.contracts.notes import Note

__all__ = ["Note", "Written"]


@dataclass(frozen=True)
class Written:
    """One document.

    Attributes:
        file: Its name, relative to the folder that an export is written to.
        text: Its content.
        notes: What it could not say.
    """

    file: str
    text: str
    notes: tuple[Note, ...] = ()
