"""What a port is told of Kafka. Light: read whenever a product is listed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from dp_dagster.descriptor.alerting import Secret  # noqa: TC001 - pydantic reads annotations at run time
from dp_dagster.descriptor.values import fault
from dp_dagster.ports.base import Fault, KindConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.ports.base import OutputContext

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}")
_BROKER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


class KafkaSecurity(KindConfig):
    """How to log in to the brokers. User and password are references to environment variables."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="SASL_SSL", description="How the brokers are spoken to."
    )
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How to log in, with SASL."
    )
    user: Secret | None = Field(default=None, description="Who logs in: `${KAFKA_USER}`.")
    password: Secret | None = Field(default=None, description="Their password: `${KAFKA_PASSWORD}`.")
    ca: str | None = Field(
        default=None, description="File of the authority that signed the brokers' certificates."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.protocol.startswith("SASL") and (self.user is None or self.password is None):
            raise fault(
                f"{self.protocol} wants a user and a password",
                "write user: ${KAFKA_USER} and password: ${KAFKA_PASSWORD}",
            )
        if not self.protocol.startswith("SASL") and (self.user or self.password):
            raise fault(f"{self.protocol} sends no password", "use SASL_SSL, or leave user and password out")
        return self


class KafkaConfig(KindConfig):
    """Where events are sent to, besides being streamed."""

    brokers: str = Field(description="Where the cluster is found: `broker1:9092,broker2:9092`.")
    topic: str | None = Field(
        default=None, description="The topic. By default `<product>.<dataset>.v<major>`; it is never made."
    )
    mode: Literal["binary", "structured"] = Field(
        default="binary",
        description="How CloudEvents are written: attributes in headers (`binary`), or all in one JSON object.",
    )
    seconds: int = Field(
        default=30,
        ge=1,
        le=600,
        description="How long the brokers have to take a message before it has failed.",
    )
    security: KafkaSecurity = Field(
        default=KafkaSecurity(protocol="PLAINTEXT"),
        description="`protocol`, `mechanism`, `user`, `password`, `ca`. By default nobody logs in.",
    )


def kafka_faults(config: KafkaConfig | None) -> Iterable[Fault]:
    """What is wrong with it, as far as that shows without a broker."""
    if config is None:
        return
    if not all(_BROKER.fullmatch(one.strip()) for one in config.brokers.split(",")):
        # Whatever was written may hold a password.
        yield Fault("kafka", "brokers are no list of host:port", "write `brokers: broker1:9092,broker2:9092`")
    if config.topic is not None and not _TOPIC.fullmatch(config.topic):
        yield Fault("kafka", "topic is no name of a topic", "use letters, digits and . _ -")


def topic_of(config: KafkaConfig, context: OutputContext) -> str:
    """The topic. An older major version that stays live has one of its own."""
    default = f"{context.product_id}.{context.dataset}.v{context.major}"
    if config.topic is None:
        return default
    return config.topic if context.is_current else f"{config.topic}.v{context.major}"
