"""The state of every line: active unless something around it says otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dp_dagster.descriptor.paths import dotted
from dp_dagster.resolve.model import Line

if TYPE_CHECKING:
    from dp_dagster.descriptor.document import Document
    from dp_dagster.descriptor.paths import Keys
    from dp_dagster.resolve.model import LineState


@dataclass
class States:
    """States by place; the innermost place that a line stands in decides."""

    marked: dict[Keys, tuple[LineState, str]] = field(default_factory=dict)

    def mark(self, keys: Keys, state: LineState, reason: str = "") -> None:
        """Give a place, with all below it, a state."""
        self.marked[keys] = (state, reason)

    def lines(self, document: Document) -> tuple[Line, ...]:
        """Every leaf of the document with its state."""
        return tuple(
            Line(dotted(keys), mark.line, mark.text or "", *self._state(keys))
            for keys, mark in document.leaves()
        )

    def _state(self, keys: Keys) -> tuple[LineState, str]:
        for length in range(len(keys), -1, -1):
            if keys[:length] in self.marked:
                return self.marked[keys[:length]]
        return ("active", "")
