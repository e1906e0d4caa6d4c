"""Input port over an HTTP API that answers in JSON."""

from __future__ import annotations

from dp_dagster.ports.inputs.http.port import HttpInput

__all__ = ["HttpInput"]
