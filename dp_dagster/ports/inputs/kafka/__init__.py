"""Input port over a Kafka topic."""

from __future__ import annotations

from dp_dagster.ports.inputs.kafka.port import KafkaInput

__all__ = ["KafkaInput"]
