"""How each objective is judged: pure functions of the objective, the facts and the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.objectives import OBJECTIVES
from dp_dagster.sla.measures import age, answers, contents, dates, incidents

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from dp_dagster.descriptor.objectives import Objective
    from dp_dagster.sla.facts import Facts, Measured

MEASURES: Mapping[str, Callable[[Any, Facts, datetime], Measured]] = {
    "availability": answers.availability,
    "completeness": contents.completeness,
    "end_of_life": dates.end_of_life,
    "end_of_support": dates.end_of_support,
    "error_rate": answers.error_rate,
    "freshness": age.freshness,
    "frequency": age.frequency,
    "general_availability": dates.general_availability,
    "latency": answers.latency,
    "retention": contents.retention,
    "support_hours": dates.support_hours,
    "time_of_availability": age.time_of_availability,
    "time_to_detect": incidents.time_to_detect,
    "time_to_repair": incidents.time_to_repair,
    "volume": contents.volume,
}
"""By name of the objective."""

if set(MEASURES) != set(OBJECTIVES):
    raise AssertionError("each objective needs exactly one measure")


def measure(objective: Objective, facts: Facts, now: datetime) -> Measured:
    """Judge one objective."""
    return MEASURES[objective.name](objective, facts, now)
