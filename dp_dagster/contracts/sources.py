"""Source texts as far as they mean something."""

from __future__ import annotations

import ast


def without_comments(source: bytes) -> str:
    """Python source without comments and layout: the same text for the same code."""
    return ast.unparse(ast.parse(source))
