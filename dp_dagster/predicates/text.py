"""Row filters written as SQL text, read into predicates. sqlglot reads the text; no text of it reaches an engine.

Only what every engine means alike is let through: one column compared with one value, ``and``, ``or``, ``not``,
``in``, ``is null``, and ``like`` with ``%`` at the ends. ``{subject}``, ``{client}`` and ``{claim.name}`` stand for
what the identity of who asks says.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, cast

from dp_dagster.contracts.literals import is_nested
from dp_dagster.descriptor.problems import suggestion
from dp_dagster.predicates.conditions import TEXT_OPERATORS, operators_for
from dp_dagster.predicates.model import AllOf, AnyOf, Condition, Negation, Reference
from dp_dagster.predicates.values import BadValueError, read_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlglot import exp

    from dp_dagster.contracts.model import Column
    from dp_dagster.predicates.model import Operator, Predicate

_LONGEST = 10_000
_DEEPEST = 100
_ALLOWED = "use comparisons of a column with a value, and, or, not, in (…), is null, like with % at the ends"
_FLIPPED: dict[Operator, Operator] = {
    "eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"
}  # fmt: skip
_NUMBERS = frozenset({"int8", "int16", "int32", "int64", "float32", "float64"})
_COMPARISONS: dict[str, Operator] = {
    "EQ": "eq",
    "NEQ": "ne",
    "LT": "lt",
    "LTE": "le",
    "GT": "gt",
    "GTE": "ge",
}
_SIGNS: dict[str, str] = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_REFERENCE = re.compile(r"subject\Z|client\Z|claim\.[^{}\s][^{}]*\Z")
# Texts, quoted names and references, in the order in which they begin.
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\{([^{}]*)\}")


class BadFilterError(ValueError):
    """A row filter is refused. The text quotes the part at fault; ``fix`` says what to write instead."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


def parse_filter(text: str, columns: Sequence[Column]) -> Predicate:
    """Read a row filter.

    Args:
        text: ``home_store = 'Philadelphia' and lifetime_value > 100``.
        columns: What it may name, with their types.

    Raises:
        BadFilterError: it is no condition on these columns, or says more than every engine means alike.
    """
    import sqlglot
    from sqlglot.errors import SqlglotError

    if len(text) > _LONGEST:
        raise BadFilterError(f"is longer than {_LONGEST:,} characters", "shorten it")
    prepared, references = _prepared(text)
    try:
        statements = sqlglot.parse(prepared, read="duckdb")
    except RecursionError:
        raise BadFilterError("is nested too deeply", "flatten it") from None
    except SqlglotError as error:
        details: list[dict[str, Any]] = getattr(error, "errors", [])
        near = details[0].get("highlight") if details else None
        at = f" at {near!r}" if near else ""
        raise BadFilterError(f"does not parse{at}", _ALLOWED) from None
    found = [statement for statement in statements if statement is not None]
    if len(found) != 1:
        raise BadFilterError(f"holds {len(found)} statements", "write one condition")
    return _Reader({column.name: column for column in columns}, references).read(found[0])


def _prepared(text: str) -> tuple[str, list[str]]:
    """The text with a placeholder for each reference; what stands in quotes stays as it is."""
    names: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return match.group(0)
        name = name.strip()
        if not _REFERENCE.match(name):
            raise BadFilterError(
                f"{{{name}}} is nothing that is known of who asks",
                "write {subject}, {client} or {claim.NAME}",
            )
        names.append(name)
        return f" :dp{len(names) - 1} "

    return _TOKEN.sub(replaced, text), names


class _Reader:
    def __init__(self, columns: dict[str, Column], references: list[str]) -> None:
        self.columns = columns
        self.references = references
        self.depth = 0

    def read(self, node: exp.Expr) -> Predicate:
        reader = self._READERS.get(type(node).__name__)
        if reader is None:
            raise self._refused(node)
        if self.depth >= _DEEPEST:
            raise BadFilterError("is nested too deeply", "flatten it")
        self.depth += 1
        try:
            return reader(self, node)
        finally:
            self.depth -= 1

    # -- connectives ------------------------------------------------------------------------------------

    def _both(self, node: exp.Expr) -> Predicate:
        first, second = self._parts(node, "this", "expression")
        return AllOf((self.read(first), self.read(second)))

    def _either(self, node: exp.Expr) -> Predicate:
        first, second = self._parts(node, "this", "expression")
        return AnyOf((self.read(first), self.read(second)))

    def _not(self, node: exp.Expr) -> Predicate:
        (part,) = self._parts(node, "this")
        return Negation(self.read(part))

    def _brackets(self, node: exp.Expr) -> Predicate:
        (part,) = self._parts(node, "this")
        return self.read(part)

    def _alone(self, node: exp.Expr) -> Predicate:
        column = self._column(node)
        raise BadFilterError(f"{column.name} stands alone", f"compare it: {column.name} = …")

    # -- conditions -------------------------------------------------------------------------------------

    def _comparison(self, node: exp.Expr) -> Predicate:
        left, right = self._parts(node, "this", "expression")
        operator = _COMPARISONS[type(node).__name__]
        if type(left).__name__ != "Column":
            left, right, operator = right, left, _FLIPPED[operator]
        if type(left).__name__ != "Column":
            raise BadFilterError(f"{_sql(node)} names no column", "compare a column with a value")
        if type(right).__name__ == "Column":
            raise BadFilterError(
                f"{_sql(node)} compares two columns",
                "compare one column with a value; texts stand in single quotes",
            )
        return self._condition(self._column(left), operator, self._value(right, left))

    def _one_of(self, node: exp.Expr) -> Predicate:
        values = node.args.get("expressions") or []
        if {name for name, value in node.args.items() if value} != {"this", "expressions"}:
            raise self._refused(node)
        column = self._column(node.this)
        return self._condition(column, "in", tuple(self._value(value, node.this) for value in values))

    def _is(self, node: exp.Expr) -> Predicate:
        column, value = self._parts(node, "this", "expression")
        if type(value).__name__ != "Null":
            raise BadFilterError(f"{_sql(node)} is refused", f"write {_sql(column)} = {_sql(value)}")
        return Condition(self._column(column).name, "is_null", True)

    def _like(self, node: exp.Expr) -> Predicate:
        negated = bool(node.args.get("negate"))
        plain = node.copy()
        plain.set("negate", None)
        column_node, pattern_node = self._parts(plain, "this", "expression")
        column = self._column(column_node)
        if type(pattern_node).__name__ != "Literal" or not pattern_node.args["is_string"]:
            raise BadFilterError(f"{_sql(node)} has no text as its pattern", "write like 'text%'")
        pattern = str(pattern_node.this)
        starts, ends = pattern.endswith("%"), pattern.startswith("%")
        text = pattern[1 if ends else 0 : len(pattern) - 1 if starts and len(pattern) > 1 else None]
        if pattern == "%":
            text = ""
        if any(character in text for character in "%_\\"):
            raise BadFilterError(
                f"{_sql(node)} has % within, _ or \\ in its pattern",
                "write like 'text%', '%text' or '%text%'",
            )
        operator: Operator = "eq"
        if starts or ends:
            operator = "contains" if starts and ends else "starts_with" if starts else "ends_with"
        found = self._condition(column, operator, text)
        return Negation(found) if negated else found

    def _condition(self, column: Column, operator: Operator, value: Any) -> Condition:
        if operator not in operators_for(column.type):
            word = "like" if operator in TEXT_OPERATORS else _SIGNS.get(operator, operator)
            fix = "ask whether it is null" if is_nested(column.type) else "use = or <>"
            if operator in TEXT_OPERATORS:
                fix = "like is for texts"
            raise BadFilterError(f"{column.name} has type {column.type}, which has no {word}", fix)
        values = value if isinstance(value, tuple) else (value,)
        read = []
        for one in values:
            if isinstance(one, Reference):
                read.append(one)
                continue
            try:
                read.append(read_value(one, column.type))
            except BadValueError as error:
                raise BadFilterError(f"{column.name} has type {column.type}: {error}") from None
        return Condition(column.name, operator, tuple(read) if isinstance(value, tuple) else read[0])

    # -- leaves -----------------------------------------------------------------------------------------

    def _column(self, node: exp.Expr) -> Column:
        if type(node).__name__ != "Column" or {name for name, value in node.args.items() if value} != {
            "this"
        }:
            raise BadFilterError(f"{_sql(node)} is no column", _ALLOWED)
        name = str(node.name)
        if name not in self.columns:
            raise BadFilterError(f"{name} is no column", suggestion(name, self.columns))
        return self.columns[name]

    def _value(self, node: exp.Expr, column_node: exp.Expr) -> Any:
        kind = type(node).__name__
        if kind == "Placeholder" and re.fullmatch(r"dp[0-9]+", str(node.this)):
            number = int(str(node.this)[2:])
            if number < len(self.references):
                return Reference(self.references[number])
        if kind == "Boolean":
            return bool(node.this)
        is_text = self._column(column_node).type not in _NUMBERS and not self._column(
            column_node
        ).type.startswith("decimal(")
        sign = ""
        if kind == "Neg":
            sign, node, kind = "-", node.this, type(node.this).__name__
        if kind == "Literal":
            text = sign + str(node.this)
            quoted = bool(node.args["is_string"])
            if quoted and sign:
                raise self._refused(node)
            if quoted and not is_text:
                raise BadFilterError(
                    f"{_sql(node)} is a text, and {_sql(column_node)} a number", "leave the quotes out"
                )
            if not quoted and is_text:
                raise BadFilterError(
                    f"{text} is a number, and {_sql(column_node)} is none", f"write '{text}'"
                )
            return text
        if kind == "Null":
            raise BadFilterError("a comparison with null is never true", f"write {_sql(column_node)} is null")
        if kind == "Cast" and type(node.this).__name__ == "Literal":
            raise BadFilterError(
                f"{_sql(node)} is refused", f"write {_sql(node.this)}; the column says its type"
            )
        raise BadFilterError(f"{_sql(node)} is no value", _ALLOWED)

    def _parts(self, node: exp.Expr, *names: str) -> list[exp.Expr]:
        """What stands at these places, and nothing anywhere else: an unknown modifier must not be overlooked."""
        if {name for name, value in node.args.items() if value} != set(names):
            raise self._refused(node)
        return [cast("exp.Expr", node.args[name]) for name in names]

    def _refused(self, node: exp.Expr) -> BadFilterError:
        kind = type(node).__name__
        fix = {
            "Between": "write column >= … and column <= …",
            "ILike": "write like, which compares with case",
        }
        return BadFilterError(f"{_sql(node)} is refused", fix.get(kind, _ALLOWED))

    _READERS: ClassVar[dict[str, Callable[[_Reader, exp.Expr], Predicate]]] = {
        "And": _both,
        "Or": _either,
        "Not": _not,
        "Paren": _brackets,
        "Column": _alone,
        "In": _one_of,
        "Is": _is,
        "Like": _like,
        **dict.fromkeys(_COMPARISONS, _comparison),
    }


def _sql(node: exp.Expr) -> str:
    text = re.sub(r":dp[0-9]+", "{…}", node.sql(dialect="duckdb", comments=False))
    return text if len(text) <= 80 else text[:79] + "…"
