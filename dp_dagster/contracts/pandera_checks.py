"""pandera's checks as rules: its built-in ones, captured ones, and those that only pandera can run."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.capture import captured
from dp_dagster.contracts.expressions import anchored
from dp_dagster.contracts.literals import is_nested, to_json
from dp_dagster.contracts.row_expressions import column_names
from dp_dagster.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dp_dagster.contracts.model import Column, RuleKind


@dataclass(frozen=True)
class Draft:
    """A rule before it has its id and severity.

    ``subject`` are the columns that the id names: those that a check is declared on, not those it happens to read.
    """

    kind: RuleKind
    columns: tuple[str, ...]
    params: dict[str, Any] = field(default_factory=dict)
    level: str = "row"
    name: str = ""
    subject: tuple[str, ...] = ()


def builtin_name(check: Any) -> str | None:
    """Name of pandera's own check that this is, or ``None`` for an author's check."""
    function = check._check_fn  # noqa: SLF001 - the display name can be changed; only the function tells
    return function.__name__ if type(function).__name__ == "Dispatcher" else None


def drafts_of_column_check(check: Any, column: Column, index: int, library: str) -> Iterator[Draft]:
    """The rules of one check on a column.

    Args:
        check: The pandera check.
        column: The column that it is declared on.
        index: Its place among the checks of the column.
        library: ``polars`` or ``pandas``: what the schema is written for.

    Raises:
        ContractError: The check can never hold, cannot be understood, or does not fit the column's type.
    """
    name = builtin_name(check)
    if name is None or name not in _BUILT_IN:
        yield _author_check(check, column.name, index, library)
        return
    if is_nested(column.type):
        raise ContractError(f"check {name} does not apply to a column of type {column.type}")
    arguments = dict(check._check_kwargs)  # noqa: SLF001 - `statistics` can differ from what pandera applies
    try:
        for kind, params in _BUILT_IN[name](arguments, column.type):
            if not check.ignore_na:
                params["null_fails"] = True
            yield Draft(kind, (column.name,), params, subject=(column.name,))
    except ValueError as error:
        raise ContractError(f"check {name}: {error}") from error


def draft_of_table_check(check: Any, index: int, library: str) -> Draft:
    """The rule of one check on the whole table."""
    return _author_check(check, None, index, library)


def _author_check(check: Any, column: str | None, index: int, library: str) -> Draft:
    name = "" if check.name in (None, "<lambda>") else str(check.name)
    if library != "polars":
        raise ContractError(
            f"check {name or 'lambda'}: an author's check in a schema of pandera.pandas cannot be run; "
            "write the schema with pandera.polars"
        )
    subject = (column,) if column is not None else ()
    text = captured(check, column)
    if text is not None:
        columns = column_names(text)
        params: dict[str, Any] = {"expression": text}
        if not check.ignore_na:
            params["null_fails"] = True
        return Draft("expression", columns, params, name=name or "check", subject=subject)
    params = {"check": index, "scope": "column" if column is not None else "table", "name": name or "lambda"}
    # One value at a time is a matter of single rows; of any other function nobody knows.
    level = "row" if check.element_wise and column is not None else "table"
    if level == "row" and not check.ignore_na:
        params["null_fails"] = True
    return Draft("custom", subject, params, level, name or "check", subject)


# -- pandera's own checks ----------------------------------------------------------------------------------


def _bound(kind: RuleKind, argument: str, *, exclusive: bool) -> Any:
    def parts(arguments: dict[str, Any], type_name: str) -> Iterator[tuple[RuleKind, dict[str, Any]]]:
        yield kind, {"value": _limit(arguments[argument], type_name), "exclusive": exclusive}

    return parts


def _limit(value: Any, type_name: str) -> Any:
    limit = to_json(value, type_name)
    if limit == "NaN":
        raise ValueError("NaN is no bound: no value lies above or below it")
    return limit


def _in_range(arguments: dict[str, Any], type_name: str) -> Iterator[tuple[RuleKind, dict[str, Any]]]:
    yield (
        "minimum",
        {
            "value": _limit(arguments["min_value"], type_name),
            "exclusive": not arguments.get("include_min", True),
        },
    )
    yield (
        "maximum",
        {
            "value": _limit(arguments["max_value"], type_name),
            "exclusive": not arguments.get("include_max", True),
        },
    )


def _values(kind: RuleKind, argument: str) -> Any:
    def parts(arguments: dict[str, Any], type_name: str) -> Iterator[tuple[RuleKind, dict[str, Any]]]:
        # Null passes anyway; sorted, because a set has no order and the contract's hash must be stable.
        values = {to_json(value, type_name) for value in arguments[argument] if value is not None}
        if not values and kind == "one_of":
            raise ValueError("no value is allowed, so no row can ever hold; list the allowed values")
        yield kind, {"values": sorted(values, key=lambda value: (isinstance(value, str), value))}

    return parts


def _value(kind: RuleKind) -> Any:
    def parts(arguments: dict[str, Any], type_name: str) -> Iterator[tuple[RuleKind, dict[str, Any]]]:
        yield kind, {"value": to_json(arguments["value"], type_name)}

    return parts


def _pattern(mode: str) -> Any:
    def parts(arguments: dict[str, Any], type_name: str) -> Iterator[tuple[RuleKind, dict[str, Any]]]:
        _only_text(type_name)
        regex = _regex_text(arguments["pattern"])
        _try_regex(anchored(regex, mode), regex)
        yield "pattern", {"regex": regex, "mode": mode}

    return parts


def _regex_text(pattern: str | re.Pattern[str]) -> str:
    if isinstance(pattern, str):
        return pattern
    letters = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s", re.VERBOSE: "x"}
    flags = re.RegexFlag(pattern.flags) & ~re.UNICODE
    unknown = flags & ~(re.IGNORECASE | re.MULTILINE | re.DOTALL | re.VERBOSE)
    if unknown:
        raise ValueError(f"flag {unknown!r} of the regular expression is not supported; leave it out")
    chosen = "".join(letter for flag, letter in letters.items() if flags & flag)
    return f"(?{chosen}){pattern.pattern}" if chosen else pattern.pattern


def _try_regex(searched: str, written: str) -> None:
    import polars as pl

    try:
        pl.Series([""]).str.contains(searched)
    except pl.exceptions.PolarsError as error:
        lines = [line for line in str(error).splitlines() if line.startswith("error:")]
        cause = lines[0].removeprefix("error:").strip() if lines else str(error).splitlines()[0]
        raise ValueError(
            f"regular expression {written!r} is refused: {cause} (the syntax is that of Rust's regex crate)"
        ) from error


def _length(arguments: dict[str, Any], type_name: str) -> Iterator[tuple[RuleKind, dict[str, Any]]]:
    _only_text(type_name)
    minimum, maximum = arguments.get("min_value"), arguments.get("max_value")
    if arguments.get("exact_value") is not None:
        minimum = maximum = arguments["exact_value"]
    if minimum is None and maximum is None:
        raise ValueError("name a minimum or a maximum length")
    for limit in (minimum, maximum):
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool)):
            raise ValueError(f"length {limit!r} is not a whole number")
    if (maximum is not None and maximum < 0) or (
        minimum is not None and maximum is not None and minimum > maximum
    ):
        raise ValueError(f"no text is at least {minimum} and at most {maximum} characters long")
    yield "length", {"minimum": minimum, "maximum": maximum}


def _affix(kind: RuleKind) -> Any:
    def parts(arguments: dict[str, Any], type_name: str) -> Iterator[tuple[RuleKind, dict[str, Any]]]:
        _only_text(type_name)
        yield kind, {"value": to_json(arguments["string"], type_name)}

    return parts


def _only_text(type_name: str) -> None:
    if type_name != "string":
        raise ValueError(f"it applies to text, and the column is of type {type_name}")


_BUILT_IN: dict[str, Any] = {
    "equal_to": _value("equal"),
    "not_equal_to": _value("not_equal"),
    "greater_than": _bound("minimum", "min_value", exclusive=True),
    "greater_than_or_equal_to": _bound("minimum", "min_value", exclusive=False),
    "less_than": _bound("maximum", "max_value", exclusive=True),
    "less_than_or_equal_to": _bound("maximum", "max_value", exclusive=False),
    "in_range": _in_range,
    "isin": _values("one_of", "allowed_values"),
    "notin": _values("none_of", "forbidden_values"),
    "str_matches": _pattern("match"),
    "str_contains": _pattern("search"),
    "str_startswith": _affix("starts_with"),
    "str_endswith": _affix("ends_with"),
    "str_length": _length,
}
