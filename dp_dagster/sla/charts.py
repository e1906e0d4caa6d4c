"""Charts as SVG texts, fit to stand in a page that loads nothing from anywhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from dp_dagster.sla.sparkline import health

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from dp_dagster.sla.store import Stretch

WIDTH, HEIGHT = 240, 44
_STRIP = 8  # height of the line of states below the curve
_GAP = 4


def trend_chart(
    stretches: Sequence[Stretch], start: datetime, end: datetime, target: float | None, label: str
) -> str:
    """How an objective went: a curve of its values with the target, and below it the states by hour or by day.

    Args:
        stretches: What its readings add up to, oldest first.
        start: Where the chart begins.
        end: Where it ends.
        target: What the values are measured against.
        label: What the chart says, for those who do not see it.
    """
    parts = [
        (
            f'<svg class="trend" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
            f'aria-label="{escape(label)}">'
        ),
        f"<title>{escape(label)}</title>",
        f'<rect class="ground" x="0" y="{HEIGHT - _STRIP}" width="{WIDTH}" height="{_STRIP}"/>',
    ]
    length = (end - start).total_seconds()
    if length > 0:
        parts += [_strip(one, (one.start - start).total_seconds() / length, length) for one in stretches]
        parts += _curve(stretches, start, length, target)
    return "".join([*parts, "</svg>"])


def _strip(stretch: Stretch, share: float, length: float) -> str:
    """A piece of the line of states, in the colour of the worst that was found."""
    size = 86_400 if length > 3 * 86_400 else 3600
    left = max(share * WIDTH, 0.0)
    width = max(size / length * WIDTH - 0.5, 1.0)
    state = "breached" if stretch.breached else "warning" if stretch.warning else "met"
    if health(stretch) is None:
        state = "not_evaluated"
    said = f"{stretch.start:%Y-%m-%d %H:%M} UTC: {_counted(stretch)}"
    return (
        f'<rect class="{state}" x="{left:.1f}" y="{HEIGHT - _STRIP}" width="{min(width, WIDTH - left):.1f}" '
        f'height="{_STRIP}"><title>{said}</title></rect>'
    )


def _counted(stretch: Stretch) -> str:
    named = (
        (stretch.met, "met"),
        (stretch.warning, "warned"),
        (stretch.breached, "breached"),
        (stretch.other, "not evaluated"),
    )
    return ", ".join(f"{count} {word}" for count, word in named if count)


def _curve(stretches: Sequence[Stretch], start: datetime, length: float, target: float | None) -> list[str]:
    values = [
        one for one in stretches if one.mean is not None and one.low is not None and one.high is not None
    ]
    if not values:
        return []
    bounds = [value for one in values for value in (one.low, one.high) if value is not None]
    if target is not None:
        bounds.append(target)
    low, high = min(bounds), max(bounds)
    room = HEIGHT - _STRIP - 2 * _GAP

    def place(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return _GAP + room * (1 - share)

    points = [
        ((one.start - start).total_seconds() / length * WIDTH, place(one.mean or 0.0)) for one in values
    ]
    parts = []
    if target is not None:
        height = place(target)
        parts.append(f'<line class="target" x1="0" x2="{WIDTH}" y1="{height:.1f}" y2="{height:.1f}"/>')
    if len(points) > 1:
        path = " ".join(f"{max(x, 0):.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="value" points="{path}"/>')
    x, y = points[-1]
    return [*parts, f'<circle class="value" cx="{min(max(x, 2), WIDTH - 2):.1f}" cy="{y:.1f}" r="2"/>']


def budget_bar(left: float, label: str) -> str:
    """How much of a budget is left; red where it is overspent."""
    share = min(max(left, 0.0), 1.0)
    state = "breached" if left < 0 else "warning" if left < 0.25 else "met"
    return (
        f'<svg class="budget" viewBox="0 0 100 8" width="100" height="8" role="img" aria-label="{escape(label)}">'
        f"<title>{escape(label)}</title>"
        f'<rect class="ground" x="0" y="0" width="100" height="8" rx="2"/>'
        f'<rect class="{state}" x="0" y="0" width="{100 * share if left >= 0 else 100:.1f}" height="8" rx="2"/></svg>'
    )
