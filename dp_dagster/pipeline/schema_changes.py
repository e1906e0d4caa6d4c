"""What to do where the columns that a source has now are not those of the version that was landed before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.duckdb_types import duckdb_type
from dp_dagster.engines import duckdb as duckdb_engine
from dp_dagster.engines.duckdb import quote
from dp_dagster.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import duckdb
    import pyarrow as pa

    from dp_dagster.contracts.model import Column
    from dp_dagster.ports.base import Landing
    from dp_dagster.storage import Snapshot

_INTEGERS = {"int8": 3, "int16": 5, "int32": 10, "int64": 19}
"""Digits that each integer may need."""
_FLOATS = {"float32": 6, "float64": 15}
"""Digits that each keeps for certain."""
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
#: Rows that do not fit are kept for whoever mends them, up to so many a landing.
MOST_UNFIT = 100_000


@dataclass(frozen=True)
class Fit:
    """How the rows that were read, and those of the version before, come to have the same columns.

    Attributes:
        names: The columns that both have then.
        incoming: Expressions over the rows that were read, for a SELECT.
        before: As much for the rows of the version before; empty without one.
        fits: The condition that all values of a row that was read fit.
        changes: What has changed, in words.
        evolved: Whether the columns of the version before change.
        types: DuckDB types by column.
        misfits: The columns of which a value may not fit, with the condition that it does and what to say.
        shared: The columns that the rows that were read and those before really have.
    """

    names: tuple[str, ...]
    incoming: str
    before: str
    fits: str
    changes: tuple[str, ...]
    evolved: bool
    types: Mapping[str, str]
    misfits: tuple[tuple[str, str, str], ...] = ()
    shared: tuple[str, ...] = ()

    def type_of(self, column: str) -> str:
        """DuckDB type of a column."""
        return self.types[column]

    def unfit_rows(self, connection: duckdb.DuckDBPyConnection, read: Path) -> pa.Table | None:
        """The rows that do not fit, as the quarantine keeps them; ``None`` where all do."""
        if not self.misfits:
            return None
        literal = duckdb_engine.literal
        rules = ", ".join(
            f"case when not ({fits}) then {literal(f'schema:{name}')} end" for name, fits, _ in self.misfits
        )
        reasons = ", ".join(
            f"case when not ({fits}) then {literal(reason)} end" for _, fits, reason in self.misfits
        )
        found = connection.sql(
            f"select list_filter([{rules}], lambda x: x is not null) as rules, "
            f"concat_ws('; ', {reasons}) as reason, to_json(r)::varchar as row "
            f"from {duckdb_engine.scan([str(read)])} r where not ({self.fits}) "
            f"limit {MOST_UNFIT + 1}"
        ).to_arrow_table()
        if found.num_rows > MOST_UNFIT:
            raise InputError(
                f"more than {MOST_UNFIT:,} rows do not fit ({'; '.join(self.changes)}), which is no matter of "
                "single rows"
            )
        return found if found.num_rows else None


def fit_columns(
    connection: duckdb.DuckDBPyConnection,
    landing: Landing,
    read: Path,
    base: Snapshot | None,
    *,
    what: str,
    classified: Collection[str] = (),
) -> Fit:
    """Compare columns, and decide as the input's ``on_schema_change`` says.

    Raises:
        InputError: they have changed in a way that stops the landing; names columns, types and values.
    """
    found = _columns(read)
    if base is None or (landing.on_schema_change is None and landing.mode == "replace"):
        names = tuple(column.name for column in found)
        return Fit(names, _select(names), "", "true", (), evolved=False, types=_types(found))
    policy = landing.on_schema_change or "stop"
    return _Comparison(
        connection, read, base.columns, found, policy=policy, what=what, classified=classified
    ).fit()


class _Comparison:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        read: Path,
        known: Sequence[Column],
        found: Sequence[Column],
        *,
        policy: str,
        what: str,
        classified: Collection[str],
    ) -> None:
        self.connection = connection
        self.policy = policy
        self.read = duckdb_engine.scan([str(read)])
        self.known = {column.name: column for column in known}
        self.found = {column.name: column for column in found}
        self.what = what
        self.classified = classified
        self.changes: list[str] = []
        self.stopping: list[str] = []
        self.misfits: list[tuple[str, str, str]] = []
        self.evolved = False

    def fit(self) -> Fit:
        incoming, before, types = [], [], {}
        for name, column in self.known.items():
            type_, expression = self._known_column(column)
            types[name] = type_
            incoming.append(f"{expression} as {quote(name)}")
            old = quote(name) if type_ == duckdb_type(column.type) else f"{quote(name)}::{type_}"
            before.append(f"{old} as {quote(name)}")
        for name, column in self.found.items():
            if name in self.known:
                continue
            self._note(f"column {name} ({column.type}) is new")
            if self.policy == "evolve":
                self.evolved = True
                types[name] = duckdb_type(column.type)
                incoming.append(quote(name))
                before.append(f"null::{types[name]} as {quote(name)}")
        if self.stopping:
            said = "; ".join(self.stopping)
            if self.policy == "stop":
                raise InputError(
                    f"{self.what}: the source has other columns than the version landed before: {said}; mend the "
                    "source, or set on_schema_change to evolve or quarantine"
                )
            raise InputError(
                f"{self.what}: the source has changed so that {self.policy} cannot follow: {said}"
            )
        return Fit(
            tuple(types),
            ", ".join(incoming),
            ", ".join(before),
            " and ".join(f"({fits})" for _, fits, _ in self.misfits) or "true",
            tuple(self.changes),
            self.evolved,
            types,
            tuple(self.misfits),
            tuple(name for name in self.known if name in self.found),
        )

    def _note(self, change: str, *, stops: bool = False) -> None:
        self.changes.append(change)
        if stops or self.policy == "stop":
            self.stopping.append(change)

    def _known_column(self, known: Column) -> tuple[str, str]:
        """The type that a column of the version before has from now on, and the expression that gives it."""
        target = duckdb_type(known.type)
        column = quote(known.name)
        found = self.found.get(known.name)
        if found is None:
            self._note(f"column {known.name} ({known.type}) is gone")
            return target, f"null::{target}"
        if found.type == known.type:
            return target, column
        if widens(found.type, known.type) or self._all_null(known.name):
            return target, f"{column}::{target}"
        change = f"column {known.name} was {known.type} and is {found.type}{self._range(known.name)}"
        common = common_type(known.type, found.type)
        if self.policy == "evolve" and common is not None:
            self._note(change)
            self.evolved = True
            return duckdb_type(common), f"{column}::{duckdb_type(common)}"
        fits = _fits(column, found.type, known.type) if self.policy == "quarantine" else None
        if fits is None:
            self._note(change, stops=True)
            return target, column
        self._note(change)
        self.misfits.append(
            (known.name, fits, f"{known.name} is no {known.type}, which it was when it was landed before")
        )
        return target, f"try_cast({column} as {target})"

    def _all_null(self, name: str) -> bool:
        row = self.connection.execute(f"select count({quote(name)}) from {self.read}").fetchone()
        return row is not None and row[0] == 0

    def _range(self, name: str) -> str:
        """The values of a column, from the lowest to the highest, where they may be shown."""
        if name in self.classified:
            return ""
        row: Any = self.connection.execute(
            f"select min({quote(name)})::varchar, max({quote(name)})::varchar from {self.read}"
        ).fetchone()
        low, high = (text if len(text) <= 40 else f"{text[:40]}…" for text in (str(row[0]), str(row[1])))
        return f" ({low})" if low == high else f" ({low} to {high})"


def widens(found: str, known: str) -> bool:
    """Whether each value of the type ``found`` is one of the type ``known``, too, and means the same."""
    if found in _INTEGERS and known in _INTEGERS:
        return _INTEGERS[found] <= _INTEGERS[known]
    if found in _INTEGERS and known in _FLOATS:
        return _INTEGERS[found] <= _FLOATS[known]
    if found == "float32":
        return known == "float64"
    number, target = _digits(found), _digits(known)
    if number is not None and target is not None:
        return number[0] <= target[0] and number[1] <= target[1]
    return (found, known) == ("date", "timestamp")


def common_type(first: str, second: str) -> str | None:
    """The narrowest type that holds the values of both as they are, text included; ``None`` where there is none."""
    if widens(first, second):
        return second
    if widens(second, first):
        return first
    numbers = [_digits(first), _digits(second)]
    if all(numbers):
        whole = max(number[0] for number in numbers if number)
        scale = max(number[1] for number in numbers if number)
        if whole + scale <= 38:
            return f"decimal({whole + scale},{scale})"
    if "<" in first or "<" in second or "binary" in {first, second}:
        return None
    return "string"


def _digits(type_: str) -> tuple[int, int] | None:
    """Digits before and after the point of an exact number."""
    if type_ in _INTEGERS:
        return _INTEGERS[type_], 0
    match = _DECIMAL.fullmatch(type_)
    return (int(match[1]) - int(match[2]), int(match[2])) if match else None


def _fits(column: str, found: str, known: str) -> str | None:
    """The condition that a value of the type ``found`` can be had as ``known`` without loss; ``None``: never asked."""
    if "<" in found or "<" in known or "binary" in {found, known}:
        return None
    cast = f"try_cast({column} as {duckdb_type(known)})"
    condition = f"{cast} is not null"
    if known in _INTEGERS or _DECIMAL.fullmatch(known):
        # A cast rounds: what has more digits than are kept does not fit.
        exact = "decimal(38,18)" if found == "string" else duckdb_type(found)
        condition = f"{condition} and try_cast({column} as {exact}) = {cast}::{exact}"
    return f"{column} is null or ({condition})"


def _columns(file: Path) -> tuple[Column, ...]:
    from pyarrow import parquet

    from dp_dagster.storage.types import columns_of

    return columns_of(parquet.read_schema(file))


def _types(columns: Sequence[Column]) -> dict[str, str]:
    return {column.name: duckdb_type(column.type) for column in columns}


def _select(names: Sequence[str]) -> str:
    return ", ".join(quote(name) for name in names)
