"""Descriptor to resolved product: kinds looked up, contracts loaded, what cannot work refused before any run."""

from __future__ import annotations

from dp_dagster.resolve.model import (
    Line,
    LineState,
    ResolvedDataset,
    ResolvedInput,
    ResolvedOutput,
    ResolvedProduct,
    ResolvedTransform,
)
from dp_dagster.resolve.product import resolve, resolve_inline
from dp_dagster.resolve.project import (
    Failure,
    Project,
    find_descriptors,
    find_product,
    resolve_paths,
    resolve_project,
)

__all__ = [
    "Failure",
    "Line",
    "LineState",
    "Project",
    "ResolvedDataset",
    "ResolvedInput",
    "ResolvedOutput",
    "ResolvedProduct",
    "ResolvedTransform",
    "find_descriptors",
    "find_product",
    "resolve",
    "resolve_inline",
    "resolve_paths",
    "resolve_project",
]
