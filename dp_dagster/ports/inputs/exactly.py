"""Values as their columns' types have them, none of them changed on the way.

DuckDB casts by rounding: 1.239 becomes a ``decimal(10,2)`` of 1.24, 1.5 a whole 2, and what is shorter than a
microsecond is gone. Here values are read as text and cast; where a cast is not obviously exact, the value and what
became of it are compared as numbers of any length. What does not fit stops the landing, or is set aside.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from dp_dagster.errors import InputError
from dp_dagster.ports.base import Rejected
from dp_dagster.ports.inputs.floats import is_written_as

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    import duckdb

#: Rows that do not fit are kept for whoever mends them, up to so many a landing.
MOST_UNFIT = 100_000
_SUSPECT = "dp_dagster: a value has to be looked at"
_SHOWN = 60
# Digits that each type surely has room for.
_INTEGERS = {"TINYINT": 2, "SMALLINT": 4, "INTEGER": 9, "BIGINT": 18}
_INTEGERS |= {"UTINYINT": 2, "USMALLINT": 4, "UINTEGER": 9, "UBIGINT": 19, "HUGEINT": 38, "UHUGEINT": 38}
_FLOATS = {"FLOAT": 6, "DOUBLE": 15}
# Digits of a second that each keeps.
_MOMENTS = {"TIMESTAMP": 6, "TIMESTAMP WITH TIME ZONE": 6, "TIMESTAMP_S": 0, "TIMESTAMP_MS": 3}
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
# Types that are found by looking, and may be so although some value has more to it.
_FOUND = frozenset({"DOUBLE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"})


@dataclass(frozen=True)
class Reading:
    """What is read, and what is to happen with values that their types cannot hold.

    Attributes:
        select: The SELECT that reads the rows, given DuckDB types of some columns, over those that they have anyhow.
        declared: The columns whose types somebody has declared; others take another one.
        otherwise: DuckDB types of those, by column, to be tried before text.
        sets_aside: Whether rows with such values are set aside; else they stop the landing.
        what: The port, for messages.
        where: What messages begin with.
        classified: Columns whose values are not shown.
    """

    select: Callable[[Mapping[str, str]], str]
    declared: Collection[str]
    what: str
    where: str = ""
    sets_aside: bool = False
    otherwise: Mapping[str, str] | None = None
    classified: Collection[str] = ()


@dataclass(frozen=True)
class _Misfit:
    column: str
    text: str
    kind: str
    count: int
    #: Whether DuckDB would have taken it, as something else.
    is_changed: bool


def write_exactly(
    connection: duckdb.DuckDBPyConnection, reading: Reading, destination: Path
) -> tuple[Rejected, ...]:
    """Write the rows into a Parquet file.

    Returns:
        What was set aside.

    Raises:
        InputError: a value does not fit the type that is declared for it; names column, value and fix.
        duckdb.Error: what is read is malformed.
        TransformError: a type cannot be stored.
    """
    return _Writing(connection, reading, destination).write()


class _Writing:
    def __init__(self, connection: duckdb.DuckDBPyConnection, reading: Reading, destination: Path) -> None:
        self.connection = connection
        self.reading = reading
        self.destination = destination
        self._declared = {name.lower() for name in reading.declared}

    def write(self) -> tuple[Rejected, ...]:
        types: dict[str, str] = {}
        otherwise = dict(self.reading.otherwise or {})
        while True:
            relation = self.connection.sql(self.reading.select(types))
            kinds = {
                name: str(kind)
                for name, kind in zip(relation.columns, relation.dtypes, strict=True)
                if _is_judged(str(kind))
                and (self._is_declared(name) or name in otherwise or str(kind) in _FOUND)
            }
            if not kinds or self._written_at_once(types, kinds, relation.columns):
                if not kinds:
                    self._write(relation)
                return ()
            misfits = self._misfits(types, kinds)
            others = {one.column for one in misfits if one.is_changed and not self._is_declared(one.column)}
            if not others:
                return self._judge(misfits, types, kinds)
            # Nobody has said what they are, so they are what holds them.
            types |= {name: otherwise.pop(name, "VARCHAR") for name in others}

    def _is_declared(self, name: str) -> bool:
        return name.lower() in self._declared

    def _written_at_once(
        self, types: Mapping[str, str], kinds: Mapping[str, str], names: Sequence[str]
    ) -> bool:
        """Write the rows where all values are obviously exact, which takes one pass; false where one is not."""
        import duckdb

        from dp_dagster.engines.duckdb import literal, quote

        columns = [
            f"case when {_suspect(quote(name), kinds[name])} then error({literal(_SUSPECT)}) "
            f"else try_cast({quote(name)} as {kinds[name]}) end as {quote(name)}"
            if name in kinds
            else quote(name)
            for name in names
        ]
        try:
            self._write(
                self.connection.sql(f"select {', '.join(columns)} from ({self._as_text(types, kinds)})")
            )
        except duckdb.Error as error:
            if _SUSPECT not in str(error):
                raise
            return False
        return True

    def _as_text(self, types: Mapping[str, str], kinds: Mapping[str, str]) -> str:
        return self.reading.select({**types, **dict.fromkeys(kinds, "VARCHAR")})

    def _misfits(self, types: Mapping[str, str], kinds: Mapping[str, str]) -> list[_Misfit]:
        """The values that do not fit, each once for its column."""
        from dp_dagster.engines.duckdb import literal, quote

        suspects = {name: _suspect(quote(name), kind) for name, kind in kinds.items()}
        found = ", ".join(
            f"case when {suspect} then {{'name': {literal(name)}, 'text': {quote(name)}, "
            f"'kept': {_kept(quote(name), kinds[name])}, 'is_same': {_is_same(quote(name), kinds[name])}}} end"
            for name, suspect in suspects.items()
        )
        rows = self.connection.execute(
            f"select one.name, one.text, one.kept, one.is_same, count(*) from (select unnest([{found}]) as one "
            f"from ({self._as_text(types, kinds)}) where {' or '.join(suspects.values())}) "
            "where one is not null group by all order by all"
        )
        misfits = []
        while batch := rows.fetchmany(10_000):
            for name, text, kept, is_same, count in batch:
                if not (_is_equal(text, kept, kinds[name]) if is_same is None else is_same):
                    misfits.append(_Misfit(name, text, kinds[name], count, kept is not None))
            if len(misfits) > MOST_UNFIT:
                raise InputError(
                    f"{self.reading.where}{self._said(misfits)}, and more than {MOST_UNFIT:,} "
                    "others; declare types that hold them, in the contract or under types"
                )
        return misfits

    def _judge(
        self, misfits: Sequence[_Misfit], types: Mapping[str, str], kinds: Mapping[str, str]
    ) -> tuple[Rejected, ...]:
        declared = [one for one in misfits if self._is_declared(one.column)]
        changed = [one for one in declared if one.is_changed]
        if changed and not self.reading.sets_aside:
            raise InputError(
                f"{self.reading.where}{self._said(changed)}; declare a type that holds it, in "
                "the contract or under types (text holds all), or set on_schema_change: quarantine to set such rows "
                "aside"
            )
        if declared and self.reading.sets_aside:
            fit = {name: kind for name, kind in kinds.items() if self._is_declared(name)}
            return self._write_what_fits(declared, types, fit)
        # What is no value of its type at all is left to DuckDB, which knows more forms, or says where it stands. All
        # else is cast from text as it was compared: read as a type, a number of JSON would be a float on the way.
        unfit = {one.column for one in misfits}
        fit = {name: kind for name, kind in kinds.items() if name not in unfit}
        text = self._as_text(types, fit)
        self._write(
            self.connection.sql(f"select {_casts(self.connection.sql(text).columns, fit)} from ({text})")
        )
        return ()

    def _said(self, misfits: Sequence[_Misfit]) -> str:
        first = misfits[0]
        value = "a value" if first.column in self.reading.classified else _short(first.text)
        count = sum(one.count for one in misfits)
        more = "" if count == 1 else f" ({count:,} such values in all)"
        return f"column {first.column}: {value} would be changed as {_canonical(first.kind)}{more}"

    def _write_what_fits(
        self, misfits: Sequence[_Misfit], types: Mapping[str, str], kinds: Mapping[str, str]
    ) -> tuple[Rejected, ...]:
        from dp_dagster.engines.duckdb import literal, quote

        # A table, as rows of it are told by number.
        self.connection.execute(
            f"create or replace temp table __dp_read as select * from ({self._as_text(types, kinds)})"
        )
        by_column: dict[str, dict[str, str]] = {}
        for one in misfits:
            reason = f"{one.column} is no {_canonical(one.kind)}"
            by_column.setdefault(one.column, {})[one.text] = reason
        self.connection.execute("create or replace temp table __dp_misfits (name varchar, text varchar)")
        self.connection.executemany(
            "insert into __dp_misfits values (?, ?)", [(one.column, one.text) for one in misfits]
        )
        unfit = " or ".join(
            f"{quote(name)} in (select text from __dp_misfits where name = {literal(name)})"
            for name in by_column
        )
        self.connection.execute(
            f"create or replace temp table __dp_unfit as select rowid as number from __dp_read where {unfit}"
        )
        texts = ", ".join(f"{literal(name)}: {quote(name)}" for name in by_column)
        rows = self.connection.execute(
            f"select to_json(r)::varchar, {{{texts}}} from __dp_read r where rowid in (select number from __dp_unfit) "
            f"order by rowid limit {MOST_UNFIT + 1}"
        ).fetchall()
        if len(rows) > MOST_UNFIT:
            raise InputError(
                f"{self.reading.where}more than {MOST_UNFIT:,} rows do not fit their types "
                f"({self._said(misfits)}), which is no matter of single rows"
            )
        rejected = []
        for row, found in rows:
            reasons = {
                name: by_column[name][text]
                for name, text in found.items()
                if text is not None and text in by_column[name]
            }
            rejected.append(
                Rejected(", ".join(f"type:{name}" for name in reasons), "; ".join(reasons.values()), str(row))
            )
        columns = self.connection.sql("select * from __dp_read").columns
        casts = _casts(columns, kinds)
        self._write(
            self.connection.sql(
                f"select {casts} from __dp_read where rowid not in (select number from __dp_unfit) order by rowid"
            )
        )
        self.connection.execute("drop table __dp_read; drop table __dp_unfit; drop table __dp_misfits")
        return tuple(rejected)

    def _write(self, relation: duckdb.DuckDBPyRelation) -> None:
        from dp_dagster.engines.duckdb import write_rows

        write_rows(relation, self.destination, self.reading.what)


def _casts(names: Sequence[str], kinds: Mapping[str, str]) -> str:
    from dp_dagster.engines.duckdb import quote

    return ", ".join(
        f"{quote(name)}::{kinds[name]} as {quote(name)}" if name in kinds else quote(name) for name in names
    )


def _is_judged(kind: str) -> bool:
    return (
        kind in _INTEGERS
        or kind in _FLOATS
        or kind in _MOMENTS
        or kind == "DATE"
        or bool(_DECIMAL.fullmatch(kind))
    )


def _suspect(column: str, kind: str) -> str:
    """The condition that a text may not be had as the type without being changed. Never misses one; may ask in vain."""
    cast = f"try_cast({column} as {kind})"
    if kind in _MOMENTS:
        sure = f"(length({column}) <= 10 or not ({_lost(column, kind)}))"
    elif kind == "DATE":
        sure = f"{cast}::varchar = {column}"
    else:
        sure = f"({cast}::varchar = {column} or regexp_full_match({column}, '{_sure_pattern(kind)}'))"
    return f"({column} is not null and ({cast} is null or not {sure}))"


def _lost(column: str, kind: str) -> str:
    """The condition that a moment has digits of a second, or a zone, that its type does not keep."""
    digits = f"regexp_matches({column}, '\\.[0-9]{{{_MOMENTS[kind]}}}[0-9]*[1-9]')"
    if kind == "TIMESTAMP WITH TIME ZONE":
        return digits
    # DuckDB leaves the offset out, and the moment becomes another one.
    return f"{digits} or regexp_matches({column}, ':[0-9.]+ *[+-][0-9:]*[1-9]')"


def _sure_pattern(kind: str) -> str:
    if kind in _INTEGERS:
        return f"-?[0-9]{{1,{_INTEGERS[kind]}}}"
    if kind in _FLOATS:
        return f"-?[0-9.]{{1,{_FLOATS[kind]}}}"
    match = _DECIMAL.fullmatch(kind)
    if match is None:
        raise AssertionError(f"{kind} is not judged")
    scale = int(match[2])
    whole = int(match[1]) - scale
    digits = f"[0-9]{{1,{whole}}}" if whole else "0"
    return f"-?{digits}(\\.[0-9]{{0,{scale}}}0*)?"


def _kept(column: str, kind: str) -> str:
    return f"try_cast({column} as {kind})::varchar"


def _is_same(column: str, kind: str) -> str:
    """Whether what is kept is the same; null where numbers are to be compared."""
    if kind in _MOMENTS:
        # Suspected for what is not kept, or because it is none at all.
        return "false"
    if kind == "DATE":
        date = f"try_cast({column} as date)"
        return f"{date} is not null and coalesce(try_cast({column} as timestamp) = {date}::timestamp, true)"
    return "null::boolean"


def _is_equal(text: str, kept: str | None, kind: str) -> bool:
    if kept is None:
        return False
    try:
        given, stored = Decimal(text.strip()), Decimal(kept)
    except InvalidOperation:
        return False
    if given == stored or (given.is_nan() and stored.is_nan()):
        return True
    if kind == "FLOAT" and stored.is_finite():
        return is_written_as(struct.unpack("f", struct.pack("f", float(stored)))[0], given)
    return kind == "DOUBLE" and is_written_as(float(stored), given)


def _canonical(kind: str) -> str:
    from dp_dagster.contracts.duckdb_types import SCALAR_TYPES

    names = {duckdb: canonical for canonical, duckdb in SCALAR_TYPES.items()}
    names["TIMESTAMP WITH TIME ZONE"] = names["TIMESTAMPTZ"]
    return names.get(kind, kind.lower())


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
