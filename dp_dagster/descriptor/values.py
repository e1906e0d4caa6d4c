"""The types of single values in a descriptor: what is accepted, and what is said about the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, InstanceOf, WithJsonSchema
from pydantic_core import PydanticCustomError

from dp_dagster.descriptor.dialects import API_VERSION
from dp_dagster.descriptor.names import ID_PATTERN, MAX_LENGTH, VERSION_PATTERN, id_fault
from dp_dagster.descriptor.objective_forms import ObjectiveError, objectives_schema, read_objectives
from dp_dagster.descriptor.partitions import Calendar, PartitionsError
from dp_dagster.descriptor.partitions import parse as parse_partitions
from dp_dagster.descriptor.refresh import REAL_TIME, SHORT_FORMS, RefreshRate, RefreshRateError, parse
from dp_dagster.settings import Masks

ERROR_TYPE = "dp"
"""Type of the errors below; their context holds ``said``, ``fix`` and ``at`` (keys below the field)."""

_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+\.[^@\s<>]+\Z")
_CONTRACT = re.compile(
    r"[^:\s][^:]*\.py:[A-Za-z_][A-Za-z0-9_]*\Z|[^:\s][^:]*\.odcs\.(yaml|yml|json)(:[^:\s][^:]*)?\Z"
)
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
_TAG_KEY = re.compile(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}\Z")
_TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}\Z")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,12})?)\s*%\Z")
_DECIMAL = re.compile(r"[0-9]{0,3}\.?[0-9]{1,15}(e-[0-9]{1,2})?\Z")


def fault(said: str, fix: str = "", at: tuple[str | int, ...] = ()) -> PydanticCustomError:
    """The error that a validator raises; ``at`` leads from its field to the value at fault.

    ``said`` must not hold the value, which may come from the environment; it is put in front as it was written.
    """
    return PydanticCustomError(ERROR_TYPE, "{said}", {"said": said, "fix": fix, "at": at})


def _refresh_rate(value: Any) -> RefreshRate:
    """A refresh rate in its short or long form."""
    try:
        return parse(value)
    except RefreshRateError as error:
        raise fault(str(error), error.fix, (error.key,) if error.key else ()) from error


def _partitions(value: Any) -> Calendar:
    """Partitions of time."""
    try:
        return parse_partitions(value)
    except PartitionsError as error:
        raise fault(str(error), error.fix, (error.key,) if error.key else ()) from error


def _share(value: Any) -> Fraction:
    """A share of rows: ``0.5%`` or ``0.005``, below 100 %."""
    fix = "write a percentage such as 0.5% or a share such as 0.005"
    text = str(value).strip()
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise fault("wants a share of rows", fix)
    percent = _PERCENT.match(text)
    if percent:
        share = Fraction(percent.group(1)) / 100
    elif _DECIMAL.match(text):
        share = Fraction(text)
        if share >= 1:
            raise fault("is a share of 1 or more", f"as a percentage, write {text}%")
    else:
        raise fault("is no share of rows", fix)
    if share >= 1:
        raise fault("is the share of a dataset of which no row is good", "write less than 100%")
    return share


def _identifier(value: str) -> str:
    problem = id_fault(value)
    if problem:
        raise fault(*problem)
    return value


def _product_id(value: str) -> str:
    problem = id_fault(value, product=True)
    if problem:
        raise fault(*problem)
    return value


def _version(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise fault("is a number for YAML", "write a semantic version of three numbers, such as 1.10.0")
    if not isinstance(value, str):
        raise fault("wants text", "write a semantic version such as 1.2.0")
    if len(value) > 100 or not re.match(VERSION_PATTERN, value) or value.endswith("\n"):
        raise fault("is no semantic version", "write three numbers, such as 1.2.0 or v1.2.0")
    return value.removeprefix("v")


def _api_version(value: str) -> str:
    if value != API_VERSION:
        raise fault("is not a version that this release reads", f"write {API_VERSION}")
    return value


def _text(value: str) -> str:
    if not value.strip():
        raise fault("is empty", "write something, or leave the key out")
    return value


def _email(value: str) -> str:
    if not _EMAIL.match(value):
        raise fault("is no e-mail address", "write name@example.com")
    return value


def _contract(value: str) -> str:
    if not _CONTRACT.match(value):
        raise fault(
            "names no contract",
            "write file.py:Name, such as contracts/flights.py:Flights, or file.odcs.yaml:name for an ODCS document",
        )
    return value


def _kind(value: str) -> str:
    if not _KIND.match(value):
        raise fault("is no kind", "write a kind such as SQL or FILES")
    return value.upper().replace("-", "_")


def _tags(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise fault("wants a mapping", "write tags as `name: value`")
    for key, label in value.items():
        if not _TAG_KEY.match(key):
            raise fault("is no name for a tag", "use up to 63 letters, digits, _ . and -", (key,))
        if not isinstance(label, str):
            raise fault("wants text", "write it in quotes", (key,))
        if not _TAG_VALUE.match(label):
            raise fault("is no value for a tag", "use up to 63 letters, digits, _ . and -", (key,))
    return dict(value)


def _objectives(value: Any) -> dict[str, Any]:
    """Objectives by name as they were written; whoever measures them reads them with ``read_objectives``."""
    try:
        read_objectives(value)
    except ObjectiveError as error:
        raise fault(str(error), error.fix, error.at) from error
    return dict(value) if isinstance(value, Mapping) else {"availability": value}


def _open(value: Any) -> Any:
    if not isinstance(value, Mapping | list | tuple):
        raise fault("wants a mapping or a list", "write `name: value` lines or `- ` items")
    return value


_DURATION_SCHEMA = {"type": "string", "pattern": "^P", "examples": ["PT30M", "PT6H", "P2D"]}
_REFRESH_SCHEMA = {
    "anyOf": [
        {"enum": [*SHORT_FORMS, REAL_TIME]},
        {"type": "string", "minLength": 1, "description": "An ISO 8601 duration or a cron expression."},
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["every"],
            "properties": {
                "every": {
                    "type": "string",
                    "description": "hourly, daily, weekly, real-time, a duration or a cron expression.",
                },
                "maximum_lag": {
                    **_DURATION_SCHEMA,
                    "description": "How late is too late. Default: half the period; one hour for real-time.",
                },
                "warn_lag": {
                    **_DURATION_SCHEMA,
                    "description": "How late is worth a warning. Default: half of maximum_lag.",
                },
                "timezone": {"type": "string", "description": "IANA name; default UTC."},
            },
        },
    ]
}
_PARTITIONS_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["by", "start"],
    "properties": {
        "by": {"enum": ["hour", "day", "week", "month"], "description": "How long each partition is."},
        "start": {
            "type": "string",
            "description": "First day of the first partition: `2026-01-01`. Weeks begin on Monday.",
        },
        "end": {
            "type": "string",
            "description": "Day after the last partition. By default they go on.",
        },
        "timezone": {
            "type": "string",
            "description": "IANA name of the zone on whose clocks partitions begin; default UTC, and for hours always.",
        },
    },
}
_SHARE_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": "^[0-9.]+(\\s*%)?$|\\$\\{"},
        {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    ]
}
_ID_SCHEMA = {"type": "string", "pattern": ID_PATTERN, "maxLength": MAX_LENGTH}

ApiVersion = Annotated[str, AfterValidator(_api_version), WithJsonSchema({"enum": [API_VERSION]})]
Text = Annotated[str, AfterValidator(_text), WithJsonSchema({"type": "string", "minLength": 1})]
Identifier = Annotated[str, AfterValidator(_identifier), WithJsonSchema(_ID_SCHEMA)]
ProductId = Annotated[str, AfterValidator(_product_id), WithJsonSchema(_ID_SCHEMA)]
Version = Annotated[
    str, BeforeValidator(_version), WithJsonSchema({"type": "string", "pattern": VERSION_PATTERN})
]
Email = Annotated[
    str, AfterValidator(_email), WithJsonSchema({"type": "string", "pattern": "^[^@\\s]+@[^@\\s]+$"})
]
Contract = Annotated[
    str,
    AfterValidator(_contract),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[^:\\s][^:]*(\\.py:[A-Za-z_][A-Za-z0-9_]*|\\.odcs\\.(yaml|yml|json)(:[^:\\s][^:]*)?)$",
        }
    ),
]
KindName = Annotated[str, AfterValidator(_kind), WithJsonSchema({"type": "string"})]
Tags = Annotated[
    Mapping[str, str],
    BeforeValidator(_tags),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
Objectives = Annotated[Mapping[str, Any], BeforeValidator(_objectives), WithJsonSchema(objectives_schema())]


def _names(value: Any) -> Any:
    """One name, or a list of them."""
    return (value,) if isinstance(value, str) else value


Names = Annotated[
    tuple[Text, ...],
    BeforeValidator(_names),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
            ]
        }
    ),
]
MaskMethods = Annotated[
    Masks,
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"enum": ["hash", "redact", "partial", "null", None]},
        }
    ),
]
OpenMapping = Annotated[Any, AfterValidator(_open), WithJsonSchema({"type": ["object", "array"]})]
Refresh = Annotated[InstanceOf[RefreshRate], BeforeValidator(_refresh_rate), WithJsonSchema(_REFRESH_SCHEMA)]
Share = Annotated[InstanceOf[Fraction], BeforeValidator(_share), WithJsonSchema(_SHARE_SCHEMA)]
Partitions = Annotated[InstanceOf[Calendar], BeforeValidator(_partitions), WithJsonSchema(_PARTITIONS_SCHEMA)]
