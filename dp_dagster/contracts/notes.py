"""What a format cannot say of a contract or product."""

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
