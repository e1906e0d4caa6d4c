"""The kind KAFKA of input ports."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from dp_dagster.errors import InputError
from dp_dagster.ports.base import Fault, InputContext, InputPort, KindConfig, Landing, Rejected, Written
from dp_dagster.ports.inputs.json_numbers import loads
from dp_dagster.ports.inputs.kafka.config import KafkaConfig
from dp_dagster.ports.retries import with_retries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import duckdb

    from dp_dagster.ports.inputs.kafka.topic import Range, Topic

AnswerT = TypeVar("AnswerT")

PARTITION, OFFSET, TIMESTAMP, KEY = "kafka_partition", "kafka_offset", "kafka_timestamp", "kafka_key"
DELETED = "kafka_deleted"
_TYPES = {PARTITION: "int32", OFFSET: "int64", TIMESTAMP: "timestamp(UTC)", KEY: "string"}
_SAY_EVERY_SECONDS = 5.0
_SHOWN = 100


class _BadMessageError(Exception):
    """A message that cannot become a row; says why."""


class KafkaInput(InputPort[KafkaConfig]):
    """Messages of a topic: each once, by offsets that are committed with the rows."""

    kind = "KAFKA"
    summary = "a Kafka topic"
    extra = "kafka"
    Config: ClassVar[type[KindConfig]] = KafkaConfig

    def check(self, config: KafkaConfig, product_root: Path) -> Iterable[Fault]:
        """Addresses of brokers, and options that go together."""
        for server in config.servers.split(","):
            host, _, port = server.strip().rpartition(":")
            if not host or not port.isdigit() or "/" in host or "@" in host:
                yield Fault("servers", "want host:port, one or several", "write broker1:9092,broker2:9092")
                break
        if config.landing_mode == "replace":
            yield Fault(
                "mode", "replace reads a topic from its beginning each time", "leave it out, or write merge"
            )
        if config.on_bad_message == "quarantine" and config.format == "text":
            yield Fault("on_bad_message", "says nothing with format text", "remove it")
        yield from config.faults()

    def location(self, config: KafkaConfig) -> str:
        """The brokers and the topic."""
        # Only a faulty configuration has anything in front of an @.
        servers = ",".join(server.rpartition("@")[2] for server in config.servers.split(","))
        return f"{' '.join(servers.split())} {config.topic}"

    def landing(self, config: KafkaConfig) -> Landing:
        """Added, or merged by key: messages without a value delete theirs."""
        landing = config.landing(None)
        if landing.mode != "merge" or landing.deleted is not None:
            return landing
        return Landing(landing.mode, landing.key, None, DELETED, landing.on_schema_change)

    def identity(self, config: KafkaConfig) -> str:
        """The topic and how its messages are read; brokers come and go."""
        fetched = {"credentials", "timeout", "retries", "servers", "encrypted", "ca_file", "on_schema_change"}
        return config.model_dump_json(exclude=fetched | {"on_lost_messages", "on_bad_message"})

    def fingerprint(self, config: KafkaConfig, context: InputContext) -> str:
        """The offsets that the topic ends with."""
        return self._asked(config, context, lambda topic: _digest(topic.ranges()))

    def write(
        self,
        config: KafkaConfig,
        context: InputContext,
        connection: duckdb.DuckDBPyConnection,
        destination: Path,
    ) -> Written:
        """Write the messages that are new since the state."""
        return self._asked(
            config, context, lambda topic: self._read(config, context, connection, destination, topic)
        )

    def _read(
        self,
        config: KafkaConfig,
        context: InputContext,
        connection: duckdb.DuckDBPyConnection,
        destination: Path,
        topic: Topic,
    ) -> Written:
        from dp_dagster.ports.inputs.records import Records

        ranges = topic.ranges()
        begin = _begin(config, context, ranges)
        types = {**_TYPES, **config.types}
        if config.landing_mode == "merge":
            types[DELETED] = "bool"
        if config.format == "text":
            types["value"] = "string"
        rejected: list[Rejected] = []
        said = time.monotonic()
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", suffix=".ndjson", dir=destination.parent, prefix=".records-"
        ) as file:
            records = Records(context, types, file)
            for message in topic.messages(begin, ranges):
                try:
                    records.add(_record(config, message))
                except _BadMessageError as error:
                    at = f"message {message.offset()} of partition {message.partition()}"
                    if config.on_bad_message == "stop":
                        raise InputError(
                            f"{context.what}: {topic.place}: {at} {error}; set on_bad_message: quarantine to go on"
                        ) from None
                    rejected.append(Rejected("message", f"{at} {error}", json.dumps(_raw(message))))
                if time.monotonic() - said > _SAY_EVERY_SECONDS:
                    said = time.monotonic()
                    context.say(f"{context.what}: {records.count:,} messages so far")
            rejected += records.write(
                connection, destination, topic.place, sets_aside=config.on_schema_change == "quarantine"
            )
        offsets = {str(number): max(begin[number], there.high) for number, there in ranges.items()}
        return Written({"offsets": offsets}, _digest(ranges), rejected=tuple(rejected))

    def _asked(
        self, config: KafkaConfig, context: InputContext, question: Callable[[Topic], AnswerT]
    ) -> AnswerT:
        from dp_dagster.ports.inputs.kafka.topic import Topic

        topic = Topic(config, context.what)

        def attempt() -> AnswerT:
            with topic.opened():
                return question(topic)

        # Whoever only watches is asked again soon enough.
        retries = 0 if context.run_id == "watch" else config.retries
        return with_retries(attempt, retries=retries, reason=topic.transient, say=context.say)


def _begin(config: KafkaConfig, context: InputContext, ranges: Mapping[int, Range]) -> dict[int, int]:
    """Where to begin in each partition.

    Raises:
        InputError: messages are gone before they were read, and that is to stop it.
    """
    state = context.state or {}
    known = {int(number): int(offset) for number, offset in state.get("offsets", {}).items()}
    if context.state is None and config.start == "latest":
        return {number: there.high for number, there in ranges.items()}
    # A partition that came later is read from its beginning.
    begin = {number: known.get(number, there.low) for number, there in ranges.items()}
    lost = []
    for number, there in ranges.items():
        if begin[number] < there.low:
            lost.append(f"offsets {begin[number]} to {there.low - 1} of partition {number} are gone")
            begin[number] = there.low
        elif begin[number] > there.high:
            lost.append(
                f"partition {number} ends at {there.high} and was read to {begin[number]}, so it is another one"
            )
            begin[number] = there.low
    if lost and config.on_lost_messages == "stop":
        raise InputError(
            f"{context.what}: {config.topic}: {'; '.join(lost)}; set on_lost_messages: continue to go on without them"
        )
    for loss in lost:
        context.say(f"{context.what}: {loss}")
    return begin


def _record(config: KafkaConfig, message: Any) -> dict[str, Any]:
    kind, milliseconds = message.timestamp()
    key = message.key()
    value = message.value()
    record: dict[str, Any] = {
        PARTITION: message.partition(),
        OFFSET: message.offset(),
        TIMESTAMP: datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat() if kind else None,
        KEY: None if key is None else _text(key, "key"),
    }
    if config.landing_mode == "merge":
        record[DELETED] = value is None
    if value is None:
        # What the key says of its row is all that there is.
        return {**(_object(key) or {} if key is not None else {}), **record}
    text = _text(value, "value")
    if config.format == "text":
        return {"value": text, **record}
    found = _object(text)
    if found is None:
        raise _BadMessageError(f"is no JSON object: {text[:_SHOWN]!r}")
    if clash := sorted({*record} & {*found}):
        raise _BadMessageError(f"has fields of the names {', '.join(clash)}, which say where it came from")
    return {**found, **record}


def _object(text: str | bytes) -> dict[str, Any] | None:
    try:
        found = loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _text(content: bytes, what: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _BadMessageError(f"has a {what} that is no UTF-8") from None


def _raw(message: Any) -> dict[str, Any]:
    """A message as the quarantine keeps it."""
    return {
        PARTITION: message.partition(),
        OFFSET: message.offset(),
        KEY: None if message.key() is None else message.key().decode(errors="backslashreplace"),
        "value": None if message.value() is None else message.value().decode(errors="backslashreplace"),
    }


def _digest(ranges: Mapping[int, Range]) -> str:
    ends = {number: there.high for number, there in ranges.items()}
    return hashlib.sha256(json.dumps(ends, sort_keys=True).encode()).hexdigest()[:32]
