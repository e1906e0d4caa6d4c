"""A trend in one line: how an objective went, stretch by stretch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from dp_dagster.sla.store import Stretch

WIDTH = 15
_BARS = "▁▂▃▄▅▆▇█"
_NOTHING = "·"


def health(stretch: Stretch) -> float | None:
    """Share of the readings that met the objective, half of it for a warning; ``None`` where nothing was judged."""
    judged = stretch.met + stretch.warning + stretch.breached
    return (stretch.met + stretch.warning / 2) / judged if judged else None


def sparkline(stretches: Sequence[Stretch], start: datetime, end: datetime, width: int = WIDTH) -> str:
    """One character for each part of the time: a full bar where all was well, a dot where nothing was read."""
    length = (end - start) / width
    parts: list[list[Stretch]] = [[] for _ in range(width)]
    for one in stretches:
        place = int((max(one.start, start) - start) / length) if length else 0
        parts[min(max(place, 0), width - 1)].append(one)
    return "".join(_bar(part) for part in parts)


def _bar(stretches: Sequence[Stretch]) -> str:
    found = [
        (value, one.met + one.warning + one.breached)
        for one in stretches
        if (value := health(one)) is not None
    ]
    if not found:
        return _NOTHING
    mean = sum(value * weight for value, weight in found) / sum(weight for _, weight in found)
    return _BARS[min(int(mean * len(_BARS)), len(_BARS) - 1)]
