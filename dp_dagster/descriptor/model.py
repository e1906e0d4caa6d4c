"""The descriptor as frozen models: what a product declares, before any kind is looked up.

Ports and transforms hold the fields that all kinds share; ``options`` holds the rest, which the kind's own
``Config`` validates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date  # noqa: TC003 - pydantic reads annotations at run time
from typing import Any, Literal

from pydantic import Field, model_validator

from dp_dagster.descriptor.access import Grant, Who  # noqa: TC001 - pydantic reads annotations at run time
from dp_dagster.descriptor.alerting import Alerts, Secret, or_reference
from dp_dagster.descriptor.base import Model
from dp_dagster.descriptor.dialects import API_VERSION
from dp_dagster.descriptor.values import (  # noqa: TC001 - pydantic reads annotations at run time
    ApiVersion,
    Contract,
    Email,
    Identifier,
    KindName,
    MaskMethods,
    Objectives,
    OpenMapping,
    Partitions,
    ProductId,
    Refresh,
    Share,
    Tags,
    Text,
    Version,
)

Status = Literal["draft", "active", "deprecated", "retired"]


class Owner(Model):
    """Who answers for the product."""

    team: Text = Field(description="The team that owns the product.")
    email: Email | None = Field(default=None, description="Where to reach the team.")


class Support(Model):
    """Where consumers ask."""

    channel: Text | None = Field(default=None, description="Chat channel.")
    email: Email | None = Field(default=None, description="Address for questions.")
    url: Text | None = Field(default=None, description="Page for questions or tickets.")


class Quarantine(Model):
    """How many bad rows may be set aside while the good ones are published."""

    max_invalid: Share = Field(
        description="Largest share of rows that may fail (`0.5%` or `0.005`), the rest being published."
    )


class Documents(Model):
    """Documents of other standards that the product was made from."""

    odps: Text | None = Field(
        default=None, description="The product's ODPS document; `dp export` starts from it."
    )
    odcs: tuple[Text, ...] = Field(
        default=(), description="ODCS contracts of ports that no dataset or input of the product has."
    )


class _KindModel(Model):
    """A part whose further keys belong to its kind."""

    options: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        common = cls.keys()
        known = {key: value for key, value in data.items() if key in common}
        return {**known, "options": {key: value for key, value in data.items() if key not in common}}

    @classmethod
    def keys(cls) -> frozenset[str]:
        """The keys that all kinds share."""
        return frozenset(cls.model_fields) - {"options"}


class InputPort(_KindModel):
    """Where data comes from."""

    name: Identifier = Field(description="Name of the input, a table for this product's transforms.")
    type: KindName = Field(description="Kind of input port.")
    description: str | None = Field(default=None, description="What comes in, in Markdown.")
    contract: Contract | None = Field(
        default=None,
        description="What must hold of the data that comes in: `contracts/inputs.py:RawFlights`.",
    )
    refresh_rate: Refresh | None = Field(default=None, description="How often there is something new.")
    quarantine: Quarantine | None = Field(
        default=None, description="Without it, one row that breaks the contract holds all that comes in."
    )
    partitioned_by: Text | None = Field(
        default=None,
        description="The date or timestamp column that says which of the product's `partitions` a row belongs to. The "
        "path of files may name the partition instead: `orders/{partition}.csv`.",
    )


class Transform(_KindModel):
    """How data is changed on its way."""

    name: Identifier = Field(description="Name of the transform, a table for the transforms after it.")
    type: KindName = Field(description="Kind of transform.")
    description: str | None = Field(default=None, description="What it does, in Markdown.")


class Consumer(Model):
    """Somebody outside who reads an output port; products that read one register by themselves."""

    name: Identifier = Field(description="Who: a team, a report, an application.")
    port: Identifier = Field(description="The output port that is read.")
    major: int | None = Field(
        default=None, ge=0, description="Its major version. By default the current one."
    )
    columns: tuple[Text, ...] = Field(
        default=(), description="Columns that the consumer relies on. By default all of them."
    )
    rules: tuple[Text, ...] | None = Field(
        default=None,
        description="Rules of the dataset's contract that the consumer relies on, by id; `[]` for none. By default "
        "all rules on its columns.",
    )
    contact: Secret | None = Field(
        default=None, description="How to tell them: a reference to an apprise URL, `${SHOP_REPORT_URL}`."
    )


class Deprecation(Model):
    """The end of a major version: until when it is published, and what to use instead."""

    sunset: date = Field(description="Day from which it is no longer kept up: `2027-03-31`.")
    note: Text | None = Field(default=None, description="What to use instead.")
    after_sunset: Literal["warn", "refuse"] = Field(
        default="warn", description="Past the sunset, publishing warns, or refuses."
    )


class _Promise(Model):
    """What is published under one major version, and the contract that it keeps."""

    source: Identifier = Field(
        alias="from", description="The transform, dbt model or input port whose rows are published."
    )
    contract: Contract = Field(
        description="The contract: `contracts/flights.py:Flights`, or `contracts/shop.odcs.yaml:orders`."
    )
    key: tuple[Text, ...] = Field(
        default=(), description="Columns that identify a row. By default the contract's key."
    )
    sort_by: tuple[Text, ...] = Field(
        default=(), description="Columns that the published rows are sorted by."
    )
    quarantine: Quarantine | None = Field(
        default=None, description="Without it, one bad row holds the whole version."
    )
    deprecated: Deprecation | None = Field(default=None, description="Until when it is published.")
    partitioned_by: Text | None = Field(
        default=None,
        description="The date or timestamp column by which it is cut into the product's `partitions`: each is made, "
        "judged and replaced by itself.",
    )


class DatasetVersion(_Promise):
    """An older major version of a dataset that stays live beside the current one."""

    major: int = Field(ge=0, description="The major version.")


class Dataset(_Promise):
    """What is published: a table that keeps a contract."""

    name: Identifier = Field(description="Name of the dataset.")
    description: str | None = Field(default=None, description="What it is, in Markdown.")
    masks: MaskMethods = Field(
        default_factory=dict,
        description="How classified columns are masked by default, by classification: `{pii: hash}`; `default` stands "
        "for all others. By default as the platform's settings say.",
    )
    versions: tuple[DatasetVersion, ...] = Field(
        default=(),
        description="Older major versions that stay live: every port of the dataset shows them, too.",
    )


class OutputPort(_KindModel):
    """How consumers reach a dataset."""

    name: Identifier | None = Field(
        default=None, description="Name of the port. By default the last part of its endpoint."
    )
    type: KindName = Field(description="Kind of output port.")
    dataset: Identifier | None = Field(
        default=None, description="The dataset behind it. By default the only one."
    )
    endpoint: Text | None = Field(default=None, description="Public address, where the kind has one.")
    description: str | None = Field(default=None, description="Who it is for, in Markdown.")
    sla: Objectives | None = Field(
        default=None, description='`"99.9%"` (availability), or objectives by name.'
    )
    refresh_rate: Refresh | None = Field(
        default=None, description="When fresh data is due. By default the product's rate."
    )
    readers: Who | None = Field(
        default=None,
        description="Of ports that hand out files: whom everybody who reads the storage is taken for. They get what "
        "`access` gives these, in a copy if that is less than all.",
    )


class Descriptor(Model):
    """What ``product.yaml`` declares."""

    api_version: ApiVersion = Field(default=API_VERSION, description="Version of this document's form.")
    product_id: ProductId = Field(description="Id of the product, unique on the platform.")
    version: Version = Field(
        description="Semantic version; its first number is the major version of the ports."
    )
    name: Text | None = Field(default=None, description="Name for people.")
    domain: Text | None = Field(default=None, description="Business domain.")
    owner: Owner | None = Field(default=None, description="Who answers for the product.")
    description: str | None = Field(default=None, description="Markdown; the first line is a plain summary.")
    status: Status = Field(default="active", description="Stage of the product's life.")
    tags: Tags = Field(default_factory=dict, description="Labels, text to text.")
    support: Support | None = Field(default=None, description="Where consumers ask.")
    refresh_rate: Refresh | None = Field(default=None, description="Default rate of all ports.")
    partitions: Partitions | None = Field(
        default=None,
        description="The stretches of time that inputs and datasets with `partitioned_by` are cut into: "
        "`{by: month, start: 2026-01-01}`; see docs/partitions.md.",
    )
    sla: Objectives | None = Field(default=None, description="Default objectives of all output ports.")
    alerts: Alerts | None = Field(
        default=None,
        json_schema_extra=or_reference,
        description="Who is told what, and when. A reference alone is one channel for everything.",
    )
    infrastructure: OpenMapping | None = Field(
        default=None, description="What the product runs on. Not evaluated yet."
    )
    documents: Documents | None = Field(
        default=None, description="What `dp import` read. `dp export` hands it back, with later changes."
    )
    consumers: tuple[Consumer, ...] = Field(
        default=(), description="Who reads output ports from outside; a change that breaks them names them."
    )
    access: tuple[Grant, ...] = Field(default=(), description="Who may see what: grants; see docs/access.md.")
    input_ports: tuple[InputPort, ...] = Field(default=(), description="Where data comes from.")
    transforms: tuple[Transform, ...] = Field(default=(), description="How data is changed.")
    datasets: tuple[Dataset, ...] = Field(default=(), description="What is published, each with a contract.")
    output_ports: tuple[OutputPort, ...] = Field(default=(), description="How datasets are reached.")

    @property
    def major(self) -> int:
        """The first number of the version."""
        return int(re.split(r"\.", self.version, maxsplit=1)[0])

    @property
    def title(self) -> str:
        """The name for people, or the id."""
        return self.name or self.product_id

    @property
    def summary(self) -> str:
        """The first line of the description; empty without one."""
        return (self.description or "").strip().partition("\n")[0].strip()
