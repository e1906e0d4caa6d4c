"""What a request asks for: its query read, first as text, then against the columns of a version.

Reading goes in two steps because the version decides which columns there are, and the query names the version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlencode

from dp_dagster.contracts.literals import is_nested
from dp_dagster.ports.problems import Problem, RequestError
from dp_dagster.predicates.conditions import LIST_OPERATORS, condition, operators_for
from dp_dagster.predicates.model import EVERYTHING, AllOf, Operator, Predicate
from dp_dagster.predicates.values import BadValueError, read_value
from dp_dagster.rows.query import Sort

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from dp_dagster.contracts.model import Column

OPTIONS = ("fields", "sort", "limit", "cursor", "as_of", "format")
"""Parameters that are no filters. A column of such a name is filtered with its operator written out."""

OPERATOR_NAMES: dict[str, Operator] = {
    "eq": "eq",
    "ne": "ne",
    "lt": "lt",
    "lte": "le",
    "gt": "gt",
    "gte": "ge",
    "in": "in",
    "not_in": "not_in",
    "null": "is_null",
    "contains": "contains",
    "starts_with": "starts_with",
    "ends_with": "ends_with",
}
"""Operators as requests write them, in brackets behind the column: ``amount[gte]=100``."""

_OF_ONE_PAGE = frozenset({"cursor", "as_of"})
# What may stand between < and > in a header as it is.
_HARMLESS = re.compile(rb"[A-Za-z0-9._~%=&:*!$@/-]*")
_NAMES = {operator: name for name, operator in OPERATOR_NAMES.items()}
_MOST_PARAMETERS = 100
_LONGEST_QUERY = 16_384
_BRACKETS = re.compile(r"(.*)\[([^\[\]]*)\]", re.DOTALL)
_UNESCAPED_PLUS = re.compile(r"(?<=\d) (?=\d{2}:?\d{2}$)")


@dataclass(frozen=True)
class Parameters:
    """A query as text: options by name, and filters as they stand.

    Attributes:
        options: By name.
        filters: Names and values.
        kept: The query as it was written, without what says where a page begins.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    filters: tuple[tuple[str, str], ...] = ()
    kept: tuple[bytes, ...] = ()

    @property
    def text(self) -> str:
        """The query without what says where a page begins, for the address of another page."""
        written = b"&".join(self.kept).replace(b"[", b"%5B").replace(b"]", b"%5D")
        if _HARMLESS.fullmatch(written):
            return written.decode()
        options = [(name, value) for name, value in self.options.items() if name not in _OF_ONE_PAGE]
        return urlencode([*self.filters, *options])

    @property
    def binding(self) -> str:
        """What a cursor of this query belongs to: which rows, and in which order."""
        return repr((sorted(self.filters), self.options.get("sort", "")))


NO_PARAMETERS = Parameters()


def read_parameters(
    query: bytes, known: Collection[str] = OPTIONS, options_of_kind: Collection[str] = OPTIONS
) -> Parameters:
    """Take a query string apart.

    Args:
        query: As it stands in the request.
        known: The options that the address has.
        options_of_kind: Those that any address of the port has; everything else is a filter.

    Raises:
        RequestError: it cannot be read, or says an option twice or one that the address does not have.
    """
    if not query:
        return NO_PARAMETERS
    if len(query) > _LONGEST_QUERY:
        detail = f"the query is longer than {_LONGEST_QUERY} bytes"
        raise RequestError(Problem(414, "query-too-long", detail, fix="ask for less"))
    parts = [part for part in query.replace(b"+", b" ").split(b"&") if part]
    if len(parts) > _MOST_PARAMETERS:
        detail = f"the query has more than {_MOST_PARAMETERS} parameters"
        raise RequestError(Problem(400, "too-many-parameters", detail))
    options: dict[str, str] = {}
    filters: list[tuple[str, str]] = []
    kept: list[bytes] = []
    for part in parts:
        written, _, value_written = part.partition(b"=")
        name, value = decoded(written, "the query"), decoded(value_written, "the query")
        if name not in _OF_ONE_PAGE:
            kept.append(part)
        if name not in options_of_kind:
            filters.append((name, value))
        elif name not in known:
            raise RequestError(
                Problem(
                    400,
                    "unknown-parameter",
                    f"{name} has no meaning here",
                    parameter=name,
                    fix=f"use {', '.join(('filters', *known))}",
                )
            )
        elif name in options:
            detail = f"{name} stands twice"
            raise RequestError(Problem(400, "repeated-parameter", detail, name, fix="say it once"))
        else:
            options[name] = value
    return Parameters(options, tuple(filters), tuple(kept))


def decoded(text: bytes, where: str) -> str:
    """A percent-encoded part of a request as text.

    Raises:
        RequestError: it is not UTF-8.
    """
    try:
        return (unquote_to_bytes(text) if b"%" in text else text).decode()
    except UnicodeDecodeError:
        raise RequestError(
            Problem(400, "not-utf-8", f"{where} is not UTF-8", fix="percent-encode UTF-8 bytes")
        ) from None


def split(text: str) -> list[str]:
    r"""The parts between commas. ``\,`` is a comma and ``\\`` a backslash inside of a part."""
    parts = [""]
    escaped = False
    for character in text:
        if escaped or character not in ",\\":
            parts[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        else:
            parts.append("")
    if escaped:
        parts[-1] += "\\"
    return parts


@dataclass(frozen=True)
class Readable:
    """What somebody may ask of a version.

    Attributes:
        columns: What they may select, in order.
        clear: Those that they may also filter and sort by.
        options: Parameters that are no columns, to be named where one is not known.
    """

    columns: Mapping[str, Column]
    clear: frozenset[str]
    options: tuple[str, ...] = OPTIONS

    def selection(self, fields: str | None) -> tuple[str, ...]:
        """The columns that ``fields`` names, in its order; all without it.

        Raises:
            RequestError: it names one that is not there, or one twice.
        """
        if fields is None:
            return tuple(self.columns)
        names = split(fields)
        for name in names:
            self._known(name, "fields", name)
            if names.count(name) > 1:
                detail = "a column stands twice"
                raise RequestError(Problem(400, "repeated-column", detail, "fields", name, "name it once"))
        return tuple(names)

    def order(self, sort: str | None) -> tuple[Sort, ...]:
        """What ``sort`` says.

        Raises:
            RequestError: it names a column that is not there or has no order (400), or a masked one (403).
        """
        if sort is None:
            return ()
        found: list[Sort] = []
        for part in split(sort):
            descending = part not in self.columns and part.startswith("-")
            column = self._clear(part.removeprefix("-") if descending else part, "sort", part)
            if is_nested(column.type):
                detail = f"{column.name} is a {column.type}, which has no order"
                raise RequestError(Problem(400, "no-order", detail, "sort", part, "sort by another column"))
            # Sorted by once more, nothing changes.
            if all(one.column != column.name for one in found):
                found.append(Sort(column.name, descending))
        return tuple(found)

    def where(self, filters: tuple[tuple[str, str], ...]) -> Predicate:
        """All that the filters say.

        Raises:
            RequestError: one names a column that is not there, a wrong operator or value (400), or a masked
                column (403).
        """
        if not filters:
            return EVERYTHING
        return AllOf(tuple(self._condition(name, text) for name, text in filters))

    def key_value(self, name: str, text: str) -> Any:
        """A part of a key as the value of its column.

        Raises:
            RequestError: it is no such value (400), or the column is masked or not granted (403).
        """
        if name not in self.clear:
            detail = f"rows cannot be looked up by {name}, which is masked for you"
            raise RequestError(Problem(403, "masked-column", detail, "path"))
        column = self.columns[name]
        try:
            return read_value(text, column.type)
        except BadValueError as error:
            raise RequestError(Problem(400, "invalid-key", f"{name}: {error}", "path", text)) from None

    def _condition(self, parameter: str, text: str) -> Predicate:
        name, operator = self._operator(parameter, text)
        column = self._clear(name, parameter, text)
        allowed = operators_for(column.type)
        if operator not in allowed:
            raise RequestError(
                Problem(
                    400,
                    "wrong-operator",
                    f"{name} is a {column.type}, which cannot be asked {_NAMES[operator]}",
                    parameter,
                    text,
                    f"use {', '.join(_NAMES[one] for one in allowed)}",
                )
            )
        given: Any = text
        if operator in LIST_OPERATORS:
            given = [_with_plus(one, column) for one in split(text)]
        elif operator != "is_null":
            given = _with_plus(text, column)
        try:
            return condition(column, operator, given)
        except BadValueError as error:
            raise RequestError(Problem(400, "invalid-value", f"{name}: {error}", parameter, text)) from None

    def _operator(self, parameter: str, text: str) -> tuple[str, Operator]:
        found = _BRACKETS.fullmatch(parameter)
        if found is None or parameter in self.columns:
            return parameter, "eq"
        operator = OPERATOR_NAMES.get(found[2])
        if operator is None:
            self._known(found[1], parameter, text)
            detail = f"there is no operator {found[2][:40]!r}"
            raise RequestError(
                Problem(400, "unknown-operator", detail, parameter, text, f"use {', '.join(OPERATOR_NAMES)}")
            )
        return found[1], operator

    def _known(self, name: str, parameter: str, value: str) -> Column:
        column = self.columns.get(name)
        if column is None:
            raise RequestError(
                Problem(
                    400,
                    "unknown-column",
                    "there is no such column for you",
                    parameter,
                    value,
                    f"the columns are {', '.join(self.columns)}; other parameters are {', '.join(self.options)}",
                )
            )
        return column

    def _clear(self, name: str, parameter: str, value: str) -> Column:
        column = self._known(name, parameter, value)
        if name not in self.clear:
            raise RequestError(
                Problem(
                    403,
                    "masked-column",
                    f"{name} is masked for you: it can be selected, and neither filtered nor sorted by",
                    parameter,
                    fix="leave it out, or ask the owner for access",
                )
            )
        return column


def page_limit(text: str | None, default: int, most: int) -> int | None:
    """How many rows a page holds; ``None`` for ``all``.

    Raises:
        RequestError: it is no number, or more than ``most``.
    """
    if text is None:
        return min(default, most)
    if text == "all":
        return None
    if re.fullmatch(r"[0-9]{1,9}", text) is None or not 1 <= int(text) <= most:
        detail = f"a page holds 1 to {most} rows"
        fix = "follow the links of a page, or say limit=all for all rows in one answer"
        raise RequestError(Problem(400, "invalid-limit", detail, "limit", text, fix))
    return int(text)


def moment_or_version(text: str) -> int | datetime:
    """What ``as_of`` says: the number of a version, or a time.

    Raises:
        RequestError: it is neither.
    """
    if re.fullmatch(r"[0-9]{1,15}", text):
        return int(text)
    try:
        moment: datetime = read_value(_UNESCAPED_PLUS.sub("+", text), "timestamp(UTC)")
    except BadValueError as error:
        detail = f"neither the number of a version nor a time: {error}"
        raise RequestError(Problem(400, "invalid-as-of", detail, "as_of", text)) from None
    return moment


def _with_plus(text: str, column: Column) -> str:
    # An unescaped + is a space in a query, and no time with a zone has a space there.
    return _UNESCAPED_PLUS.sub("+", text) if column.type == "timestamp(UTC)" else text
