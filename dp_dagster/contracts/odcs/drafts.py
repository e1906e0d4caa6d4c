"""Rules on their way from an ODCS document: not yet named, with the place that they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from dp_dagster.contracts.model import RuleKind, Severity
    from dp_dagster.descriptor.paths import Keys

Step = list[str]


@dataclass(frozen=True)
class Subject:
    """What a rule is about.

    Attributes:
        column: Name of the column.
        path: Steps to a part of it, as in :mod:`..type_trees`.
        type: The canonical type of the column or part.
        keys: Where the property stands in the document.
    """

    column: str
    path: tuple[Step, ...]
    type: str
    keys: Keys

    def below(self, step: Step, type_name: str, keys: Keys) -> Subject:
        """A part of it."""
        return Subject(self.column, (*self.path, step), type_name, keys)

    @property
    def label(self) -> tuple[str, ...]:
        """Name for the ids of rules: the column, then the fields below."""
        return (self.column, *(step[-1] for step in self.path))


@dataclass(frozen=True)
class Draft:
    """A rule without its id.

    Attributes:
        kind: Of the rule.
        keys: Where it stands.
        subject: What it is about; ``None`` for a rule of the table.
        columns: Its columns, where they are more than the subject's one.
        params: As in :class:`..model.Rule`.
        name: Given by the author.
    """

    kind: RuleKind
    keys: Keys
    subject: Subject | None = None
    columns: tuple[str, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    severity: Severity = "error"
    level: Literal["row", "table"] = "row"
    description: str = ""
    name: str = ""


def unevaluated(
    keys: Keys, subject: Subject | None, reason: str, *, name: str = "", description: str = ""
) -> Draft:
    """A rule that nobody can check: it is listed, reports each time, and never counts as passed.

    It warns whatever its severity, for at ``error`` it would hold every candidate for ever.
    """
    return Draft(
        "unevaluated",
        keys,
        subject,
        params={"reason": reason},
        severity="warn",
        level="table",
        description=description,
        name=name,
    )
