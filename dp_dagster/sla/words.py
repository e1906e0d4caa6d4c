"""Readings as people write them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from dp_dagster.sla.model import Unit

_UNITS = (("d", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def span(length: timedelta) -> str:
    """``43.2 min``: one unit, three figures."""
    seconds = length.total_seconds()
    sign, seconds = ("-" if seconds < 0 else ""), abs(seconds)
    # 90 minutes read better than an hour and a half, 3 days than 72 hours.
    for unit, size in _UNITS:
        if seconds >= size * (1 if unit == "s" else 2 if unit == "d" else 1.5):
            return f"{sign}{_figures(seconds / size)} {unit}"
    return f"{sign}{_figures(seconds * 1000)} ms" if seconds else "0 s"


def percent(share: float) -> str:
    """``99.95 %``: never rounded up to a hundred, never down to nothing."""
    value = share * 100
    for digits in range(2, 7):
        text = f"{value:.{digits}f}"
        if (float(text) >= 100) == (value >= 100) and (float(text) == 0) == (value == 0):
            return f"{text.rstrip('0').rstrip('.')} %"
    return f"{value:.6f} %"


def amount(value: float | None, unit: Unit) -> str:
    """A value in its unit; empty without one."""
    if value is None:
        return ""
    if unit == "share":
        return percent(value)
    if unit == "seconds":
        return span(timedelta(seconds=value))
    return f"{value:,.0f}"


def counted(number: int, word: str) -> str:
    """``1 probe``, ``1,000 probes``."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def moment(at: datetime) -> str:
    """``2026-11-24 06:00 UTC``."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _figures(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
