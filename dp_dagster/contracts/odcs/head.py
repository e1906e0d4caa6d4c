"""An ODCS document as a whole, and its parts around the schema: people, support, price, service levels."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from dp_dagster.contracts.odcs.models import (
    V31,
    V32,
    AuthoritativeDefinition,
    ContextField,
    CustomProperty,
    Described,
    Description,
    Number,
    Part,
    Scalar,
    SchemaObject,
    StableId,
    Text,
    later,
)


class Role(Part):
    """A role that gives access."""

    lenient_before = V31
    id: StableId | None = later(V31)
    role: Text
    description: Text | None = None
    access: Text | None = None
    first_level_approvers: Text | None = Field(None, alias="firstLevelApprovers")
    second_level_approvers: Text | None = Field(None, alias="secondLevelApprovers")
    custom_properties: list[CustomProperty] | None = Field(None, alias="customProperties")


class Server(Part):
    """What servers of all types have in common; :mod:`.servers` knows the rest."""

    lenient_before = (99, 0)
    id: StableId | None = later(V31)
    roles: list[Role] | None = None
    custom_properties: list[CustomProperty] | None = Field(None, alias="customProperties")


class TeamMember(Described):
    """A person."""

    lenient_before = V31
    id: StableId | None = later(V31)
    username: Text | None = None
    name: Text | None = None
    description: Text | None = None
    role: Text | None = None
    date_in: Text | None = Field(None, alias="dateIn")
    date_out: Text | None = Field(None, alias="dateOut")
    replaced_by: Text | None = Field(None, alias="replacedByUsername")
    tags: list[Text] | None = later(V31)


class Team(Described):
    """People, as documents from 3.1 on write them."""

    id: StableId | None = None
    name: Text | None = None
    description: Text | None = None
    members: list[TeamMember] | None = None
    tags: list[Text] | None = None


class SupportItem(Part):
    """Where to ask."""

    lenient_before = V31
    id: StableId | None = later(V31)
    channel: Text
    url: Text | None = None
    description: Text | None = None
    tool: Text | None = None
    scope: Text | None = None
    invitation_url: Text | None = Field(None, alias="invitationUrl")
    custom_properties: list[CustomProperty] | None = later(V31, alias="customProperties")


class Price(Part):
    """What it costs."""

    lenient_before = V31
    id: StableId | None = later(V31)
    amount: Number = Field(None, alias="priceAmount")
    currency: Text | None = Field(None, alias="priceCurrency")
    unit: Text | None = Field(None, alias="priceUnit")


class ServiceLevel(Described):
    """A promise about the service."""

    lenient_before = V31
    id: StableId | None = later(V31)
    property: Text
    value: Scalar
    value_ext: Scalar = Field(None, alias="valueExt")
    unit: Text | None = None
    element: Text | None = None
    driver: Text | None = None
    description: Text | None = later(V31)
    scheduler: Text | None = later(V31)
    schedule: Text | None = later(V31)
    authoritative_definitions: list[AuthoritativeDefinition] | None = later(
        V32, alias="authoritativeDefinitions"
    )
    custom_properties: list[CustomProperty] | None = later(V32, alias="customProperties")


class Head(Described):
    """A whole document without the parts that are validated one by one."""

    version: Text
    api_version: Text = Field(alias="apiVersion")
    kind: Literal["DataContract"]
    id: Text
    name: Text | None = None
    tenant: Text | None = None
    tags: list[Text] | None = None
    status: Text | None = None
    servers: list[Server] | None = None
    data_product: Text | None = Field(None, alias="dataProduct")
    description: Description | None = None
    domain: Text | None = None
    context: ContextField = later(V32)
    schema_: list[SchemaObject] | None = Field(None, alias="schema")
    support: list[SupportItem] | None = None
    price: Price | None = None
    team: Any = None
    roles: list[Role] | None = None
    sla_default_element: Text | None = Field(None, alias="slaDefaultElement")
    sla_properties: list[ServiceLevel] | None = Field(None, alias="slaProperties")
    created: Text | None = Field(None, alias="contractCreatedTs")
