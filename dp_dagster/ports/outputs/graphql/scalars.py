"""What values are in GraphQL: scalars for the types that its own five cannot say, and how values are written.

The written form is the project's JSON form, the same in every port: decimals are text with all their digits,
timestamps and dates ISO 8601, binary hexadecimal digits, 64-bit integers JSON numbers.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from graphql import (
    FloatValueNode,
    GraphQLBoolean,
    GraphQLError,
    GraphQLFloat,
    GraphQLInt,
    GraphQLScalarType,
    GraphQLString,
    IntValueNode,
    StringValueNode,
    print_ast,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from graphql import ValueNode


class RefusedError(GraphQLError):
    """What was asked cannot be; whoever asks can mend it."""


_LONG = (-(2**63), 2**63 - 1)


def _text_of(node: ValueNode) -> str | None:
    """What a number or text says; ``None`` for anything else."""
    if isinstance(node, (StringValueNode, IntValueNode, FloatValueNode)):
        return node.value
    return None


def _scalar(
    name: str, description: str, read: Callable[[str], Any], *, numbers: bool = False
) -> GraphQLScalarType:
    """A scalar that is read from a text, or from a number where ``numbers``."""

    def parse_value(value: Any) -> Any:
        if isinstance(value, str) or (
            numbers and isinstance(value, (int, float)) and not isinstance(value, bool)
        ):
            return read(str(value))
        raise GraphQLError(f"{name} is written as {'a number or text' if numbers else 'text'}")

    def parse_literal(node: ValueNode, _: dict[str, Any] | None = None) -> Any:
        text = _text_of(node)
        if text is None or not (numbers or isinstance(node, StringValueNode)):
            raise GraphQLError(
                f"{name} is written as {'a number or text' if numbers else 'text'}, not {print_ast(node)[:80]}",
                node,
            )
        return read(text)

    return GraphQLScalarType(
        name, description=description, parse_value=parse_value, parse_literal=parse_literal
    )


def _read_long(text: str) -> int:
    if re.fullmatch(r"-?[0-9]{1,19}", text) is None or not _LONG[0] <= int(text) <= _LONG[1]:
        raise GraphQLError(f"Long is a whole number from {_LONG[0]} to {_LONG[1]}")
    return int(text)


def _as_it_is(text: str) -> str:
    return text


LONG = _scalar(
    "Long",
    "A whole number of 64 bits, as a JSON number with all its digits. Values may be given as text, too.",
    _read_long,
    numbers=True,
)
DECIMAL = _scalar(
    "Decimal",
    'An exact decimal number, as text with all its digits: `"12.50"`. Values may be given as numbers, too.',
    _as_it_is,
    numbers=True,
)
DATE = _scalar("Date", 'A day: `"2024-02-29"`.', _as_it_is)
DATE_TIME = _scalar(
    "DateTime", 'A moment with its offset, RFC 3339: `"2024-02-29T23:59:59.000000+00:00"`.', _as_it_is
)
LOCAL_DATE_TIME = _scalar(
    "LocalDateTime", 'A time without a zone: `"2024-02-29T23:59:59.000000"`.', _as_it_is
)
BYTES = _scalar("Bytes", 'Binary, as hexadecimal digits: `"00ff"`.', _as_it_is)


def masked_scalar(name: str, column: str) -> GraphQLScalarType:
    """What stands where the condition on a masked column would: nothing is a value of it."""
    refusal = f"{column} is masked for you: it can be neither filtered nor sorted by"

    def refuse(_: Any) -> Any:
        raise RefusedError(refusal)

    def refuse_literal(node: ValueNode, _: dict[str, Any] | None = None) -> Any:
        raise RefusedError(refusal, node)

    return GraphQLScalarType(
        name,
        description=f"There is no value of it: {refusal}, since each of these would tell its value.",
        parse_value=refuse,
        parse_literal=refuse_literal,
    )


_BY_TYPE: dict[str, GraphQLScalarType] = {
    "bool": GraphQLBoolean,
    "int8": GraphQLInt,
    "int16": GraphQLInt,
    "int32": GraphQLInt,
    "int64": LONG,
    "float32": GraphQLFloat,
    "float64": GraphQLFloat,
    "string": GraphQLString,
    "binary": BYTES,
    "date": DATE,
    "timestamp": LOCAL_DATE_TIME,
    "timestamp(UTC)": DATE_TIME,
}


def scalar_of(type_name: str) -> GraphQLScalarType | None:
    """The scalar of a canonical type; ``None`` for types with parts, and for those that GraphQL cannot say."""
    if type_name.startswith("decimal("):
        return DECIMAL
    return _BY_TYPE.get(type_name)
