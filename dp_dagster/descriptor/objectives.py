"""Service level objectives: what an ``sla`` may promise.

An objective is a frozen dataclass of its own. Its fields say how they are read; the JSON Schema, the messages and
the table in the documentation come from them. How an ``sla`` is read stands in
:mod:`dp_dagster.descriptor.objective_forms`, what is measured, and how, in :mod:`dp_dagster.sla`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from dp_dagster.descriptor.quantities import (
    AVAILABILITY,
    BASIS,
    COLUMN,
    COUNT,
    DEADLINE,
    HOURS,
    MOMENT,
    PERCENTILE,
    RATE,
    SHARE,
    SPAN,
    TOLERANCE,
    VERSIONS,
    ZONE,
    Reader,
    WeeklyHours,
)

if TYPE_CHECKING:
    from datetime import datetime
    from fractions import Fraction

    from dp_dagster.descriptor.refresh import RefreshRate

MONTH = timedelta(days=30)
DAY = timedelta(days=1)


def _key(reader: Reader[Any], description: str) -> dict[str, Any]:
    """What a field says of the key that it is read from."""
    return {"reader": reader, "description": description}


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One promise about an output port.

    Attributes:
        declared: As its author wrote it.
        origin: Where it stands: ``sla``, ``refresh_rate``, ``deprecated``, or the place of a property in a contract.
        ordinal: Above 1 where a contract promises the same thing several times.
    """

    name: ClassVar[str]
    short: ClassVar[str]
    """The key that the short form stands for."""
    summary: ClassVar[str]
    """What is measured."""
    example: ClassVar[Any]
    """A short form, for the documentation."""

    declared: Any = None
    origin: str = "sla"
    ordinal: int = 1

    @property
    def id(self) -> str:
        """Its name in checks, readings and messages; unique on a port."""
        return self.name if self.ordinal == 1 else f"{self.name}_{self.ordinal}"

    @property
    def promise(self) -> str:
        """What is promised, in a few words."""
        value = (
            self.declared[self.short]
            if isinstance(self.declared, Mapping) and self.short in self.declared
            else self.declared
        )
        if isinstance(value, Mapping):
            value = ", ".join(f"{key} {one}" for key, one in value.items())
        return str(value)


@dataclass(frozen=True, kw_only=True)
class Availability(Objective):
    """The share of good answers."""

    name = "availability"
    short = "target"
    summary = "Share of good answers of the port, and of synthetic probes while nobody calls."
    example = "99.9%"

    target: Fraction = field(metadata=_key(AVAILABILITY, "Share of answers that must be good."))
    window: timedelta = field(
        metadata=_key(SPAN, "Over how long. What the target leaves of it is the budget."), default=MONTH
    )


@dataclass(frozen=True, kw_only=True)
class ErrorRate(Objective):
    """The share of answers that failed."""

    name = "error_rate"
    short = "target"
    summary = "Share of answers that failed through no fault of the caller."
    example = "0.1%"

    target: Fraction = field(metadata=_key(SHARE, "Largest share of answers that may fail."))
    window: timedelta = field(metadata=_key(SPAN, "Over how long."), default=MONTH)


@dataclass(frozen=True, kw_only=True)
class Latency(Objective):
    """How long answers take."""

    name = "latency"
    short = "target"
    summary = "Percentile of the time that answers take. `{p95: 200ms, p99: 1s}` is short for two of them."
    example = "200ms"

    target: timedelta = field(metadata=_key(SPAN, "How long the answer at the percentile may take."))
    percentile: float = field(metadata=_key(PERCENTILE, "Of the answers, by duration."), default=95.0)
    window: timedelta = field(metadata=_key(SPAN, "Over how long."), default=DAY)

    @property
    def id(self) -> str:
        """With the percentile: a port may promise several."""
        return super().id.replace("latency", f"latency_p{self.percentile:g}".replace(".", "_"))

    @property
    def promise(self) -> str:
        """``p95 in 200ms``."""
        return f"p{self.percentile:g} in {super().promise}"


@dataclass(frozen=True, kw_only=True)
class Freshness(Objective):
    """How old the data may be."""

    name = "freshness"
    short = "target"
    summary = (
        "Age of what consumers see: since its publication, by the newest value of a timestamp `column`, or "
        "`of: upstream`, how long something newer has been there to read. With partitions, since the one that is "
        "due has been missing."
    )
    example = "6h"

    target: timedelta = field(metadata=_key(SPAN, "Largest age."))
    warn: timedelta | None = field(
        metadata=_key(SPAN, "Age that deserves a warning. By default 80% of the target."), default=None
    )
    column: str | None = field(
        metadata=_key(COLUMN, "A timestamp or date column; its newest value counts. Without zone: UTC."),
        default=None,
    )
    of: str = field(
        metadata=_key(BASIS, "What the age is counted from: `publication` or `upstream`."),
        default="publication",
    )

    @property
    def warning(self) -> timedelta:
        """Age from which it warns."""
        return self.warn if self.warn is not None else self.target * 0.8


@dataclass(frozen=True, kw_only=True)
class Completeness(Objective):
    """How many of the rows that came in are published."""

    name = "completeness"
    short = "target"
    summary = (
        "Share of the rows that came in which the version on show holds, or its newest partition that is due; the rest "
        "is in quarantine."
    )
    example = "99.5%"

    target: Fraction = field(metadata=_key(AVAILABILITY, "Smallest share."))


@dataclass(frozen=True, kw_only=True)
class Volume(Objective):
    """How many rows there are."""

    name = "volume"
    short = "tolerance"
    summary = (
        "Rows of the version on show against the median of the versions before it; with partitions, rows of the newest "
        "that is due against the partitions before it."
    )
    example = "20%"

    tolerance: Fraction | None = field(
        metadata=_key(TOLERANCE, "How far the number of rows may be from the median of the last versions."),
        default=None,
    )
    versions: int = field(
        metadata=_key(VERSIONS, "How many versions, or partitions, before it count."), default=5
    )
    minimum: int | None = field(metadata=_key(COUNT, "Fewest rows."), default=None)
    maximum: int | None = field(metadata=_key(COUNT, "Most rows."), default=None)


@dataclass(frozen=True, kw_only=True)
class TimeToDetect(Objective):
    """How soon what is wrong is noticed."""

    name = "time_to_detect"
    short = "target"
    summary = "Longest time from when something went wrong (bad data landed, a deadline passed) to when it was noticed."
    example = "15min"

    target: timedelta = field(metadata=_key(SPAN, "Longest time."))
    window: timedelta = field(metadata=_key(SPAN, "Over how long."), default=MONTH)


@dataclass(frozen=True, kw_only=True)
class TimeToRepair(Objective):
    """How soon what is wrong is mended."""

    name = "time_to_repair"
    short = "target"
    summary = "Longest time from a held version to the next that is published; one that is still held counts until now."
    example = "8h"

    target: timedelta = field(metadata=_key(SPAN, "Longest time."))
    window: timedelta = field(metadata=_key(SPAN, "Over how long."), default=MONTH)


@dataclass(frozen=True, kw_only=True)
class Retention(Objective):
    """How long old versions stay readable."""

    name = "retention"
    short = "target"
    summary = "How far back published versions can still be read; a breach where a younger one is gone."
    example = "90d"

    target: timedelta = field(metadata=_key(SPAN, "How far back."))


@dataclass(frozen=True, kw_only=True)
class Frequency(Objective):
    """How often there is a new version."""

    name = "frequency"
    short = "every"
    summary = (
        "Longest pause between two publications, the one since the last included; with partitions, longest wait for "
        "one from the end of its time."
    )
    example = "daily"

    every: RefreshRate = field(metadata=_key(RATE, "As `refresh_rate`; late by half a period is too late."))
    window: timedelta = field(metadata=_key(SPAN, "Over how long."), default=timedelta(days=7))


@dataclass(frozen=True, kw_only=True)
class TimeOfAvailability(Objective):
    """By when new data is there."""

    name = "time_of_availability"
    short = "by"
    summary = (
        "Whether each deadline found a version that was published since the deadline before; with partitions, the "
        "newest whose time was over."
    )
    example = "07:00"

    by: str = field(metadata=_key(DEADLINE, "A time of each day, or a cron expression."))
    timezone: str = field(metadata=_key(ZONE, "IANA name of the zone of the clock."), default="UTC")
    window: timedelta = field(metadata=_key(SPAN, "Over how long kept deadlines are counted."), default=MONTH)

    @property
    def promise(self) -> str:
        """With the zone."""
        return f"{super().promise} {self.timezone}"


@dataclass(frozen=True, kw_only=True)
class GeneralAvailability(Objective):
    """From when on everybody may rely on it."""

    name = "general_availability"
    short = "date"
    summary = "That something is on show from that day on."
    example = "2027-01-31"

    date: datetime = field(metadata=_key(MOMENT, "The day, or the instant."))


@dataclass(frozen=True, kw_only=True)
class EndOfSupport(Objective):
    """Until when somebody helps."""

    name = "end_of_support"
    short = "date"
    summary = (
        "That support is declared until that day; warns before it, and while the port is on show after it."
    )
    example = "2028-12-31"

    date: datetime = field(metadata=_key(MOMENT, "The day, or the instant."))
    warn: timedelta = field(metadata=_key(SPAN, "How long before to warn."), default=timedelta(days=30))


@dataclass(frozen=True, kw_only=True)
class EndOfLife(Objective):
    """Until when it is there."""

    name = "end_of_life"
    short = "date"
    summary = "That the port is on show until that day; warns before it, and while it is on show after it."
    example = "2029-12-31"

    date: datetime = field(metadata=_key(MOMENT, "The day, or the instant."))
    warn: timedelta = field(metadata=_key(SPAN, "How long before to warn."), default=timedelta(days=30))


@dataclass(frozen=True, kw_only=True)
class SupportHours(Objective):
    """When somebody helps."""

    name = "support_hours"
    short = "hours"
    summary = "Shown with whether support is open now. Not evaluated: nothing here sees when questions are answered."
    example = "Mon-Fri 09:00-17:00"

    hours: tuple[WeeklyHours, ...] = field(metadata=_key(HOURS, "Days and hours, or `24/7`."))
    timezone: str = field(metadata=_key(ZONE, "IANA name of the zone of the clock."), default="UTC")

    @property
    def promise(self) -> str:
        """With the zone."""
        return f"{super().promise} {self.timezone}"


_ALL: tuple[type[Objective], ...] = (
    Availability,
    Completeness,
    EndOfLife,
    EndOfSupport,
    ErrorRate,
    Freshness,
    Frequency,
    GeneralAvailability,
    Latency,
    Retention,
    SupportHours,
    TimeOfAvailability,
    TimeToDetect,
    TimeToRepair,
    Volume,
)
OBJECTIVES: Mapping[str, type[Objective]] = {one.name: one for one in _ALL}
"""What an ``sla`` may promise, by name."""


def keys_of(kind: type[Objective]) -> dict[str, dataclasses.Field[Any]]:
    """The keys of an objective's long form."""
    return {one.name: one for one in dataclasses.fields(kind) if "reader" in one.metadata}
