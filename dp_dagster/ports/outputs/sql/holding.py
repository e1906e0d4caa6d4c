"""What a server's types can hold; what they cannot is named with column and values before anything is written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dp_dagster.contracts.duckdb_types import SCALAR_TYPES
from dp_dagster.errors import AuthorError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dp_dagster.contracts.model import Column
    from dp_dagster.storage import Snapshot

_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


@dataclass(frozen=True)
class Holding:
    """The types of a server.

    Attributes:
        server: Its name, for messages.
        names: Its type for each canonical one.
        decimal: Its type of decimals, with ``{precision}`` and ``{scale}`` in it.
        ranges: First and last value of a canonical type, as DuckDB writes them; without, all are held.
        longest_name: Most bytes of a column's name.
        reserved_names: Names of columns that the server keeps to itself, in lower case.
        holds_null_character: Whether texts may hold the character NUL.
        longest: Most bytes of a value of a canonical type; without, more than there ever are.
        holds_infinite_dates: Whether dates and times may be infinite.
    """

    server: str
    names: Mapping[str, str]
    decimal: str
    ranges: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    longest_name: int = 255
    reserved_names: frozenset[str] = frozenset()
    holds_null_character: bool = True
    longest: Mapping[str, int] = field(default_factory=dict)
    holds_infinite_dates: bool = True

    def type_of(self, canonical: str) -> str | None:
        """The server's type; ``None`` where there is none."""
        match = _DECIMAL.fullmatch(canonical)
        if match:
            return self.decimal.format(precision=match[1], scale=match[2])
        return self.names.get(canonical)

    def check(
        self, what: str, snapshot: Snapshot, columns: Sequence[Column], extent: Callable[[str], str] = str
    ) -> None:
        """See that the server can hold every value of these columns.

        Args:
            what: Whose columns they are, for messages.
            snapshot: The version that they are in.
            columns: The columns that are to be written as they are.
            extent: What is shown of a least or greatest value.

        Raises:
            AuthorError: it cannot; names every column, its type and its values.
            StoreError: the version's files cannot be read.
        """
        problems = list(self._of_types(columns))
        if not problems:
            problems = list(self._of_values(snapshot, columns, extent))
        if problems:
            raise AuthorError("\n".join(f"{what}: {self.server} cannot hold {one}" for one in problems))

    def _of_types(self, columns: Sequence[Column]) -> Iterator[str]:
        for column in columns:
            size = len(column.name.encode())
            if self.type_of(column.type) is None:
                yield f"column {column.name}: its type is {column.type}; cast it to text, or leave it out of the port"
            if size > self.longest_name:
                yield (
                    f"column {column.name}: its name has {size} bytes, and {self.longest_name} are the most; rename it"
                )
            if column.name.lower() in self.reserved_names:
                yield f"column {column.name}: the server keeps that name to itself; rename it"

    def _of_values(
        self, snapshot: Snapshot, columns: Sequence[Column], extent: Callable[[str], str]
    ) -> Iterator[str]:
        import duckdb

        from dp_dagster.engines.duckdb import first_line, in_memory, literal, quote, scan

        questions: list[str] = []
        asked: list[tuple[Column, str]] = []
        for column in columns:
            name = quote(column.name)
            if column.type in self.ranges:
                low, high = (
                    f"cast({literal(end)} as {SCALAR_TYPES[column.type]})" for end in self.ranges[column.type]
                )
                finite = f"filter (where isfinite({name}))"
                infinite = "" if self.holds_infinite_dates else f" or isinf({name})"
                asked.append((column, "range"))
                questions += [
                    f"count(*) filter (where isfinite({name}) and {name} not between {low} and {high}{infinite})",
                    f"cast(min({name}) {finite} as varchar)",
                    f"cast(max({name}) {finite} as varchar)",
                ]
            if column.type == "string" and not self.holds_null_character:
                asked.append((column, "null character"))
                questions += [f"count(*) filter (where contains({name}, chr(0)))", "null", "null"]
            if column.type in self.longest:
                size = f"strlen({name})" if column.type == "string" else f"octet_length({name})"
                asked.append((column, "length"))
                questions += [
                    f"count(*) filter (where {size} > {self.longest[column.type]})",
                    f"cast(min({size}) as varchar)",
                    f"cast(max({size}) as varchar)",
                ]
        if not questions or not snapshot.files:
            return
        try:
            with in_memory() as connection:
                row = connection.sql(f"select {', '.join(questions)} from {scan(snapshot.files)}").fetchone()
        except duckdb.Error as error:
            raise StoreError(f"the version's files cannot be read: {first_line(error)}") from error
        assert row is not None
        for number, (column, question) in enumerate(asked):
            count, low, high = row[number * 3 : number * 3 + 3]
            if not count:
                continue
            if question == "range":
                first, last = self.ranges[column.type]
                yield (
                    f"{count:,} values of column {column.name} ({column.type}): they go from {extent(low)} to "
                    f"{extent(high)}, and its own from {first} to {last}"
                )
            elif question == "length":
                yield (
                    f"{count:,} values of column {column.name} ({column.type}): they have up to {int(high):,} bytes, "
                    f"and {self.longest[column.type]:,} are the most"
                )
            else:
                yield f"{count:,} values of column {column.name} (string): they hold the character NUL; remove it"
