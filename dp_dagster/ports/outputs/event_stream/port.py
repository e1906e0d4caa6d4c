"""The EVENT_STREAM kind: configuration, addresses, and what a projection computes."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from dp_dagster.ports.access_words import how_to_get_access
from dp_dagster.ports.base import Delivery, Example, Fault, KindConfig, Missing, OutputContext, Projected
from dp_dagster.ports.endpoints import credential_header, endpoint_faults, served_address, served_path
from dp_dagster.ports.outputs.event_stream.kafka_config import KafkaConfig, kafka_faults, topic_of
from dp_dagster.ports.served import ServedConfig, ServedPort

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Contract
    from dp_dagster.ports.outputs.event_stream.envelope import Envelope
    from dp_dagster.ports.outputs.event_stream.positions import Positions
    from dp_dagster.ports.served import PortHost
    from dp_dagster.storage import Snapshot
    from dp_dagster.storage.manifest import Manifest

_LIBRARIES = ("orjson", "cryptography", "uvicorn")


class EventStreamConfig(ServedConfig):
    """Configuration of an EVENT_STREAM output port."""

    endpoint: str | None = Field(
        default=None,
        description="Public address, `https://events.example.com/v1/customers`; the port is served at its path. By "
        "default `/<product>/v<major>/<port>`.",
    )
    stream_seconds: int = Field(
        default=900,
        ge=1,
        le=86_400,
        description="How long one answer lasts at most. Then the consumer comes back, goes on where it was, and is "
        "asked again who it is.",
    )
    kafka: KafkaConfig | None = Field(
        default=None,
        description="A topic that events are sent to as well: `brokers`, `topic`, `mode`, `security`. The port's "
        "`readers` say whom its readers are taken for.",
    )


class EventStreamOutput(ServedPort[EventStreamConfig]):
    """Rows inserted, updated and deleted from version to version, and each publication, as CloudEvents.

    Consumers begin with all rows or with what comes next, and go on from the last event that they have.
    """

    kind = "EVENT_STREAM"
    summary = "rows inserted, updated and deleted, as CloudEvents over server-sent events"
    Config: ClassVar[type[KindConfig]] = EventStreamConfig

    def check(self, config: EventStreamConfig, product_root: Path) -> Iterable[Fault]:
        """An endpoint must be an address whose path can be served; brokers and topic must be names."""
        yield from endpoint_faults(config.endpoint)
        yield from kafka_faults(config.kafka)

    def check_dataset(
        self, config: EventStreamConfig, contract: Contract, key: tuple[str, ...]
    ) -> Iterable[Fault]:
        """Rows must have a key: without one, nobody can say which row it is that changed."""
        if not key:
            yield Fault(
                "dataset",
                "has no key, so nobody can tell which of its rows changed",
                "name its key in the contract, or write `key: [id]` at the dataset",
            )

    def missing(self, config: EventStreamConfig) -> Missing | None:
        """The web's libraries come with an extra."""
        if not all(find_spec(name) for name in _LIBRARIES):
            return Missing("an EVENT_STREAM port", "serve")
        if config.kafka is not None and find_spec("confluent_kafka") is None:
            return Missing("an EVENT_STREAM port with kafka", "kafka")
        return None

    def badges(self, config: EventStreamConfig) -> frozenset[str]:
        """Events, and where they are sent to."""
        return frozenset({"cloudevents"} | ({"kafka"} if config.kafka else set()))

    def path(self, config: EventStreamConfig, context: OutputContext) -> str:
        """The endpoint's path, or ``/<product>/v<major>/<port>``."""
        return served_path(config.endpoint, _default_path(context), context)

    def address(self, config: EventStreamConfig, context: OutputContext) -> str:
        """The endpoint, or where ``dp serve`` listens by default."""
        return served_address(config.endpoint, _default_path(context), context)

    def access(self, config: EventStreamConfig, context: OutputContext) -> str:
        """By what ``auth`` says; of a topic, by what its brokers say."""
        asked = how_to_get_access(config.auth, context)
        if config.kafka is None:
            return asked
        return f"{asked} Of the topic `{topic_of(config.kafka, context)}`, its brokers say who may read it."

    def examples(self, config: EventStreamConfig, context: OutputContext) -> tuple[Example, ...]:
        """With curl, and with Python."""
        address = self.address(config, context)
        header = credential_header(config.auth)
        credential = f' -H "{header[0]}: {header[1]}"' if header else ""
        given = ""
        if header is not None:
            prefix, _, variable = header[1].rpartition("$")
            value = f'os.environ["{variable}"]'
            given = f', headers={{"{header[0]}": {f"{prefix!r} + {value}" if prefix else value}}}'
        python = (
            f"import {'os, ' if header else ''}httpx, json\n"
            f'with httpx.stream("GET", "{address}?snapshot=newest"{given}, timeout=60) as answer:\n'
            "    for line in answer.iter_lines():\n"
            '        if line.startswith("data: "):\n'
            "            print(json.loads(line[6:]))"
        )
        return (
            Example("shell", f"curl -N{credential} '{address}?snapshot=newest'"),
            Example("python", python),
        )

    def project(
        self, config: EventStreamConfig, context: OutputContext, snapshot: Snapshot, manifest: Manifest
    ) -> Projected:
        """What the publication changed is computed and kept; servers follow the manifest."""
        from dp_dagster.changes.kept import Changes

        one = Changes(snapshot.location).bring_up_to(snapshot, context.key or context.contract.key)
        counts = {} if one.kind == "break" else {name: getattr(one.counts, name) for name in _COUNTED}
        return Projected(
            self.address(config, context),
            {
                "path": self.path(config, context),
                **counts,
                **({"begins again": one.reason} if one.reason else {}),
            },
        )

    def pushes(self, config: EventStreamConfig) -> bool:
        """Where there is a topic to send to."""
        return config.kafka is not None

    def deliver(
        self, config: EventStreamConfig, context: OutputContext, readers: DatasetView, version: int
    ) -> Delivery:
        """Bring the topic up to a version. Brokers that are down stop nothing else."""
        from dp_dagster.errors import DataProductError
        from dp_dagster.ports.outputs.event_stream.kafka import deliver

        positions, target = self._positions(config, context)
        try:
            sent = deliver(config, context, self.envelope(config, context), positions, readers, version)
        except DataProductError as error:
            since = positions.failed(str(error))
            return replace(self.delivery(config, context, version), fault=str(error), since=since)
        return Delivery(target, version, version, sent=sent)

    def delivery(self, config: EventStreamConfig, context: OutputContext, version: int | None) -> Delivery:
        """How far the topic has come."""
        positions, target = self._positions(config, context)
        position = positions.read()
        fault, since = positions.fault()
        return Delivery(target, position.complete if position else None, version, fault=fault, since=since)

    def _positions(self, config: EventStreamConfig, context: OutputContext) -> tuple[Positions, str]:
        from dp_dagster.ports.outputs.event_stream.positions import Positions

        assert config.kafka is not None
        target = f"kafka:{topic_of(config.kafka, context)}"
        port = f"v{context.major}/{context.port_name}"
        return Positions(context.settings, context.product_id, port, target), target

    def application(
        self, config: EventStreamConfig, context: OutputContext, host: PortHost
    ) -> Callable[[dict[str, Any], Any, Any], Awaitable[None]]:
        """The ASGI application: the stream, and the schema of its events' data."""
        from dp_dagster.access.masks import Masks
        from dp_dagster.changes.kept import Changes
        from dp_dagster.ports.outputs.event_stream.application import EventStreamApplication
        from dp_dagster.ports.outputs.event_stream.changes_pages import ChangePages, engine_of
        from dp_dagster.storage.location import dataset_table

        settings = context.settings
        location = dataset_table(settings.storage, context.product_id, context.major, context.dataset)
        pages = ChangePages(
            Changes(location), Masks.from_environment(), engine_of(settings.state_directory / "spill")
        )
        largest = config.limits.over(settings.limits).response_bytes
        return EventStreamApplication(
            self.envelope(config, context),
            context.contract,
            pages,
            host,
            self.path(config, context),
            seconds=config.stream_seconds,
            largest=largest if isinstance(largest, int) else None,
        )

    def envelope(self, config: EventStreamConfig, context: OutputContext) -> Envelope:
        """What all events of a port say of it."""
        from dp_dagster.ports.outputs.event_stream.envelope import Envelope

        return Envelope(context.product_id, context.dataset, context.major, self.address(config, context))


_COUNTED = ("inserted", "updated", "deleted")


def _default_path(context: OutputContext) -> str:
    return f"/{context.product_id}/v{context.major}/{context.port_name}"
