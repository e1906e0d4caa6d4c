"""CloudEvents into a Kafka topic: an idempotent producer, and a batch that is either taken whole or has failed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.interpolation import REFERENCE
from dp_dagster.errors import OperatorError, SettingsError
from dp_dagster.ports.outputs.event_stream.kafka_config import topic_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dp_dagster.access.view import DatasetView
    from dp_dagster.ports.base import OutputContext
    from dp_dagster.ports.outputs.event_stream.envelope import Envelope, Event
    from dp_dagster.ports.outputs.event_stream.kafka_config import KafkaConfig
    from dp_dagster.ports.outputs.event_stream.port import EventStreamConfig
    from dp_dagster.ports.outputs.event_stream.positions import Positions

_STRUCTURED = "application/cloudevents+json; charset=utf-8"
_ASK_SECONDS = 10.0
_LOCK_SECONDS = 1.0


class DeliveryError(OperatorError):
    """The brokers did not take what they were sent."""


class KafkaSender:
    """Sends events to one topic.

    Events with one key go to one partition, so they stay in order; the producer is idempotent, so a message that is
    sent again by the library is not there twice.

    Args:
        config: Where to.
        topic: The topic.

    Raises:
        SettingsError: a variable with a secret is not set.
        DeliveryError: the brokers do not answer, or lack the topic.
    """

    def __init__(self, config: KafkaConfig, topic: str) -> None:
        from confluent_kafka import KafkaException, Producer

        self._topic = topic
        self._is_structured = config.mode == "structured"
        self._faults: list[str] = []
        self._seconds = config.seconds
        self._producer = Producer(_settings(config), logger=_SILENT)
        try:
            found = self._producer.list_topics(topic, timeout=min(_ASK_SECONDS, config.seconds))
        except KafkaException as error:
            raise DeliveryError(f"the brokers do not answer: {error.args[0].str()}") from None
        fault = found.topics[topic].error
        if fault is not None:
            raise DeliveryError(f"topic {topic} cannot be written: {fault.str()}")

    def send(self, events: Iterable[Event]) -> int:
        """Send events, and wait until the brokers have all of them.

        Raises:
            DeliveryError: they do not have all of them; some may be there.
        """
        sent = 0
        self._faults.clear()
        for event in events:
            self._produce(event)
            sent += 1
        left = self._producer.flush(self._seconds + 5)
        if left or self._faults:
            self._producer.purge()
            reason = self._faults[0] if self._faults else f"{left} messages were not taken in time"
            raise DeliveryError(f"events were not taken: {reason}")
        return sent

    def _produce(self, event: Event) -> None:
        attributes = event.attributes
        key = str(attributes.get("subject", f"{attributes['type'].rpartition('.')[0]}"))
        headers: list[tuple[str, str | bytes | None]]
        if self._is_structured:
            headers = [("content-type", _STRUCTURED)]
            value = event.structured()
        else:
            headers = [
                (f"ce_{name}", str(said)) for name, said in attributes.items() if name != "datacontenttype"
            ]
            headers.append(("content-type", attributes["datacontenttype"]))
            value = event.data
        while True:
            try:
                self._producer.produce(
                    self._topic, value.encode(), key.encode(), headers=headers, on_delivery=self._delivered
                )
                break
            except BufferError:
                # What is waiting to be sent has its bounds.
                self._producer.poll(0.1)
        self._producer.poll(0)

    def _delivered(self, fault: Any, _message: Any) -> None:
        if fault is not None:
            self._faults.append(fault.str())


def deliver(  # noqa: PLR0917 - what a delivery is made of
    config: EventStreamConfig,
    context: OutputContext,
    envelope: Envelope,
    positions: Positions,
    readers: DatasetView,
    version: int,
) -> int:
    """Bring the topic of a port up to a version; gives how many events were sent. One process at a time.

    Raises:
        DeliveryError: the brokers did not take all.
        LockedError: another process is delivering.
        StoreError: what is to be sent cannot be read.
        SettingsError: a variable with a secret is not set.
    """
    from dp_dagster.access.masks import Masks
    from dp_dagster.changes.kept import Changes
    from dp_dagster.ports.outputs.event_stream.changes_pages import ChangePages, engine_of
    from dp_dagster.ports.outputs.event_stream.delivering import Deliverer
    from dp_dagster.storage.location import dataset_table, product_directory
    from dp_dagster.storage.locks import hold

    assert config.kafka is not None
    settings = context.settings
    location = dataset_table(settings.storage, context.product_id, context.major, context.dataset)
    lock = f"events.v{context.major}.{context.port_name}.lock"
    folder = product_directory(settings.storage, context.product_id) / ".locks"
    what = f"delivery of {context.product_id}.{context.port_name}"
    with hold(folder / lock, what, f"delivery of version {version}", _LOCK_SECONDS, settings.storage):
        masks = Masks.from_environment()
        masks.check(readers)
        engine = engine_of(settings.state_directory / "spill")
        deliverer = Deliverer(
            envelope=envelope,
            pages=ChangePages(Changes(location), masks, engine),
            positions=positions,
            sender=KafkaSender(config.kafka, topic_of(config.kafka, context)),
            view=readers,
            masks=masks,
            engine=engine,
        )
        deliverer.deliver(version)
        return deliverer.sent


def _settings(config: KafkaConfig) -> dict[str, Any]:
    security = config.security
    settings: dict[str, Any] = {
        "bootstrap.servers": config.brokers,
        "client.id": "dp_dagster",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "message.timeout.ms": config.seconds * 1000,
        "linger.ms": 5,
        "allow.auto.create.topics": False,
        "security.protocol": security.protocol,
        "log_level": 0,
    }
    if security.ca:
        settings["ssl.ca.location"] = security.ca
    if security.protocol.startswith("SASL"):
        settings["sasl.mechanism"] = security.mechanism
        settings["sasl.username"] = _secret(security.user)
        settings["sasl.password"] = _secret(security.password)
    return settings


def _secret(reference: str | None) -> str:
    name = (reference or "")[2:-1]
    if not REFERENCE.fullmatch(reference or ""):
        raise SettingsError("user and password of kafka must be references, ${NAME}")
    value = os.environ.get(name)
    if not value:
        raise SettingsError(f"environment variable {name} is not set; kafka: security names it")
    return value


def _silent() -> Any:
    import logging

    logger = logging.getLogger("dp_dagster.kafka")
    # What went wrong is said in our own errors.
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


_SILENT = _silent()
