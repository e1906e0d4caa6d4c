"""What an export hands over: a document as text, and what it could not say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """Something that the format cannot say.

    Attributes:
        subject: What it is about: the id of a rule, the name of a column, a field of the descriptor.
        reason: Why it is not said, or where it is said instead.
    """

    subject: str
    reason: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


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
