"""What the dialects of SQL can say, as far as it matters for counting failing rows."""

from __future__ import annotations

from dataclasses import dataclass

from dp_dagster.errors import UsageError


@dataclass(frozen=True)
class Nested:
    """Functions of a dialect over lists and maps.

    Attributes:
        filter: The items for which a condition holds.
        length: Number of items.
        entries: Number of entries of a map.
        distinct: Each item once; whether null is among them differs.
    """

    filter: str
    length: str
    entries: str
    distinct: str


@dataclass(frozen=True)
class Dialect:
    """A dialect.

    Attributes:
        name: As sqlglot calls it.
        start: What matches the start of the text only.
        end: What matches the end of the text only, not before a last line break.
        repetitions: Largest number of repetitions in a regular expression.
        nested: Names of what nested columns are asked with; ``None`` where there are no such columns.
    """

    name: str
    start: str
    end: str
    repetitions: int
    nested: Nested | None = None


DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect("duckdb", r"\A", r"\z", 1000, Nested("LIST_FILTER", "LEN", "CARDINALITY", "LIST_DISTINCT")),
        Dialect("postgres", r"\A", r"\Z", 255),
        Dialect("spark", r"\A", r"\z", 1000, Nested("FILTER", "SIZE", "SIZE", "ARRAY_DISTINCT")),
        Dialect("snowflake", "^", "$", 1000),
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
