"""Small wordings: numbers and shares as people write them, text that is safe in a Markdown table."""

from __future__ import annotations


def count(number: int) -> str:
    """``336,776``."""
    return f"{number:,}"


def share(fraction: float) -> str:
    """``0.5 %``, with as many digits as it needs."""
    return f"{fraction * 100:.4g} %"


def escape_cell(text: str) -> str:
    """A text in one cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
