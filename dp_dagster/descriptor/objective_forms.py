"""The short and long forms of an ``sla``: how its objectives are read, and the JSON Schema of what may be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.objectives import (
    OBJECTIVES,
    Availability,
    Freshness,
    Latency,
    Objective,
    Volume,
    keys_of,
)
from dp_dagster.descriptor.quantities import AVAILABILITY, QuantityError

if TYPE_CHECKING:
    from dp_dagster.descriptor.paths import Keys


class ObjectiveError(ValueError):
    """An objective that cannot be read. ``at`` leads from the ``sla`` to the value at fault."""

    def __init__(self, message: str, fix: str = "", at: Keys = ()) -> None:
        super().__init__(message)
        self.fix = fix
        self.at = at


def read_objectives(value: Any, origin: str = "sla") -> tuple[Objective, ...]:
    """Read an ``sla``: objectives by name, or the short form, an availability.

    Raises:
        ObjectiveError: it cannot be read; says where and what would be right.
    """
    if not isinstance(value, Mapping):
        return _read_one(Availability, value, (), origin)
    found: list[Objective] = []
    for name, promise in value.items():
        if name not in OBJECTIVES:
            raise ObjectiveError("unknown objective", f"known objectives: {', '.join(OBJECTIVES)}", (name,))
        if promise is None:
            raise ObjectiveError("is empty", "write what is promised", (name,))
        found.extend(_read_one(OBJECTIVES[name], promise, (name,), origin))
    return tuple(found)


def _read_one(kind: type[Objective], value: Any, at: Keys, origin: str) -> tuple[Objective, ...]:
    if kind is Latency and isinstance(value, Mapping):
        percentiles = {key: number for key in value if (number := _percentile(key)) is not None}
        if percentiles:
            return _read_percentiles(value, percentiles, at, origin)
    if not isinstance(value, Mapping):
        return (_build(kind, {kind.short: value}, value, at, origin, short=True),)
    return (_build(kind, value, value, at, origin, short=False),)


def _percentile(key: Any) -> float | None:
    """The number in ``p95`` or ``p99.9``."""
    text = str(key)
    try:
        number = float(text[1:]) if text.startswith("p") and text[1:2].isdigit() else 0.0
    except ValueError:
        return None
    return number if 1 <= number < 100 else None


def _read_percentiles(
    value: Mapping[str, Any], percentiles: Mapping[str, float], at: Keys, origin: str
) -> tuple[Objective, ...]:
    shared = {key: one for key, one in value.items() if key not in percentiles}
    taken = [key for key in ("target", "percentile") if key in shared]
    if taken:
        raise ObjectiveError(
            f"does not go with {', '.join(percentiles)}", "write one or the other", (*at, taken[0])
        )
    found = []
    for key, number in percentiles.items():
        try:
            one = _build(
                Latency,
                {**shared, "target": value[key], "percentile": number},
                value[key],
                at,
                origin,
                short=False,
            )
        except ObjectiveError as error:
            place = tuple(key if part == "target" else part for part in error.at)
            raise ObjectiveError(str(error), error.fix, place) from None
        found.append(one)
    if len({one.id for one in found}) < len(found):
        raise ObjectiveError("names a percentile twice", "write each once", at)
    return tuple(found)


def _build(
    kind: type[Objective], values: Mapping[str, Any], declared: Any, at: Keys, origin: str, *, short: bool
) -> Objective:
    keys = keys_of(kind)
    read: dict[str, Any] = {}
    for key, value in values.items():
        place = at if short else (*at, key)
        if key not in keys:
            raise ObjectiveError("unknown key", f"known keys: {', '.join(keys)}", place)
        if value is None:
            raise ObjectiveError("is empty", f"expected: {keys[key].metadata['description']}", place)
        try:
            read[key] = keys[key].metadata["reader"].read(value)
        except QuantityError as error:
            raise ObjectiveError(str(error), error.fix, place) from None
    for key, one in keys.items():
        if key not in read and one.default is MISSING:
            raise ObjectiveError("is missing", f"add `{key}: …`: {one.metadata['description']}", (*at, key))
    _agree(kind, read, at)
    return kind(**read, declared=declared, origin=origin)


def _agree(kind: type[Objective], read: Mapping[str, Any], at: Keys) -> None:
    """What must hold between the keys of one objective."""
    if kind is Freshness:
        if read.get("warn") is not None and read["warn"] >= read["target"]:
            raise ObjectiveError("must be shorter than the target", "lower it", (*at, "warn"))
        if read.get("column") and "of" in read:
            raise ObjectiveError("does not go with column", "write one or the other", (*at, "of"))
    if kind is Volume:
        if not {"tolerance", "minimum", "maximum"} & set(read):
            raise ObjectiveError(
                "promises nothing", 'write a tolerance such as "20%", a minimum or a maximum', at
            )
        if (
            read.get("minimum") is not None
            and read.get("maximum") is not None
            and read["minimum"] > read["maximum"]
        ):
            raise ObjectiveError("is above the maximum", "lower it", (*at, "minimum"))


def objectives_schema() -> dict[str, Any]:
    """The JSON Schema of an ``sla``."""
    return {
        "anyOf": [
            {**AVAILABILITY.schema, "description": "Availability."},
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {name: _schema_of(kind) for name, kind in OBJECTIVES.items()},
            },
        ]
    }


def _schema_of(kind: type[Objective]) -> dict[str, Any]:
    reference = {"type": "string", "pattern": r"\$\{"}
    properties: dict[str, Any] = {}
    for key, one in keys_of(kind).items():
        schema = one.metadata["reader"].schema
        if schema.get("type") != "string":
            schema = {"anyOf": [schema, reference]}
        properties[key] = {**schema, "description": one.metadata["description"]}
    required = [key for key, one in keys_of(kind).items() if one.default is MISSING]
    long = {"type": "object", "additionalProperties": False, "properties": properties, "required": required}
    choices: list[dict[str, Any]] = [keys_of(kind)[kind.short].metadata["reader"].schema, long]
    if kind is Latency:
        choices.append(
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {"window": properties["window"]},
                "patternProperties": {r"^p[0-9]": properties["target"]},
            }
        )
    return {"description": kind.summary, "anyOf": choices}
