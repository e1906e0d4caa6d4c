"""Regular expressions of rules, for readers that know neither our modes nor the syntax of Rust's ``regex``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Inline flags, anchors \A \z, named groups, Unicode classes by name and class arithmetic mean other things, or nothing,
# in ECMA 262.
_FOREIGN = re.compile(r"\(\?[imsxuU-]+[:)]|\(\?P?<|\\[AzZGKpPhHRX]|\\[xu]\{|\[\[|&&|~~|\[:")


def anchored(params: Mapping[str, Any]) -> str:
    """The regular expression that, searched for, says what the rule says."""
    regex, mode = str(params["regex"]), params["mode"]
    if mode == "search":
        return regex
    # An alternative would escape an anchor at its end.
    simple = "|" not in regex
    start = regex if simple and regex.startswith("^") else f"^(?:{regex})"
    if mode == "match":
        return start
    return regex if simple and regex.startswith("^") and _ends_anchored(regex) else f"^(?:{regex})$"


def portable(regex: str) -> bool:
    """Whether ECMA 262 (JSON Schema, ODCS) reads the expression as Rust's ``regex`` does."""
    return _FOREIGN.search(regex) is None


def escaped(text: str) -> str:
    """A text that matches itself, in every dialect."""
    return re.sub(r"([\\^$.|?*+()\[\]{}/])", r"\\\1", text)


def _ends_anchored(regex: str) -> bool:
    return re.search(r"(?<!\\)(\\\\)*\$\Z", regex) is not None
