"""The steps of a product: land an input, run a transform, publish a dataset, project a port.

Nothing here knows Dagster. The Dagster projection, the tests and the benchmarks all run these same steps.
"""

from __future__ import annotations

from dp_dagster.pipeline.datasets import PublicationOutcome, publish_dataset
from dp_dagster.pipeline.inputs import land_input
from dp_dagster.pipeline.landing import InputOutcome
from dp_dagster.pipeline.projections import ProjectionOutcome, project_port
from dp_dagster.pipeline.session import Session
from dp_dagster.pipeline.transforms import TransformOutcome, run_transform

__all__ = [
    "InputOutcome",
    "ProjectionOutcome",
    "PublicationOutcome",
    "Session",
    "TransformOutcome",
    "land_input",
    "project_port",
    "publish_dataset",
    "run_transform",
]
