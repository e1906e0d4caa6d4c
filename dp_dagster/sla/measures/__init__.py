"""How each objective is judged: pure functions of the objective, the facts and the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dp_dagster.descriptor.objectives import OBJECTIVES
from dp_dagster.sla.measures import (
    age,
    answers,
    contents,
    dates,
    incidents,
    partition_age,
    partition_contents,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from dp_dagster.descriptor.objectives import Objective
    from dp_dagster.sla.facts import Facts, Measured, Partitions

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

BY_PARTITION: Mapping[str, Callable[[Any, Facts, Partitions, datetime], Measured]] = {
    "completeness": partition_contents.completeness,
    "freshness": partition_age.freshness,
    "frequency": partition_age.frequency,
    "time_of_availability": partition_age.time_of_availability,
    "volume": partition_contents.volume,
}
"""What is judged by the partition that is due, where the dataset has any."""

AS_A_WHOLE: Mapping[str, str] = {
    "availability": "a port answers or it does not, whichever partitions it shows",
    "end_of_life": "a date of the port",
    "end_of_support": "a date of the port",
    "error_rate": "answers fail whichever partitions they are about",
    "general_availability": "a date of the port",
    "latency": "answers take their time whichever partitions they are about",
    "retention": "what is kept and can be gone back to are versions; each has all partitions of its time",
    "support_hours": "hours of people",
    "time_to_detect": "the deadlines of the other objectives are those of partitions already",
    "time_to_repair": "judged by candidates that were held; one is repaired when its own partitions are published",
}
"""What is not, and why."""

if set(MEASURES) != set(OBJECTIVES):
    raise AssertionError("each objective needs exactly one measure")
if set(MEASURES) != {*BY_PARTITION, *AS_A_WHOLE}:
    raise AssertionError("of each objective it is said what it means for a dataset with partitions")


def measure(objective: Objective, facts: Facts, now: datetime) -> Measured:
    """Judge one objective, by the partition that is due where there are partitions and it is about one."""
    if facts.partitions is not None and objective.name in BY_PARTITION:
        return BY_PARTITION[objective.name](objective, facts, facts.partitions, now)
    return MEASURES[objective.name](objective, facts, now)
