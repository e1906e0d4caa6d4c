"""The parts of an ODPS document (Open Data Product Standard of Bitol, 0.9 to 1.1).

One set of models for all versions: what came with 1.1 is marked, what only older versions require is listed.
:mod:`.odps_reading` checks both.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictStr
from pydantic.alias_generators import to_camel

from dp_dagster.descriptor.values import fault

VERSIONS = {"v0.9.0": False, "v1.0.0": False, "v1.1.0": True}
"""Values of ``apiVersion`` that are read, and whether it is 1.1 or later."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+\Z")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z")


def _uri(value: str) -> str:
    if not _URI.match(value):
        raise fault("is no URI", "write it with its scheme, such as https://… or mailto:…")
    return value


def _day(value: str) -> str:
    try:
        if len(value) == len("2024-01-31"):
            date.fromisoformat(value)
            return value
    except ValueError:
        pass
    raise fault("is no date", "write it as 2024-01-31")


def _moment(value: str) -> str:
    try:
        if _MOMENT.match(value):
            datetime.fromisoformat(value.upper())
            return value
    except ValueError:
        pass
    raise fault("is no point in time", "write it as 2024-01-31T12:00:00Z")


Text = StrictStr
Uri = Annotated[StrictStr, AfterValidator(_uri)]
Day = Annotated[StrictStr, AfterValidator(_day)]
Moment = Annotated[StrictStr, AfterValidator(_moment)]


def later(**options: Any) -> Any:
    """A field that came with 1.1."""
    return Field(default=None, json_schema_extra={"later": True}, **options)


class Part(BaseModel):
    """A part of a document: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    required_before_1_1: ClassVar[tuple[str, ...]] = ()
    """Keys that older versions require and 1.1 does not."""


class CustomProperty(Part):
    """A pair of key and value that the standard leaves to others."""

    id: Text | None = later()
    property: Text
    value: Any
    description: Text | None = None
    vendor: Text | None = later()


class AuthoritativeDefinition(Part):
    """A link to more about something."""

    id: Text | None = later()
    type: Text
    url: Uri
    description: Text | None = None


class Described(Part):
    """What most parts carry."""

    custom_properties: list[CustomProperty] | None = None
    authoritative_definitions: list[AuthoritativeDefinition] | None = None


class Tagged(Described):
    """What many parts carry."""

    tags: list[Text] | None = None


class Synonym(Part):
    """Another name for something."""

    id: Text | None = None
    synonym: Text
    description: Text | None = None
    locale: Text | None = None
    source: Text | None = None
    status: Text | None = None
    custom_properties: list[CustomProperty] | None = None


class Statement(Tagged):
    """A question, and how to answer it."""

    id: Text | None = None
    question: Text
    answer: Text | None = None


class Constraint(Tagged):
    """What must not be done."""

    id: Text | None = None
    constraint: Text


class Context(Part):
    """Guidance for tools that answer questions."""

    instructions: Text | None = None
    verified_statements: list[Statement] | None = None
    constraints: list[Constraint] | None = None


class Description(Described):
    """What the product is for."""

    purpose: Text | None = None
    limitations: Text | None = None
    usage: Text | None = None


class InputPort(Tagged):
    """What the product reads."""

    required_before_1_1 = ("version", "contractId")
    deprecated: StrictBool | None = later()
    id: Text | None = later()
    name: Text
    version: Text | None = None
    contract_id: Text | None = None


class Sbom(Tagged):
    """A list of what something is made of."""

    required_before_1_1 = ("url",)
    id: Text | None = later()
    type: Text | None = None
    url: Uri | None = None
    tags: list[Text] | None = later()
    custom_properties: list[CustomProperty] | None = later()
    authoritative_definitions: list[AuthoritativeDefinition] | None = later()


class InputContract(Part):
    """A contract that an output port depends on."""

    id: Text
    version: Text


class OutputPort(Tagged):
    """How consumers reach the product."""

    required_before_1_1 = ("version",)
    deprecated: StrictBool | None = later()
    id: Text | None = later()
    name: Text
    description: Text | None = None
    type: Text | None = None
    version: Text | None = None
    contract_id: Text | None = None
    sbom: list[Sbom] | None = None
    input_contracts: list[InputContract] | None = None
    synonyms: list[Synonym] | None = later()
    context: Context | None = later()


class ManagementPort(Tagged):
    """How the product is managed."""

    deprecated: StrictBool | None = later()
    id: Text | None = later()
    name: Text
    content: Text
    type: Text | None = None
    url: Uri | None = None
    channel: Text | None = None
    description: Text | None = None


class Support(Tagged):
    """Where consumers ask."""

    id: Text | None = later()
    channel: Text
    url: Uri
    description: Text | None = None
    tool: Text | None = None
    scope: Text | None = None
    invitation_url: Uri | None = None


class TeamMember(Tagged):
    """Somebody who works on the product."""

    id: Text | None = later()
    username: Text
    name: Text | None = None
    description: Text | None = None
    role: Text | None = None
    date_in: Day | None = None
    date_out: Day | None = None
    replaced_by_username: Text | None = None


class Team(Tagged):
    """Who answers for the product."""

    name: Text | None = None
    description: Text | None = None
    members: list[TeamMember] | None = None


class Product(Tagged):
    """The document."""

    required_before_1_1 = ("status",)
    api_version: Text
    kind: Literal["DataProduct"]
    id: Text
    name: Text | None = None
    deprecated: StrictBool | None = later()
    synonyms: list[Synonym] | None = later()
    version: Text | None = None
    status: Text | None = None
    domain: Text | None = None
    type: Text | None = later()
    context: Context | None = later()
    tenant: Text | None = None
    description: Description | None = None
    input_ports: list[InputPort] | None = None
    output_ports: list[OutputPort] | None = None
    management_ports: list[ManagementPort] | None = None
    support: list[Support] | None = None
    team: Team | None = None
    product_created_ts: Moment | None = None
