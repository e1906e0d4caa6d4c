"""How the row store keeps the values of each type: as integers, doubles, texts and bytes, with the type's own order.

Decimals are scaled integers (or digits, where those do not fit), timestamps microseconds, dates days. NaN, which is
its own equal and above all numbers, as in DuckDB, is a text once it is read.
Pages from the published files give the same forms, so a cursor means the same whichever engine answers.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.type_trees import parse_type
from dp_dagster.rows.json_text import value_expression

if TYPE_CHECKING:
    from collections.abc import Callable

NAN = "NaN"
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")
_NESTED = frozenset({"list", "struct", "map"})
_EXACT = Context(prec=80)
_DIGITS = 39  # of the longest decimal, with a leading zero
_INT64 = 18  # decimal digits that surely fit into 64 bits
_COMPLEMENT = str.maketrans("0123456789", "9876543210")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 columns without a zone
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_LAST_DAY = 2_147_483_647
_LAST_MICROSECOND = 9_223_372_036_854_775_807


@dataclass(frozen=True)
class Form:
    """How values of one type are stored.

    Attributes:
        store: From a column, quoted, to DuckDB SQL for its stored form.
        read: From a stored value that is not null to the Python value; ``None`` where they are the same.
        encode: From a stored value that is not null to what JSON has in its place (see
            :mod:`dp_dagster.rows.json_text`); ``None`` where they are the same.
        write: From a Python value to the stored one; raises ``ValueError`` for a value of another type.
        ordered: Whether values can be compared; nested ones cannot.
        has_nan: Whether NaN may occur, which is stored apart.
    """

    store: Callable[[str], str]
    read: Callable[[Any], Any] | None
    write: Callable[[Any], Any]
    encode: Callable[[Any], Any] | None = None
    ordered: bool = True
    has_nan: bool = False


@lru_cache(maxsize=4096)
def form_of(type_name: str) -> Form:
    """The form of a canonical type."""
    if match := _DECIMAL.fullmatch(type_name.replace(" ", "")):
        return _decimal(int(match[1]), int(match[2]))
    tree = parse_type(type_name)
    if tree.name in _NESTED:
        return Form(
            lambda column: f"to_json({value_expression(tree, column)})::varchar",
            _read_json,
            _no_comparison,
            _read_json,
            ordered=False,
        )
    return _FORMS[type_name]


def readers(types: tuple[str, ...], *, encoded: bool = False) -> tuple[tuple[int, Callable[[Any], Any]], ...]:
    """The columns whose stored values are not the Python values: their places, and what reads them.

    Args:
        types: Canonical types of the columns.
        encoded: Read them as JSON has them, without the way over Python's own types.
    """
    forms = map(form_of, types)
    found = [(number, form.encode if encoded else form.read) for number, form in enumerate(forms)]
    return tuple((number, read) for number, read in found if read is not None)


def read_rows(
    rows: list[tuple[Any, ...]], changed: tuple[tuple[int, Callable[[Any], Any]], ...]
) -> list[tuple[Any, ...]]:
    """Stored rows as Python values; a column at a time, which costs half of a row at a time."""
    if not changed or not rows:
        return rows
    columns: list[Any] = list(zip(*rows, strict=True))
    for number, read in changed:
        columns[number] = [None if value is None else read(value) for value in columns[number]]
    return list(zip(*columns, strict=True))


# -- decimals ----------------------------------------------------------------------------------------------


def _decimal(precision: int, scale: int) -> Form:
    if precision <= _INT64:
        wide = "" if precision + scale < _INT64 else f"::decimal(38,{scale})"
        factor = 10**scale

        def store(column: str) -> str:
            return f"({column}{wide} * {factor})::bigint" if scale else f"{column}::bigint"

        return Form(
            store,
            lambda value: Decimal(value).scaleb(-scale, _EXACT),
            lambda value: _unscaled(value, scale),
            lambda value: _digits(value, factor, scale),
        )

    def store_digits(column: str) -> str:
        digits = f"lpad(regexp_replace({column}::varchar, '[-.]', '', 'g'), {_DIGITS}, '0')"
        return (
            f"case when {column} < 0 then 'n' || translate({digits}, '0123456789', '9876543210') "
            f"else 'p' || {digits} end"
        )

    def write_digits(value: Any) -> str:
        number = _unscaled(value, scale)
        digits = str(abs(number)).rjust(_DIGITS, "0")
        return f"n{digits.translate(_COMPLEMENT)}" if number < 0 else f"p{digits}"

    def read_digits(text: str) -> Decimal:
        digits = text[1:].translate(_COMPLEMENT) if text[0] == "n" else text[1:]
        number = -int(digits) if text[0] == "n" else int(digits)
        return Decimal(number).scaleb(-scale, _EXACT)

    return Form(store_digits, read_digits, write_digits, lambda text: format(read_digits(text), "f"))


def _digits(value: int, factor: int, scale: int) -> str:
    if not scale:
        return str(value)
    whole, rest = divmod(abs(value), factor)
    return f"{'-' if value < 0 else ''}{whole}.{rest:0{scale}d}"


def _unscaled(value: Any, scale: int) -> int:
    if not isinstance(value, Decimal | int) or isinstance(value, bool):
        raise ValueError("it is no decimal number")  # noqa: TRY004 callers tell one kind of fault
    if not Decimal(value).is_finite():
        raise ValueError("it is not finite")
    scaled = Decimal(value).scaleb(scale, _EXACT)
    number = int(scaled)
    if number != scaled:
        raise ValueError(f"{value} has more than {scale} decimal places")
    return number


# -- moments -----------------------------------------------------------------------------------------------


def _store_date(column: str) -> str:
    return f"({column} - date '1970-01-01')::bigint"


def _read_date(days: int) -> date | str:
    try:
        return date.fromordinal(days + _EPOCH_ORDINAL)
    except (ValueError, OverflowError):
        return _beyond(days, _LAST_DAY) or _far_date(days)


@lru_cache(maxsize=65_536)
def _encode_date(days: int) -> str:
    return str(_read_date(days))


def _write_date(value: Any) -> int:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError("it is no date")  # noqa: TRY004 as above
    return value.toordinal() - _EPOCH_ORDINAL


def _store_moment(zone: str) -> Callable[[str], str]:
    def store(column: str) -> str:
        return (
            f"case when isfinite({column}) then epoch_us({column}) when {column} > {zone} 'epoch' "
            f"then {_LAST_MICROSECOND} when {column} is not null then -{_LAST_MICROSECOND} end"
        )

    return store


def _read_moment(epoch: datetime, suffix: str) -> Callable[[int], datetime | str]:
    def read(microseconds: int) -> datetime | str:
        try:
            return epoch + timedelta(microseconds=microseconds)
        except OverflowError:
            if far := _beyond(microseconds, _LAST_MICROSECOND):
                return far
            days, rest = divmod(microseconds, 86_400_000_000)
            clock = (_EPOCH + timedelta(microseconds=rest)).time().isoformat(timespec="microseconds")
            return f"{_far_date(days)}T{clock}{suffix}"

    return read


def _encode_moment(suffix: str) -> Callable[[int], str]:
    def encode(microseconds: int) -> str:
        seconds, rest = divmod(microseconds, 1_000_000)
        days, second = divmod(seconds, 86_400)
        # Days and seconds of a day come again and again; a datetime costs five times as much.
        return _beyond(microseconds, _LAST_MICROSECOND) or (
            f"{_encode_date(days)}T{_clock(second)}.{rest:06d}{suffix}"
        )

    return encode


@lru_cache(maxsize=86_400)
def _clock(second: int) -> str:
    minutes, seconds = divmod(second, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}"


def _write_moment(epoch: datetime) -> Callable[[Any], int]:
    def write(value: Any) -> int:
        if not isinstance(value, datetime) or (value.tzinfo is None) != (epoch.tzinfo is None):
            raise ValueError(f"it is no moment with{'out' if epoch.tzinfo is None else ''} a zone")
        return (value - epoch) // _MICROSECOND

    return write


def _beyond(value: int, last: int) -> str | None:
    if -last < value < last:
        return None
    return {last: "infinity", -last: "-infinity"}.get(value)


def _far_date(days: int) -> str:
    """A day outside the years that Python knows, as DuckDB writes it."""
    era, day = divmod(days + 719_468, 146_097)
    year_of_era = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    of_year = day - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    day_of_month = of_year - (153 * shifted + 2) // 5 + 1
    return f"{year if year > 0 else 1 - year:04d}-{month:02d}-{day_of_month:02d}{'' if year > 0 else ' (BC)'}"


# -- the rest ----------------------------------------------------------------------------------------------


def _plain(column: str) -> str:
    return column


def _only(kind: type) -> Callable[[Any], Any]:
    def write(value: Any) -> Any:
        if not isinstance(value, kind):
            raise ValueError(f"it is no {kind.__name__}")  # noqa: TRY004 as above
        return value

    return write


def _write_integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("it is no integer")  # noqa: TRY004 as above
    if not -_LAST_MICROSECOND - 1 <= value <= _LAST_MICROSECOND:
        raise ValueError("it has more than 64 bits")
    return value


def _write_bool(value: Any) -> int:
    return int(_only(bool)(value))


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("it is no number")  # noqa: TRY004 as above
    return float(value)


def _read_float(value: Any) -> float:
    return math.nan if value == NAN else float(value)


def _encode_float(value: Any) -> float | str:
    if value == NAN or -math.inf < value < math.inf:
        found: float | str = value
        return found
    # NaN itself comes from the published files.
    return NAN if math.isnan(value) else "inf" if value > 0 else "-inf"


def _write_float(value: Any) -> float | str:
    number = _number(value)
    return NAN if math.isnan(number) else number


def _write_float32(value: Any) -> float | str:
    number = _number(value)
    if math.isnan(number):
        return NAN
    try:
        return float(struct.unpack("f", struct.pack("f", number))[0])
    except OverflowError:
        return math.copysign(math.inf, number)


def _read_json(text: str) -> Any:
    import orjson

    return orjson.loads(text)


def _no_comparison(value: Any) -> Any:  # noqa: ARG001 the signature of all of them
    raise ValueError("lists, structs and maps cannot be compared")


_INTEGER = Form(_plain, None, _write_integer)
_FORMS = {
    "bool": Form(lambda column: f"{column}::tinyint", bool, _write_bool, bool),
    "int8": _INTEGER,
    "int16": _INTEGER,
    "int32": _INTEGER,
    "int64": _INTEGER,
    "float32": Form(
        lambda column: f"{column}::double", _read_float, _write_float32, _encode_float, has_nan=True
    ),
    "float64": Form(_plain, _read_float, _write_float, _encode_float, has_nan=True),
    "string": Form(_plain, None, _only(str)),
    "binary": Form(_plain, None, _only(bytes), bytes.hex),
    "date": Form(_store_date, _read_date, _write_date, _encode_date),
    "timestamp": Form(
        _store_moment("timestamp"),
        _read_moment(_EPOCH, ""),
        _write_moment(_EPOCH),
        _encode_moment(""),
    ),
    "timestamp(UTC)": Form(
        _store_moment("timestamptz"),
        _read_moment(_EPOCH_UTC, "+00:00"),
        _write_moment(_EPOCH_UTC),
        _encode_moment("+00:00"),
    ),
}
