"""The command ``dp``."""

from __future__ import annotations

from dp_dagster.cli.app import main

__all__ = ["main"]
