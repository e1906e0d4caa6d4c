"""Regular expressions from the syntax of contracts into that of a dialect, where both can mean the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dp_dagster.contracts.sql.dialects import CannotSayError

if TYPE_CHECKING:
    from dp_dagster.contracts.sql.dialects import Dialect

_PLAIN_ESCAPES = frozenset("ntrf")
_PART = re.compile(r"\\.|\(\?.?|\{[0-9,]+\}|.", re.DOTALL)


def translated(regex: str, dialect: Dialect) -> str:
    """The expression in the dialect's syntax.

    What is not known to mean the same everywhere (word characters, word boundaries, flags, named groups, sets of
    classes) is refused rather than guessed.

    Raises:
        CannotSayError: The dialect cannot say it.
    """
    written: list[str] = []
    in_class = False
    for match in _PART.finditer(regex):
        part = match.group()
        if part[0] == "\\":
            written.append(_escape(part, dialect, in_class=in_class))
        elif in_class:
            if part.startswith(("[", "&", "~")):
                raise CannotSayError(f"{part} in a class of characters is not translated")
            in_class = part != "]"
            written.append(part)
        elif part == "[":
            in_class = True
            written.append(part)
        else:
            written.append(_outside(part, dialect))
    return "".join(written)


def _outside(part: str, dialect: Dialect) -> str:
    if part.startswith("(?") and part != "(?:":
        raise CannotSayError(f"{part} is not translated")
    if part.startswith("{") and len(part) > 1:
        largest = max((int(part) for part in part[1:-1].split(",") if part), default=0)
        if largest > dialect.repetitions:
            raise CannotSayError(f"{part} repeats more often than {dialect.name} can")
    return {"^": dialect.start, "$": dialect.end, ".": r"[^\n]"}.get(part, part)


def _escape(part: str, dialect: Dialect, *, in_class: bool) -> str:
    letter = part[1]
    if letter in "ds":
        inside = dialect.digits if letter == "d" else dialect.spaces
        if inside:
            return inside if in_class else f"[{inside}]"
    elif letter in "DS" and not in_class:
        inside = dialect.digits if letter == "D" else dialect.spaces
        if inside:
            return f"[^{inside}]"
    elif letter == "A" and not in_class:
        return dialect.start
    elif letter == "z" and not in_class:
        return dialect.end
    elif letter in _PLAIN_ESCAPES or not letter.isalnum():
        return part
    raise CannotSayError(f"{part} means something else in {dialect.name}, or nothing")
