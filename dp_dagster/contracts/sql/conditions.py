"""Rules of single rows as SQL conditions, true for a failing row: the same meaning as in :mod:`..expressions`."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.expressions import anchored
from dp_dagster.contracts.literals import from_json, is_decimal, is_float, is_integer
from dp_dagster.contracts.sql.dialects import CannotSayError
from dp_dagster.contracts.sql.patterns import translated
from dp_dagster.contracts.type_trees import leaf_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlglot import exp

    from dp_dagster.contracts.model import Rule
    from dp_dagster.contracts.sql.dialects import Dialect

_WHOLE = "1e-9"


def failing_condition(rule: Rule, types: Mapping[str, str], dialect: Dialect) -> exp.Expr:
    """A condition that is true for each row that fails the rule, false or null for the others.

    Args:
        rule: A rule on one row.
        types: Canonical types of the columns.
        dialect: Of the engine.

    Raises:
        CannotSayError: The dialect cannot say the rule.
    """
    from sqlglot import exp

    if rule.kind not in ("not_null", *_KINDS):
        raise CannotSayError(f"rules of kind {rule.kind} are not written in SQL")
    column: exp.Expr = exp.column(exp.to_identifier(rule.columns[0], quoted=True), table="source")
    type_name = types[rule.columns[0]]
    there: list[exp.Expr] = []
    for step in rule.params.get("path") or ():
        if step[0] != "field" or not dialect.structs:
            raise CannotSayError(f"rules on parts of columns are not written in SQL for {dialect.name}")
        there.append(_not_null(column))
        type_name = leaf_type(type_name, [list(step)])
        column = exp.Dot(this=column.copy(), expression=exp.to_identifier(step[1], quoted=True))
    failed = _of_value(rule, column, type_name, dialect)
    return exp.and_(*there, failed) if there else failed


def _of_value(rule: Rule, column: exp.Expr, type_name: str, dialect: Dialect) -> exp.Expr:
    from sqlglot import exp

    null = exp.Is(this=column.copy(), expression=exp.Null())
    if rule.kind == "not_null":
        nan = rule.params.get("nan_fails") and is_float(type_name)
        return exp.or_(null, _is_nan(column, type_name)) if nan else null
    failed = _KINDS[rule.kind](rule, column, type_name, dialect)
    return exp.or_(null, failed) if rule.params.get("null_fails") else failed


def _not_null(column: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    return exp.Not(this=exp.Is(this=column.copy(), expression=exp.Null()))


def _is_nan(column: exp.Expr, type_name: str) -> exp.Expr:
    from sqlglot import exp

    return exp.EQ(this=column.copy(), expression=literal("NaN", type_name))


def literal(value: Any, type_name: str) -> exp.Expr:
    """A value of a rule, of the type of its column.

    Raises:
        CannotSayError: Values of that type are not written in SQL.
    """
    from sqlglot import exp

    read = from_json(value, type_name)
    if type_name == "bool":
        return exp.true() if read else exp.false()
    if is_integer(type_name) or is_decimal(type_name):
        return _number(Decimal(str(read)))
    if is_float(type_name):
        # The nearest float32, written out: Snowflake has no such type and keeps the column's values as doubles.
        read = _nearest_float32(read) if type_name == "float32" else read
        return exp.cast(exp.Literal.string(repr(read)), "float" if type_name == "float32" else "double")
    if type_name == "string":
        return exp.Literal.string(read)
    if type_name == "date":
        return exp.cast(exp.Literal.string(read.isoformat()), "date")
    if type_name.startswith("timestamp"):
        kind = (
            exp.DataType.Type.TIMESTAMPTZ if type_name == "timestamp(UTC)" else exp.DataType.Type.TIMESTAMPNTZ
        )
        return exp.cast(exp.Literal.string(read.isoformat(sep=" ")), exp.DataType(this=kind))
    raise CannotSayError(f"values of type {type_name} are not written in SQL")


def _nearest_float32(value: float) -> float:
    try:
        (nearest,) = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        return math.copysign(math.inf, value)
    return float(nearest)


def _number(value: Decimal) -> exp.Expr:
    from sqlglot import exp

    number = exp.Literal.number(format(abs(value), "f"))
    return exp.Neg(this=number) if value < 0 else number


def _bound(rule: Rule, column: exp.Expr, type_name: str, dialect: Dialect) -> exp.Expr:
    from sqlglot import exp

    below, exclusive = rule.kind == "minimum", rule.params["exclusive"]
    compare: type[exp.Binary] = (
        (exp.LTE if exclusive else exp.LT) if below else (exp.GTE if exclusive else exp.GT)
    )
    compared = column.copy()
    if type_name == "string" and dialect.name == "postgres":
        compared = exp.Collate(this=compared, expression=exp.to_identifier("C", quoted=True))
    failed = compare(this=compared, expression=literal(rule.params["value"], type_name))
    return exp.or_(failed, _is_nan(column, type_name)) if is_float(type_name) else failed


def _any_of(rule: Rule, column: exp.Expr, type_name: str, dialect: Dialect) -> exp.Expr:
    from sqlglot import exp

    del dialect
    wanted = rule.kind in ("one_of", "equal")
    values = rule.params["values"] if "values" in rule.params else [rule.params["value"]]
    if is_integer(type_name):
        values = [value for value in values if not isinstance(value, float)]
    if not values:
        return _not_null(column) if wanted else exp.false()
    found = exp.In(this=column.copy(), expressions=[literal(value, type_name) for value in values])
    return exp.Not(this=found) if wanted else found


def _pattern(rule: Rule, column: exp.Expr, type_name: str, dialect: Dialect) -> exp.Expr:
    from sqlglot import exp

    del type_name
    written = exp.Literal.string(translated(anchored(rule.params["regex"], rule.params["mode"]), dialect))
    if dialect.name == "snowflake":
        # Its REGEXP_LIKE asks for the whole text.
        position = exp.Anonymous(this="REGEXP_INSTR", expressions=[column.copy(), written])
        return exp.EQ(this=position, expression=exp.Literal.number(0))
    return exp.Not(this=exp.RegexpLike(this=column.copy(), expression=written))


def _length(rule: Rule, column: exp.Expr, type_name: str, dialect: Dialect) -> exp.Expr:
    from sqlglot import exp

    del type_name, dialect
    length = exp.Length(this=column.copy())
    minimum, maximum = rule.params.get("minimum"), rule.params.get("maximum")
    parts: list[exp.Expr] = []
    if minimum is not None:
        parts.append(exp.LT(this=length.copy(), expression=exp.Literal.number(minimum)))
    if maximum is not None:
        parts.append(exp.GT(this=length.copy(), expression=exp.Literal.number(maximum)))
    return exp.or_(*parts)


def _affix(rule: Rule, column: exp.Expr, type_name: str, dialect: Dialect) -> exp.Expr:
    from sqlglot import exp

    del type_name, dialect
    value = rule.params["value"]
    if not value:
        return exp.false()
    size = exp.Literal.number(len(value))
    part = exp.Left if rule.kind == "starts_with" else exp.Right
    return exp.NEQ(this=part(this=column.copy(), expression=size), expression=exp.Literal.string(value))


def _multiple(rule: Rule, column: exp.Expr, type_name: str, dialect: Dialect) -> exp.Expr:
    from sqlglot import exp

    value = rule.params["value"]
    if is_integer(type_name) and isinstance(value, int) and value < 2**63:
        rest = exp.Mod(this=exp.cast(column.copy(), "bigint"), expression=_number(Decimal(value)))
        return exp.NEQ(this=rest, expression=exp.Literal.number(0))
    if not is_float(type_name) or not dialect.divides:
        raise CannotSayError(
            f"multiples of {value} are not counted in SQL for {dialect.name} and type {type_name}"
        )
    quotient = exp.Paren(
        this=exp.Div(this=exp.cast(column.copy(), "double"), expression=literal(value, "float64"))
    )
    off = exp.Abs(this=exp.Sub(this=quotient.copy(), expression=exp.Round(this=quotient.copy())))
    size = exp.Greatest(
        this=exp.Abs(this=quotient.copy()), expressions=[literal(1.0, "float64")], ignore_nulls=False
    )
    allowed = exp.Mul(this=exp.cast(exp.Literal.string(_WHOLE), "double"), expression=size)
    return exp.or_(
        *(
            exp.EQ(this=quotient.copy(), expression=literal(special, "float64"))
            for special in (math.nan, math.inf, -math.inf)
        ),
        exp.GT(this=off, expression=allowed),
    )


_KINDS: dict[str, Callable[[Rule, exp.Expr, str, Dialect], exp.Expr]] = {
    "minimum": _bound,
    "maximum": _bound,
    "one_of": _any_of,
    "none_of": _any_of,
    "equal": _any_of,
    "not_equal": _any_of,
    "pattern": _pattern,
    "length": _length,
    "starts_with": _affix,
    "ends_with": _affix,
    "multiple_of": _multiple,
}
