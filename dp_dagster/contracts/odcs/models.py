"""The parts of an ODCS document (versions 3.0 to 3.2), as far as their shape can be told by a schema.

One set of models for all versions: a field that came later says so (``since``), and what an older version left
open (``lenient_before``) stays open in a document of that version. :mod:`.reading` checks both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from dp_dagster.descriptor.values import fault

Version = tuple[int, int]

V31: Version = (3, 1)
V32: Version = (3, 2)

OPERATORS = (
    "mustBe",
    "mustNotBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
    "mustNotBeBetween",
)
"""How a quality rule compares what it counted; a rule has one of them."""

_STABLE_ID = re.compile(r"[^\s.#/\\@!%&^]+\Z")
_REFERENCE = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)+\Z", re.ASCII)
_PATH = re.compile(
    r"((https?://)?[A-Za-z0-9._/-]+\.ya?ml#)?/?"
    r"[A-Za-z_][A-Za-z0-9_]*/[^\s.#/\\@!%&^]+(/[A-Za-z_][A-Za-z0-9_]*/[^\s.#/\\@!%&^]+)*\Z"
)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise fault("wants a number")
    return value


def _two_numbers(value: list[Any]) -> list[Any]:
    if len(value) != 2:
        raise fault("wants two numbers", "write [lowest, highest]")
    if value[0] >= value[1]:
        raise fault(
            f"names {value[0]} before {value[1]}", "write the smaller number first, and two different ones"
        )
    return value


def _stable_id(value: str) -> str:
    if not _STABLE_ID.match(value):
        raise fault("is no stable id", "leave out spaces and the characters . # / \\ @ ! % & ^")
    return value


def _reference(value: Any) -> Any:
    found = value if isinstance(value, list) else [value]
    if not found or not all(isinstance(one, str) for one in found):
        raise fault("wants one reference or a list of them", "write schema.property")
    for number, one in enumerate(found):
        if not _REFERENCE.match(one) and not _PATH.match(one):
            at = (number,) if isinstance(value, list) else ()
            raise fault("is no reference", "write schema.property, such as customers.id", at)
    return value


def _distinct(value: list[Any]) -> list[Any]:
    if any(one in value[:number] for number, one in enumerate(value)):
        raise fault("names the same value twice", "write each once")
    return value


def _scalar(value: Any) -> Any:
    if isinstance(value, Mapping | list):
        raise fault("wants a single value")
    return value


def _text_or_mapping(value: Any) -> Any:
    if not isinstance(value, str | Mapping):
        raise fault("wants text or a mapping")
    return value


def _port(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise fault("wants a port", "write a number")
    return value


def _context(value: Any) -> Any:
    return value if isinstance(value, str) else Context.model_validate(value)


Text = StrictStr
Number = Annotated[Any, AfterValidator(_number)]
Range = Annotated[list[Number], AfterValidator(_two_numbers)]
StableId = Annotated[StrictStr, AfterValidator(_stable_id)]
Scalar = Annotated[Any, AfterValidator(_scalar)]
Reference = Annotated[Any, AfterValidator(_reference)]
Port = Annotated[Any, AfterValidator(_port)]


def later(version: Version, **options: Any) -> Any:
    """A field that is optional and came with a later version of the standard."""
    return Field(default=None, json_schema_extra={"since": list(version)}, **options)


class Part(BaseModel):
    """A part of a document. Unknown keys are told by :mod:`.reading`, which knows the document's version."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    lenient_before: ClassVar[Version] = (0, 0)
    """Documents of an older version may hold keys that the standard does not name."""


class CustomProperty(Part):
    """Something that the standard has no key for."""

    lenient_before = V31
    id: StableId | None = later(V31)
    property: Text | None = None
    value: Any = None
    description: Text | None = later(V31)
    vendor: Text | None = later(V32)


class AuthoritativeDefinition(Part):
    """Where more is said."""

    lenient_before = V31
    id: StableId | None = later(V31)
    url: Text
    type: Text
    description: Text | None = later(V31)


class Described(Part):
    """What many parts carry."""

    authoritative_definitions: list[AuthoritativeDefinition] | None = Field(
        None, alias="authoritativeDefinitions"
    )
    custom_properties: list[CustomProperty] | None = Field(None, alias="customProperties")

    def custom(self, name: str) -> Any:
        """The value of a custom property; ``None`` without one."""
        found = (one.value for one in self.custom_properties or () if one.property == name)
        return next(found, None)


class Description(Described):
    """What the data is for, in words."""

    lenient_before = (99, 0)
    usage: Text | None = None
    purpose: Text | None = None
    limitations: Text | None = None


class Statement(Described):
    """A question that an answer was verified for."""

    id: Text | None = None
    question: Text
    answer: Text | None = None
    tags: list[Text] | None = None


class Constraint(Described):
    """What whoever uses the data should keep to."""

    id: Text | None = None
    constraint: Text
    tags: list[Text] | None = None


class Context(Part):
    """What a language model should know of the data."""

    instructions: Text | None = None
    verified_statements: list[Statement] | None = Field(None, alias="verifiedStatements")
    constraints: list[Constraint] | None = None


ContextField = Annotated[Any, AfterValidator(_context)]


class Quality(Described):
    """A rule of quality."""

    lenient_before = V31
    id: StableId | None = later(V31)
    name: Text | None = None
    type: Literal["text", "library", "sql", "custom"] | None = None
    description: Text | None = None
    dimension: (
        Literal[
            "accuracy",
            "completeness",
            "conformity",
            "consistency",
            "coverage",
            "timeliness",
            "uniqueness",
        ]
        | None
    ) = None
    method: Text | None = None
    severity: Text | None = None
    business_impact: Text | None = Field(None, alias="businessImpact")
    tags: list[Text] | None = None
    unit: Text | None = None
    schedule: Text | None = None
    scheduler: Text | None = None
    metric: Text | None = later(V31)
    rule: Text | None = None
    arguments: dict[str, Any] | None = later(V31)
    query: Text | None = None
    engine: Text | None = None
    implementation: Annotated[Any, AfterValidator(_text_or_mapping)] = None
    must_be: Any = Field(None, alias="mustBe")
    must_not_be: Any = Field(None, alias="mustNotBe")
    must_be_greater_than: Number = Field(None, alias="mustBeGreaterThan")
    must_be_greater_or_equal_to: Number = Field(None, alias="mustBeGreaterOrEqualTo")
    must_be_less_than: Number = Field(None, alias="mustBeLessThan")
    must_be_less_or_equal_to: Number = Field(None, alias="mustBeLessOrEqualTo")
    must_be_between: Range | None = Field(None, alias="mustBeBetween")
    must_not_be_between: Range | None = Field(None, alias="mustNotBeBetween")


class Relationship(Part):
    """A reference to values of another schema."""

    id: Text | None = later(V32)
    type: Literal["foreignKey"] = "foreignKey"
    source: Reference = Field(None, alias="from")
    target: Reference = Field(alias="to")
    custom_properties: list[CustomProperty] | None = Field(None, alias="customProperties")


class Synonym(Part):
    """Another name."""

    id: StableId | None = None
    synonym: Text
    description: Text | None = None
    locale: Text | None = None
    source: Text | None = None
    status: Text | None = None
    custom_properties: list[CustomProperty] | None = Field(None, alias="customProperties")


class EnumValue(Described):
    """One allowed value."""

    value: Scalar
    label: Text | None = None
    id: StableId | None = None
    description: Text | None = None
    tags: list[Text] | None = None


class Element(Described):
    """What schema objects and properties have in common."""

    id: StableId | None = later(V31)
    name: Text | None = None
    physical_type: Text | None = Field(None, alias="physicalType")
    physical_name: Text | None = Field(None, alias="physicalName")
    description: Text | None = None
    business_name: Text | None = Field(None, alias="businessName")
    deprecated: StrictBool | None = later(V32)
    synonyms: list[Synonym] | None = later(V32)
    tags: list[Text] | None = None
    quality: list[Quality] | None = None
    relationships: list[Relationship] | None = later(V31)


class MapTypes(Part):
    """What keys and values of a map are."""

    key: Property
    value: Property


class Property(Element):
    """A property; the name is asked for by whoever needs one, since items of an array have none."""

    primary_key: StrictBool | None = Field(None, alias="primaryKey")
    primary_key_position: StrictInt | None = Field(None, alias="primaryKeyPosition")
    logical_type: Text | None = Field(None, alias="logicalType")
    options: dict[str, Any] | None = Field(None, alias="logicalTypeOptions")
    required: StrictBool | None = None
    unique: StrictBool | None = None
    semantic_type: Literal["column", "measure", "dimension"] | None = later(V32, alias="semanticType")
    partitioned: StrictBool | None = None
    partition_key_position: StrictInt | None = Field(None, alias="partitionKeyPosition")
    classification: Text | None = None
    encrypted_name: Text | None = Field(None, alias="encryptedName")
    transform_source_objects: list[Text] | None = Field(None, alias="transformSourceObjects")
    transform_logic: Text | None = Field(None, alias="transformLogic")
    transform_description: Text | None = Field(None, alias="transformDescription")
    examples: list[Any] | None = None
    enum: Annotated[list[EnumValue], Field(min_length=1), AfterValidator(_distinct)] | None = later(V32)
    critical_data_element: StrictBool | None = Field(None, alias="criticalDataElement")
    properties: list[Property] | None = None
    items: Property | None = None
    map: MapTypes | None = later(V32)


class SchemaObject(Element):
    """A table."""

    name: Text
    logical_type: Literal["object", "blob"] | None = Field(None, alias="logicalType")
    data_granularity: Text | None = Field(None, alias="dataGranularityDescription")
    properties: list[Property] | None = None
    context: ContextField = later(V32)


MapTypes.model_rebuild()  # names Property, which stands below it
