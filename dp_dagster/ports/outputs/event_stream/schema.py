"""The schema of an event's data, as JSON Schema: what ``dataschema`` of each event points to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.contracts.row_schema import DIALECT, row_schema

if TYPE_CHECKING:
    from dp_dagster.access.view import DatasetView
    from dp_dagster.contracts.model import Contract
    from dp_dagster.ports.outputs.event_stream.envelope import Envelope


def data_schema(contract: Contract, view: DatasetView, envelope: Envelope) -> dict[str, Any]:
    """The data of events about rows, as far as somebody may see them.

    A reader may have asked for fewer columns, and an earlier version may have had fewer, so none is required.
    """
    row, _ = row_schema(contract)
    properties = {
        name: {"description": "masked"} if name in view.masks else row["properties"][name]
        for name in view.columns
        if name in row["properties"]
    }
    one = {"type": "object", "properties": properties}
    key = {
        "type": "object",
        "properties": {name: properties[name] for name in contract.key if name in properties},
    }
    return {
        "$schema": DIALECT,
        "$id": f"{envelope.source}/schema.json?contract={contract.hash}",
        "title": f"Data of the events of {envelope.product}.{envelope.dataset}",
        "type": "object",
        "properties": {
            "key": key,
            "before": {"anyOf": [{"type": "null"}, one]},
            "after": {"anyOf": [{"type": "null"}, one]},
        },
        "required": ["key", "before", "after"],
    }
