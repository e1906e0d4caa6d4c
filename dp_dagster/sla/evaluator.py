"""The evaluator of an environment: its readings, and whoever counts the answers of its served ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dp_dagster.sla.round import Evaluator
from dp_dagster.sla.store import Readings

if TYPE_CHECKING:
    from dp_dagster.settings import Settings


def evaluator_for(settings: Settings) -> Evaluator:
    """What evaluates the objectives of products under these settings."""
    return Evaluator(Readings(settings.resolved_records_url, lock_timeout=settings.lock_timeout))
