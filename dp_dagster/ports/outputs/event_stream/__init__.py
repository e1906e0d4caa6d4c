"""The EVENT_STREAM kind: what changed from version to version, as CloudEvents.

``envelope`` says what an event is, ``changes_pages`` reads what there is to tell; the carriers are ``application``
(Server-Sent Events) and ``kafka``. This module is light; libraries wait until somebody serves or projects.
"""

from dp_dagster.ports.outputs.event_stream.port import EventStreamConfig, EventStreamOutput

__all__ = ["EventStreamConfig", "EventStreamOutput"]
