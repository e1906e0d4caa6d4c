"""Records: who did what to which product, appended for good and chained by hash."""

from __future__ import annotations

from dp_dagster.records.actors import os_user, service
from dp_dagster.records.model import KINDS, Kind, Record
from dp_dagster.records.store import Records, append_within
from dp_dagster.records.verification import Anchor, ChainProblem, Verification

__all__ = [
    "KINDS",
    "Anchor",
    "ChainProblem",
    "Kind",
    "Record",
    "Records",
    "Verification",
    "append_within",
    "os_user",
    "service",
]
