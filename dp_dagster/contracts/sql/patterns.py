"""Regular expressions from the syntax of contracts into that of a dialect, where both can mean the same."""

from __future__ import annotations

import functools
import re
import sys
from typing import TYPE_CHECKING

from dp_dagster.contracts.sql.dialects import CannotSayError

if TYPE_CHECKING:
    import polars as pl

    from dp_dagster.contracts.sql.dialects import Dialect

_PLAIN_ESCAPES = frozenset("ntrf")
_CLASSES = frozenset("dDsSwW")
_PART = re.compile(r"\\.|\(\?.?|\{[0-9,]+\}|.", re.DOTALL)


def translated(regex: str, dialect: Dialect) -> str:
    """The expression in the dialect's syntax.

    What is not known to mean the same everywhere (word boundaries, flags, named groups, sets of classes) is refused
    rather than guessed.

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
    if letter in _CLASSES:
        return _classes()[letter] if in_class else f"[{_classes()[letter]}]"
    if letter == "A" and not in_class:
        return dialect.start
    if letter == "z" and not in_class:
        return dialect.end
    if letter in _PLAIN_ESCAPES or not letter.isalnum():
        return part
    raise CannotSayError(f"{part} means something else in {dialect.name}, or nothing")


@functools.cache
def _classes() -> dict[str, str]:
    r"""The characters that classes like ``\d`` stand for, as ranges for the inside of a character class.

    What is a digit, a space or part of a word differs between engines, and with the version of Unicode that each of
    them was built with. So the embedded evaluator is asked, character by character.
    """
    import polars as pl

    # Null is in no text of PostgreSQL, and surrogates are in none at all.
    every = [code for code in range(1, sys.maxunicode + 1) if not 0xD800 <= code <= 0xDFFF]
    characters = pl.DataFrame({"code": every, "text": pl.Series(map(chr, every), dtype=pl.String)})
    return {letter: _ranges(characters, letter) for letter in _CLASSES}


def _ranges(characters: pl.DataFrame, letter: str) -> str:
    import polars as pl

    found = characters.filter(pl.col("text").str.contains(rf"\A\{letter}\z")).select("code")
    ranges = found.group_by(pl.col("code") - pl.int_range(pl.len()), maintain_order=True).agg(
        pl.col("code").min().alias("first"), pl.col("code").max().alias("last")
    )
    return "".join(
        _literal(first) if first == last else f"{_literal(first)}-{_literal(last)}"
        for first, last in ranges.select("first", "last").iter_rows()
    )


def _literal(code: int) -> str:
    character = chr(code)
    special = (
        character.isascii() and character.isprintable() and not character.isalnum() and character not in " _"
    )
    return f"\\{character}" if special else character
