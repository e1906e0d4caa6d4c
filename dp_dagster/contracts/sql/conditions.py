"""Rules of single rows as SQL conditions, true for a failing row: the same meaning as in :mod:`..expressions`."""

from __future__ import annotations

import math
import struct
import sys
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.expressions import EXACT_SCALE, anchored
from dp_dagster.contracts.literals import from_json, is_decimal, is_float, is_integer
from dp_dagster.contracts.sql.dialects import CannotSayError
from dp_dagster.contracts.sql.patterns import translated
from dp_dagster.contracts.type_trees import leaf_type, parse_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlglot import exp

    from dp_dagster.contracts.model import Rule
    from dp_dagster.contracts.sql.dialects import Dialect, Nested

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
    return _of_part(rule, column, types[rule.columns[0]], rule.params.get("path") or (), dialect)


def _of_part(
    rule: Rule, column: exp.Expr, type_name: str, path: Sequence[Sequence[str]], dialect: Dialect
) -> exp.Expr:
    from sqlglot import exp

    if not path:
        return _of_value(rule, column, type_name, dialect)
    if dialect.nested is None:
        raise CannotSayError(f"rules on parts of columns are not written in SQL for {dialect.name}")
    step, rest = path[0], path[1:]
    below = leaf_type(type_name, [list(step)])
    if step[0] == "field":
        field = exp.Dot(this=column.copy(), expression=exp.to_identifier(step[1], quoted=True))
        return exp.and_(_not_null(column), _of_part(rule, field, below, rest, dialect))
    items = column.copy()
    if step[0] in ("key", "value"):
        items = exp.Anonymous(this="MAP_KEYS" if step[0] == "key" else "MAP_VALUES", expressions=[items])
    item = exp.to_identifier(f"item_{len(rest)}")
    failed = exp.func("COALESCE", _of_part(rule, exp.column(item), below, rest, dialect), exp.false())
    return exp.GT(
        this=_length_of(_filtered(items, item, failed, dialect.nested), dialect.nested),
        expression=exp.Literal.number(0),
    )


def _filtered(items: exp.Expr, item: exp.Identifier, condition: exp.Expr, nested: Nested) -> exp.Expr:
    from sqlglot import exp

    return exp.Anonymous(
        this=nested.filter, expressions=[items.copy(), exp.Lambda(this=condition, expressions=[item.copy()])]
    )


def _length_of(items: exp.Expr, nested: Nested) -> exp.Expr:
    from sqlglot import exp

    return exp.Anonymous(this=nested.length, expressions=[items.copy()])


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
    return _outside(exp.Length(this=column.copy()), rule)


def _outside(size: exp.Expr, rule: Rule) -> exp.Expr:
    from sqlglot import exp

    minimum, maximum = rule.params.get("minimum"), rule.params.get("maximum")
    parts: list[exp.Expr] = []
    if minimum is not None:
        parts.append(exp.LT(this=size.copy(), expression=exp.Literal.number(minimum)))
    if maximum is not None:
        parts.append(exp.GT(this=size.copy(), expression=exp.Literal.number(maximum)))
    return exp.or_(*parts) if parts else exp.false()


def _size(rule: Rule, column: exp.Expr, type_name: str, dialect: Dialect) -> exp.Expr:
    from sqlglot import exp

    nested = _nested(dialect)
    if type_name.startswith("struct<"):
        fields = [name for name, _ in parse_type(type_name).parts]
        there = [
            exp.Dot(this=column.copy(), expression=exp.to_identifier(name, quoted=True)) for name in fields
        ]
        size: exp.Expr = _sum([_one_if(_not_null(field)) for field in there])
    else:
        name = nested.length if type_name.startswith("list<") else nested.entries
        size = exp.Anonymous(this=name, expressions=[column.copy()])
    return exp.and_(_not_null(column), _outside(size, rule))


def _distinct_items(rule: Rule, column: exp.Expr, type_name: str, dialect: Dialect) -> exp.Expr:
    from sqlglot import exp

    del rule
    nested = _nested(dialect)
    if is_float(leaf_type(type_name, [["items"]])):
        raise CannotSayError(f"items of type {type_name} are not told apart in SQL for {dialect.name}")
    item = exp.to_identifier("item")
    there = _filtered(column, item, _not_null(exp.column(item)), nested)
    different = exp.Anonymous(this=nested.distinct, expressions=[there])
    nulls = exp.Sub(this=_length_of(column, nested), expression=_length_of(there, nested))
    repeated = exp.LT(this=_length_of(different, nested), expression=_length_of(there, nested))
    return exp.and_(
        _not_null(column),
        exp.or_(repeated, exp.GT(this=exp.Paren(this=nulls), expression=exp.Literal.number(1))),
    )


def _nested(dialect: Dialect) -> Nested:
    if dialect.nested is None:
        raise CannotSayError(f"rules on parts of columns are not written in SQL for {dialect.name}")
    return dialect.nested


def _one_if(condition: exp.Expr) -> exp.Expr:
    from sqlglot import exp

    return exp.Case().when(condition, exp.Literal.number(1)).else_(exp.Literal.number(0))


def _sum(parts: Sequence[exp.Expr]) -> exp.Expr:
    from sqlglot import exp

    total = parts[0]
    for part in parts[1:]:
        total = exp.Add(this=total, expression=part)
    return exp.Paren(this=total)


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
    if is_decimal(type_name):
        digits = int(type_name.rstrip(")").rpartition(",")[2])
        scale = max(digits, -int(Decimal(str(value)).as_tuple().exponent))
        if scale <= EXACT_SCALE:
            kind = f"decimal(38, {scale})"
            divisor = exp.cast(_number(Decimal(str(value))), kind)
            rest = exp.Mod(this=exp.cast(column.copy(), kind), expression=divisor)
            return exp.NEQ(this=rest, expression=exp.Literal.number(0))
    del dialect
    return _no_multiple_of_float(exp.cast(column.copy(), "double"), float(value))


def _no_multiple_of_float(column: exp.Expr, value: float) -> exp.Expr:
    """As in the embedded evaluator, but without a division that overflows: in some dialects that is an error."""
    from sqlglot import exp

    quotient = exp.Paren(this=exp.Div(this=column.copy(), expression=literal(value, "float64")))
    off = exp.Abs(this=exp.Sub(this=quotient.copy(), expression=exp.Round(this=quotient.copy())))
    size = exp.Greatest(
        this=exp.Abs(this=quotient.copy()), expressions=[literal(1.0, "float64")], ignore_nulls=False
    )
    allowed = exp.Mul(this=exp.cast(exp.Literal.string(_WHOLE), "double"), expression=size)
    amount = exp.Abs(this=column.copy())
    infinite = exp.GT(this=amount.copy(), expression=literal(_largest_dividend(value), "float64"))
    special = [
        exp.EQ(this=column.copy(), expression=literal(one, "float64"))
        for one in (math.nan, math.inf, -math.inf)
    ]
    return (
        exp.Case()
        .when(exp.or_(*special, infinite), exp.true())
        # The quotient is nearly 0, if it is a number at all.
        .when(exp.LT(this=amount.copy(), expression=literal(abs(value) * 1e-10, "float64")), exp.false())
        .else_(exp.GT(this=off, expression=allowed))
    )


def _largest_dividend(value: float) -> float:
    """The largest number whose quotient with another one is finite."""
    return sys.float_info.max * min(abs(value), 1.0)


def _text_format(rule: Rule, column: exp.Expr, type_name: str, dialect: Dialect) -> exp.Expr:
    if rule.params.get("strptime"):
        raise CannotSayError("dates kept as text are not read in SQL")
    whole = replace(rule, params={"regex": rule.params["regex"], "mode": "full"})
    return _pattern(whole, column, type_name, dialect)


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
    "size": _size,
    "distinct_items": _distinct_items,
    "text_format": _text_format,
}
