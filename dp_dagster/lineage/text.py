"""Lineage as a tree of text, for terminals and for Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.lineage.model import Graph, Step
    from dp_dagster.lineage.versions import MadeFrom


def tree(step: Step, graph: Graph) -> str:
    """A step and all below it, one line each. What was told once already is not told again."""
    return "\n".join(_lines(step, graph, "", "", set()))


def _lines(step: Step, graph: Graph, lead: str, below: str, told: set[object]) -> Iterator[str]:
    here = (step.node, step.column)
    again = here in told and step.steps
    told.add(here)
    yield f"{lead}{_title(step, graph)}{'  (see above)' if again else ''}"
    if again:
        return
    for number, one in enumerate(step.steps):
        last = number == len(step.steps) - 1
        yield from _lines(
            one, graph, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), told
        )


def _title(step: Step, graph: Graph) -> str:
    node = graph.nodes.get(step.node)
    name = f"{step.node}.{step.column}" if step.column else step.node
    how = f"  [{step.how}]" if step.how and step.how != "identity" else ""
    place = f"  from {node.place}" if node is not None and node.place and not node.reads else ""
    note = f"  not known: {step.note}" if step.note else ""
    return f"{name}{how}{place}{note}"


def versions_tree(made: MadeFrom) -> str:
    """Versions and what they were made from, one line each."""
    return "\n".join(_version_lines(made, "", ""))


def _version_lines(made: MadeFrom, lead: str, below: str) -> Iterator[str]:
    version = "" if made.version is None else f" version {made.version}"
    at = f", published {made.published_at:%Y-%m-%d %H:%M} UTC" if made.published_at else ""
    place = f"  from {made.place}" if made.place else ""
    note = f"  not known: {made.note}" if made.note else ""
    yield f"{lead}{made.name}{version}{at}{place}{note}"
    for number, one in enumerate(made.sources):
        last = number == len(made.sources) - 1
        yield from _version_lines(one, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "))
