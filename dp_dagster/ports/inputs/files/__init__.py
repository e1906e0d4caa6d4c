"""Input ports over files: CSV, Parquet or JSON, local, shipped by a Python package, or behind any fsspec URL."""

from __future__ import annotations

from dp_dagster.ports.inputs.files.config import FilesConfig
from dp_dagster.ports.inputs.files.port import FilesInput

__all__ = ["FilesConfig", "FilesInput"]
