"""The EVENT_STREAM kind: what changed from version to version, as CloudEvents.

``envelope`` says what an event is, ``changes_pages`` reads what there is to tell. One carrier is Server-Sent Events
(``asking``, ``streams``, ``application``), the other one Kafka (``positions``, ``delivering``, ``kafka``). This module
is light; libraries wait until somebody serves or projects.
"""

from dp_dagster.ports.outputs.event_stream.port import EventStreamConfig, EventStreamOutput

__all__ = ["EventStreamConfig", "EventStreamOutput"]
