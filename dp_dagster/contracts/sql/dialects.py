"""What the dialects of SQL can say, as far as it matters for counting failing rows."""

from __future__ import annotations

from dataclasses import dataclass

from dp_dagster.errors import UsageError


@dataclass(frozen=True)
class Dialect:
    """A dialect.

    Attributes:
        name: As sqlglot calls it.
        digits: What matches a decimal digit of any script, inside of a character class; empty where nothing does.
        spaces: The same for white space.
        start: What matches the start of the text only.
        end: What matches the end of the text only, not before a last line break.
        repetitions: Largest number of repetitions in a regular expression.
        structs: Whether fields of nested columns can be named.
        divides: Whether a division of floats that overflows gives infinity rather than an error.
    """

    name: str
    digits: str
    spaces: str
    start: str
    end: str
    repetitions: int
    structs: bool
    divides: bool


_SPACES = r"\t\n\x0B\f\r \x{85}\p{Z}"

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect("duckdb", r"\p{Nd}", _SPACES, r"\A", r"\z", 1000, structs=True, divides=True),
        Dialect("postgres", "", "", r"\A", r"\Z", 255, structs=False, divides=False),
        Dialect("spark", r"\p{Nd}", _SPACES, r"\A", r"\z", 1000, structs=True, divides=True),
        Dialect("snowflake", "", "", "^", "$", 1000, structs=False, divides=False),
    )
}
"""The dialects that a contract can be written in."""


def dialect_of(name: str) -> Dialect:
    """The dialect of that name.

    Raises:
        UsageError: There is none.
    """
    if name not in DIALECTS:
        raise UsageError(
            f"{name} is no dialect of SQL that contracts are written in; choices: {', '.join(DIALECTS)}"
        )
    return DIALECTS[name]


class CannotSayError(Exception):
    """A dialect cannot say what a rule means; the text says what is missing."""
