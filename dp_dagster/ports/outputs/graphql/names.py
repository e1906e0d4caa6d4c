"""Names that GraphQL can say: of columns, datasets and types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# What filters say beside columns, what a value of an enumeration may not be called, and what each row already has.
_RESERVED = frozenset({"and", "or", "not", "true", "false", "null"})


def field_names(names: Iterable[str]) -> dict[str, str]:
    """What each name is called as a field: itself wherever GraphQL can say it.

    Other characters become ``_``; of two names that would be one, the later in order gets a number. All columns of a
    dataset are named together, also those that somebody may not see, so that a name means one column for everybody.

    Returns:
        The name to ask for, by the name that was given.
    """
    found: dict[str, str] = {}
    names = tuple(dict.fromkeys(names))
    plain = {name for name in names if _said(name) == name}
    taken = set(plain)
    for name in names:
        if name in plain:
            found[name] = name
            continue
        said = _said(name)
        number, candidate = 1, said
        while candidate in taken:
            number += 1
            candidate = f"{said}_{number}"
        taken.add(candidate)
        found[name] = candidate
    return found


def type_name(*parts: str) -> str:
    """The name of a type, made of the parts: ``CustomersFilter`` of ``customers`` and ``Filter``."""
    words = [word for part in parts for word in re.split(r"[^A-Za-z0-9]+", part) if word]
    joined = "".join(word[0].upper() + word[1:] for word in words) or "Dataset"
    return f"T{joined}" if joined[0].isdigit() else joined


def free(name: str, taken: Iterable[str]) -> str:
    """The name, with as many ``_`` behind it as make it differ from those that are taken."""
    others = set(taken)
    while name in others:
        name += "_"
    return name


def _said(name: str) -> str:
    said = re.sub(r"[^_0-9A-Za-z]", "_", name)
    if not said.strip("_") and name != "_":
        return "x"
    if said[0].isdigit():
        said = f"_{said}"
    if said.startswith("__"):
        # Two underscores belong to GraphQL itself.
        said = f"x{said}"
    return f"{said}_" if said in _RESERVED else said
