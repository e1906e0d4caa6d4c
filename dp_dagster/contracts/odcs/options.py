"""``logicalTypeOptions`` as rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.literals import is_float, is_integer, to_json
from dp_dagster.contracts.odcs.drafts import Draft, unevaluated
from dp_dagster.contracts.odcs.text_formats import TEXT_FORMATS, UNCHECKABLE
from dp_dagster.contracts.odcs.time_formats import time_pattern
from dp_dagster.contracts.odcs.types import field_name, is_text
from dp_dagster.descriptor.problems import suggestion

if TYPE_CHECKING:
    from dp_dagster.contracts.model import RuleKind
    from dp_dagster.contracts.odcs.drafts import Subject
    from dp_dagster.contracts.odcs.models import Property, Version
    from dp_dagster.descriptor.paths import Keys

# Values that a column of 64 bits could hold and the format does not; no column holds more than 64 bits.
_LIMITS: dict[Any, dict[RuleKind, int]] = {
    **{f"i{bits}": {"minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1} for bits in (8, 16, 32)},
    **{f"u{bits}": {"minimum": 0, "maximum": 2**bits - 1} for bits in (8, 16, 32)},
    "u64": {"minimum": 0},
    "u128": {"minimum": 0},
}
_DEFAULT_FORMATS = {"date": "yyyy-MM-dd", "time": "HH:mm:ss"}


@dataclass(frozen=True)
class _Options:
    """The options of one property, and what they belong to."""

    prop: Property
    subject: Subject
    version: Version
    add: Callable[[Keys, str, str], None]

    @property
    def values(self) -> dict[str, Any]:
        return self.prop.options or {}

    def place(self, *names: str | int) -> Keys:
        return (*self.subject.keys, "logicalTypeOptions", *names)

    def draft(self, kind: RuleKind, option: str, params: dict[str, Any] | None = None, **more: Any) -> Draft:
        return Draft(kind, self.place(option), self.subject, params=params or {}, **more)


def option_rules(
    prop: Property, subject: Subject, version: Version, add: Callable[[Keys, str, str], None]
) -> Iterator[Draft]:
    """The rules that a property's options mean."""
    read = _BY_TYPE.get(prop.logical_type or "")
    if read is not None:
        yield from read(_Options(prop, subject, version, add))


def _text(of: _Options) -> Iterator[Draft]:
    yield from _sizes(of, "length", "minLength", "maxLength")
    if "pattern" in of.values:
        # As in JSON Schema: somewhere in the text, unless the expression itself says from start to end.
        yield of.draft("pattern", "pattern", {"regex": of.values["pattern"], "mode": "search"})
    name = of.values.get("format")
    if name in TEXT_FORMATS:
        params = {"regex": TEXT_FORMATS[name], "mode": "full"}
        yield of.draft("pattern", "format", params, description=f"of the format {name}", name="format")
    elif name is not None:
        reason = UNCHECKABLE.get(name, f"format {name} is not known")
        yield unevaluated(of.place("format"), of.subject, reason, name="format")


def _array(of: _Options) -> Iterator[Draft]:
    yield from _sizes(of, "size", "minItems", "maxItems")
    if of.values.get("uniqueItems"):
        yield of.draft("distinct_items", "uniqueItems")


def _object(of: _Options) -> Iterator[Draft]:
    yield from _sizes(of, "size", "minProperties", "maxProperties")
    known = {part.name: part for part in of.prop.properties or ()}
    for number, name in enumerate(of.values.get("required", ())):
        place = of.place("required", number)
        if name not in known:
            of.add(place, f"{name} is no property here", suggestion(name, [str(one) for one in known]))
        elif not known[name].required:
            yield Draft("not_null", place, of.subject.below(["field", field_name(known[name])], "any", place))


def _vector(of: _Options) -> Iterator[Draft]:
    size = of.values["dimensions"]
    yield of.draft("size", "dimensions", {"minimum": size, "maximum": size})
    if of.values.get("normalized"):
        reason = "whether a vector is normalized is not checked"
        yield unevaluated(of.place("normalized"), of.subject, reason, name="normalized")


def _sizes(of: _Options, kind: RuleKind, minimum: str, maximum: str) -> Iterator[Draft]:
    low, high = of.values.get(minimum), of.values.get(maximum)
    if low is not None and high is not None and low > high:
        of.add(of.place(minimum), f"{low} is above {maximum} {high}", "correct one of them")
    elif low or high is not None:
        yield of.draft(kind, minimum if low else maximum, {"minimum": low, "maximum": high})


def _numbers(of: _Options) -> Iterator[Draft]:
    name = of.values.get("format")
    for kind, value in _LIMITS.get(name, {}).items():
        yield of.draft(kind, "format", {"value": value, "exclusive": False}, name=f"{name}_{kind}")
    yield from _bounds(of, number_literal)
    if "multipleOf" in of.values:
        value = number_literal(of.values["multipleOf"], of.subject.type)
        yield of.draft("multiple_of", "multipleOf", {"value": value})


def _bounds(of: _Options, read: Callable[[Any, str], Any]) -> Iterator[Draft]:
    for kind, option, exclusive in _written_bounds(of):
        try:
            value = read(of.values[option], of.subject.type)
        except ValueError as error:
            of.add(of.place(option), str(error), "correct the value")
            continue
        yield of.draft(kind, option, {"value": value, "exclusive": exclusive})


def _written_bounds(of: _Options) -> Iterator[tuple[RuleKind, str, bool]]:
    """Kind, option and whether the bound itself is excluded. In 3.0 ``exclusiveMinimum`` was a flag."""
    pairs: tuple[tuple[RuleKind, str], ...] = (
        ("minimum", "exclusiveMinimum"),
        ("maximum", "exclusiveMaximum"),
    )
    for kind, other in pairs:
        if of.version >= (3, 1):
            yield from ((kind, name, name == other) for name in (str(kind), other) if name in of.values)
        elif kind in of.values:
            yield kind, kind, bool(of.values.get(other))
        elif other in of.values:
            of.add(of.place(other), f"says how to read a {kind} that is not there", f"add `{kind}: …`")


def _times(of: _Options) -> Iterator[Draft]:
    kind = str(of.prop.logical_type)
    if not is_text(of.prop):
        # A date or timestamp that is one has no format; the option says how people see it.
        yield from _bounds(of, moment_literal)
        return
    wanted = of.values.get("format") or _DEFAULT_FORMATS.get(kind)
    place = of.place("format") if "format" in of.values else of.subject.keys
    found = time_pattern(wanted) if wanted is not None else None
    if found is None:
        reason = (
            f"format {wanted} cannot be checked"
            if wanted
            else "a timestamp kept as text has no format to check"
        )
        yield unevaluated(place, of.subject, reason, name="format")
    else:
        params = {"format": wanted, "regex": found[0], "strptime": found[1]}
        yield Draft("text_format", place, of.subject, params=params, name="format")
    if wanted in ("HH:mm:ss", "yyyy-MM-dd"):
        # Their order as text is that of the times.
        yield from _bounds(of, lambda value, _: value)
        return
    for option in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        if option in of.values and not isinstance(of.values[option], bool):
            reason = f"{option} of a {kind} that is kept as text in this format is not checked"
            yield unevaluated(of.place(option), of.subject, reason, name=option)


_BY_TYPE: dict[str, Callable[[_Options], Iterator[Draft]]] = {
    "string": _text,
    "date": _times,
    "timestamp": _times,
    "time": _times,
    "integer": _numbers,
    "number": _numbers,
    "array": _array,
    "object": _object,
    "vector": _vector,
}


def number_literal(value: Any, type_name: str) -> Any:
    """A number of the document as a rule keeps it: whole numbers as such, whatever the column's type.

    Raises:
        ValueError: It is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(  # noqa: TRY004 - a fault of the document, like the other literals
            f"{value!r} cannot be compared with a column of type {type_name}"
        )
    return int(value) if isinstance(value, float) and value.is_integer() else value


def moment_literal(value: Any, type_name: str) -> Any:
    """A date or instant of the document as a rule keeps it.

    Raises:
        ValueError: It is no such thing in ISO 8601.
    """
    try:
        if type_name == "date":
            return date.fromisoformat(str(value)).isoformat()
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        what = "date, such as 2024-12-31" if type_name == "date" else "time, such as 2024-12-31T00:00:00Z"
        raise ValueError(f"{value} is no ISO 8601 {what}") from None
    # An instant without a zone is one in UTC. The column's type is settled when its data is there.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def literal(value: Any, type_name: str) -> Any:
    """Any value of the document as a rule on a column of that type keeps it.

    Raises:
        ValueError: It cannot be compared with such a column.
    """
    if is_integer(type_name) or is_float(type_name) or type_name.startswith("decimal"):
        return number_literal(value, type_name)
    if type_name == "date" or type_name.startswith("timestamp"):
        return moment_literal(value, type_name)
    return to_json(value, type_name)
