"""Evolution: what changed between two versions of a contract, and whom it breaks."""

from __future__ import annotations

from dp_dagster.contracts.evolution.changes import Change, Comparison, compare, relied_upon
from dp_dagster.contracts.evolution.classification import CLASSIFICATION, Classification, Effect

__all__ = ["CLASSIFICATION", "Change", "Classification", "Comparison", "Effect", "compare", "relied_upon"]
