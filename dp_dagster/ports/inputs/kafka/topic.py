"""Reading a topic by offsets that we keep: no group on the broker, nothing committed there."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dp_dagster.errors import InputError, NotInstalledError, StoreError
from dp_dagster.ports.credentials import Secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dp_dagster.ports.inputs.kafka.config import KafkaConfig


@dataclass(frozen=True)
class Range:
    """The messages of one partition that are there: from ``low`` to before ``high``."""

    low: int
    high: int


class Topic:
    """A topic, as an input port names it.

    Args:
        config: The port's configuration.
        what: The port, for messages.

    Raises:
        NotInstalledError: the extra is missing.
        SettingsError: a variable is not set.
    """

    def __init__(self, config: KafkaConfig, what: str) -> None:
        self.config = config
        self.what = what
        self.place = f"{config.servers} {config.topic}"
        self.secrets = Secrets(what)
        self._trouble: list[str] = []
        try:
            import confluent_kafka
        except ImportError as error:
            raise NotInstalledError(
                f"{what}: KAFKA input ports need the extra kafka: pip install 'dp_dagster[kafka]'"
            ) from error
        self._library = confluent_kafka
        self._consumer: Any = None

    @contextmanager
    def opened(self) -> Iterator[Topic]:
        """Connect, and let go in the end.

        Raises:
            StoreError: what a client says when it fails, without secrets.
        """
        try:
            self._consumer = self._library.Consumer(self._settings())
            try:
                yield self
            finally:
                self._consumer.close()
        except self._library.KafkaException as error:
            raise self._explained(error) from None

    def transient(self, error: Exception) -> str | None:
        """Why a failure may pass by itself; ``None`` where it will not."""
        if not isinstance(error, StoreError) or isinstance(error, NotInstalledError):
            return None
        return None if "uthentication" in str(error) or "uthorization" in str(error) else str(error)

    def ranges(self) -> dict[int, Range]:
        """What is there, by partition.

        Raises:
            InputError: there is no such topic.
        """
        timeout = self.config.timeout
        found = self._consumer.list_topics(self.config.topic, timeout=timeout).topics[self.config.topic]
        if found.error is not None:
            if found.error.code() in {
                self._library.KafkaError.UNKNOWN_TOPIC_OR_PART,
                self._library.KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - so the library names its own errors
            }:
                raise InputError(f"{self.what}: {self.place}: there is no such topic")
            raise self._library.KafkaException(found.error)
        ranges = {}
        for number in sorted(found.partitions):
            partition = self._library.TopicPartition(self.config.topic, number)
            low, high = self._consumer.get_watermark_offsets(partition, timeout=timeout)
            ranges[number] = Range(low, high)
        return ranges

    def messages(self, begin: Mapping[int, int], ranges: Mapping[int, Range]) -> Iterator[Any]:
        """The messages from the given offsets on that are there now.

        Offsets need not be without gaps: compaction and the marks of transactions leave some.
        """
        waiting = {number for number, there in ranges.items() if begin[number] < there.high}
        if not waiting:
            return
        partition = self._library.TopicPartition
        self._consumer.assign([partition(self.config.topic, number, begin[number]) for number in waiting])
        end = self._library.KafkaError._PARTITION_EOF  # noqa: SLF001 - so the library names its own errors
        heard = time.monotonic()
        while waiting:
            # It waits as long for the last of so many messages, so the wait is short and goes on.
            batch = self._consumer.consume(1000, timeout=0.05)
            if batch:
                heard = time.monotonic()
            elif time.monotonic() - heard > self.config.timeout:
                raise StoreError(
                    f"{self.what}: {self.place}: no message in {self.config.timeout:g} s, though there are some"
                    f"{self._said()}"
                )
            for message in batch:
                error = message.error()
                if error is not None and error.code() != end:
                    raise self._library.KafkaException(error)
                number = message.partition()
                if error is not None:
                    waiting.discard(number)
                    continue
                if message.offset() < ranges[number].high:
                    yield message
                if message.offset() + 1 >= ranges[number].high:
                    waiting.discard(number)

    def _settings(self) -> dict[str, Any]:
        config = self.config
        given = config.credentials
        milliseconds = int(config.timeout * 1000)
        settings: dict[str, Any] = {
            "bootstrap.servers": config.servers,
            # Required, and never used: offsets are ours.
            "group.id": f"dp_dagster.{self.what}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            "client.id": "dp_dagster",
            "socket.connection.setup.timeout.ms": max(milliseconds, 1000),
            "log_level": 0,
            "error_cb": lambda error: self._trouble.append(error.str()),
            "security.protocol": f"{'SASL_' if given else ''}{'SSL' if config.is_encrypted else 'PLAINTEXT'}",
        }
        if given is not None:
            settings |= {
                "sasl.mechanism": given.mechanism,
                "sasl.username": self.secrets.value(given.user),
                "sasl.password": self.secrets.value(given.password),
            }
        if config.ca_file is not None:
            settings["ssl.ca.location"] = config.ca_file
        return settings

    def _explained(self, error: Exception) -> Exception:
        cause = error.args[0] if error.args else error
        text = cause.str() if hasattr(cause, "str") else str(cause)
        return StoreError(f"{self.what}: {self.place}: {self.secrets.hide(text)}{self._said()}")

    def _said(self) -> str:
        """What the client has told of brokers meanwhile."""
        heard = list(dict.fromkeys(self._trouble))[:2]
        return f" ({self.secrets.hide('; '.join(heard))[:300]})" if heard else ""
