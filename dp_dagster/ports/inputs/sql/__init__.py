"""Input port over a table or query of a database."""

from __future__ import annotations

from dp_dagster.ports.inputs.sql.port import SqlInput

__all__ = ["SqlInput"]
