"""The store: Delta tables that change only by whole, proven versions.

The only place that touches a Delta log. :class:`Table` is the way in: write a candidate, record the verdict
beside it, publish it in one commit, roll back, clean up. Names are loaded on first use, so that reading a
manifest (:mod:`dp_dagster.storage.manifest`) costs no more than reading JSON.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dp_dagster.storage.candidate import Candidate, CandidateFile, Draft
    from dp_dagster.storage.location import (
        TableLocation,
        dataset_table,
        input_quarantine_table,
        input_table,
        quarantine_table,
        transform_table,
    )
    from dp_dagster.storage.snapshot import PublicationEntry, Snapshot
    from dp_dagster.storage.table import Table

__all__ = [
    "Candidate",
    "CandidateFile",
    "Draft",
    "PublicationEntry",
    "Snapshot",
    "Table",
    "TableLocation",
    "dataset_table",
    "input_quarantine_table",
    "input_table",
    "quarantine_table",
    "transform_table",
]

_HOMES = {
    "Candidate": "candidate",
    "CandidateFile": "candidate",
    "Draft": "candidate",
    "PublicationEntry": "snapshot",
    "Snapshot": "snapshot",
    "Table": "table",
    "TableLocation": "location",
    "dataset_table": "location",
    "input_quarantine_table": "location",
    "input_table": "location",
    "quarantine_table": "location",
    "transform_table": "location",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
