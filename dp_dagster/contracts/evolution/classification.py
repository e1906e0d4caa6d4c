"""How each kind of change is classified, for those who read the data and for those who must deliver it.

This table is the decision; the page in the docs is made from it, and each row of it has a test. Consumers read
rows that keep the new contract with code that was written for the old one; producers deliver rows that kept the
old contract and are judged by the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Effect = Literal["breaking", "compatible", "documentation"]


@dataclass(frozen=True)
class Classification:
    """How one kind of change is classified.

    Attributes:
        kind: Name of the change.
        consumers: Its effect on those who read the data.
        producers: Its effect on those who deliver it.
        reason: Why, in one sentence.
    """

    kind: str
    consumers: Effect
    producers: Effect
    reason: str


CLASSIFICATION: dict[str, Classification] = {
    row.kind: row
    for row in (
        Classification("column removed", "breaking", "compatible", "Queries that name the column fail."),
        Classification(
            "nullable column added", "compatible", "compatible", "Nobody reads it yet, and it may be empty."
        ),
        Classification(
            "required column added",
            "compatible",
            "breaking",
            "Nobody reads it yet; every row must now have it.",
        ),
        Classification(
            "optional column required",
            "compatible",
            "breaking",
            "Consumers may rely on more; it must be delivered.",
        ),
        Classification(
            "required column optional", "breaking", "compatible", "Queries that name the column may fail."
        ),
        Classification(
            "type widened", "compatible", "compatible", "Every old value fits the new type without loss."
        ),
        Classification(
            "type changed",
            "breaking",
            "breaking",
            "Values read, or are delivered, as something else, or no longer fit.",
        ),
        Classification(
            "null allowed", "breaking", "compatible", "Consumers meet nulls where there were none."
        ),
        Classification(
            "null forbidden",
            "compatible",
            "breaking",
            "Consumers may rely on more; nulls are no longer accepted.",
        ),
        Classification(
            "values added", "breaking", "compatible", "Consumers meet values that they do not know."
        ),
        Classification(
            "values removed", "compatible", "breaking", "Consumers may rely on more; old values are refused."
        ),
        Classification(
            "rule tightened",
            "compatible",
            "breaking",
            "Consumers may rely on more; rows that passed may now fail.",
        ),
        Classification(
            "rule loosened", "breaking", "compatible", "Consumers meet rows that could not come before."
        ),
        Classification(
            "rule changed",
            "breaking",
            "breaking",
            "Neither is known to include the other, so each side may meet what it did not expect.",
        ),
        Classification(
            "rule added",
            "compatible",
            "breaking",
            "Consumers may rely on more; rows that passed may now fail.",
        ),
        Classification(
            "rule removed", "breaking", "compatible", "Consumers meet rows that could not come before."
        ),
        Classification(
            "warning added", "compatible", "compatible", "A rule that only warns holds nothing back."
        ),
        Classification(
            "warning removed", "compatible", "compatible", "A rule that only warned promised nothing."
        ),
        Classification(
            "warning changed", "compatible", "compatible", "A rule that only warns holds nothing back."
        ),
        Classification(
            "key added", "compatible", "breaking", "Rows can now be told apart; repeated ones fail."
        ),
        Classification("key removed", "breaking", "compatible", "Rows can no longer be told apart."),
        Classification("key changed", "breaking", "breaking", "Rows are told apart by something else."),
        Classification("unit changed", "breaking", "breaking", "The same number means something else."),
        Classification(
            "further columns allowed",
            "compatible",
            "compatible",
            "Declared columns stay; others may come along.",
        ),
        Classification(
            "further columns forbidden",
            "compatible",
            "breaking",
            "Rows with columns beyond the declared ones fail.",
        ),
        Classification(
            "classification changed",
            "documentation",
            "documentation",
            "What may be seen is decided by access.",
        ),
        Classification("description changed", "documentation", "documentation", "The rows stay the same."),
        Classification("tags changed", "documentation", "documentation", "The rows stay the same."),
    )
}
