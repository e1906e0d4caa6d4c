"""Configuration of a KAFKA input port."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dp_dagster.ports.base import KindConfig
from dp_dagster.ports.credentials import Secret  # noqa: TC001 - pydantic reads annotations at run time
from dp_dagster.ports.inputs.incremental import IncrementalConfig


class KafkaCredentials(KindConfig):
    """Who logs in (SASL), by reference."""

    user: Secret = Field(description="Name to log in with: `${KAFKA_USER}`.")
    password: Secret = Field(description="Its password: `${KAFKA_PASSWORD}`.")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How the password is shown."
    )


class KafkaConfig(IncrementalConfig):
    """Configuration of a KAFKA input port."""

    servers: str = Field(min_length=1, description="Brokers to begin with: `broker1:9092,broker2:9092`.")
    topic: str = Field(min_length=1, max_length=249, pattern=r"^[a-zA-Z0-9._-]+$", description="The topic.")
    credentials: KafkaCredentials | None = Field(
        default=None, description="`{user: ${KAFKA_USER}, password: ${KAFKA_PASSWORD}}`."
    )
    encrypted: bool | None = Field(
        default=None, description="Whether lines are encrypted (TLS). By default where somebody logs in."
    )
    ca_file: str | None = Field(
        default=None, min_length=1, description="Certificates to trust, as a file; by default the system's."
    )
    format: Literal["json", "text"] = Field(
        default="json",
        description="`json`: each message is an object. `text`: it becomes the column `value`.",
    )
    start: Literal["earliest", "latest"] = Field(
        default="earliest", description="Where to begin: with the oldest message, or with those to come."
    )
    on_lost_messages: Literal["stop", "continue"] = Field(
        default="stop",
        description="When messages are gone before they were read: `stop`, or `continue` with the oldest that is "
        "there.",
    )
    on_bad_message: Literal["stop", "quarantine"] = Field(
        default="stop", description="When a message is no JSON object: `stop`, or set it aside."
    )
    types: dict[str, str] = Field(
        default_factory=dict,
        description="Types by column, as contracts write them (`decimal(12,2)`), over those of the contract.",
    )
    timeout: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Seconds to wait for brokers, and for each message that is there.",
    )

    @property
    def reads_on(self) -> bool:
        """Always: by offsets."""
        return True

    @property
    def is_encrypted(self) -> bool:
        """Whether lines are."""
        return self.credentials is not None if self.encrypted is None else self.encrypted
