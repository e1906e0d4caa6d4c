"""What is known of a port when its objectives are evaluated: plain data, gathered before anything is judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dp_dagster.sla.model import Budget, State, Unit  # noqa: TC001 - dataclasses are easier to read with them here

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from dp_dagster.descriptor.due import Due
    from dp_dagster.descriptor.partitions import Calendar


@dataclass(frozen=True)
class Unknown:
    """Something that could not be found out, and why."""

    reason: str


@dataclass(frozen=True)
class Shown:
    """What consumers see.

    ``projected_at`` is when the port was brought to the version; ``published_at`` when its rows were first published.
    """

    version: int
    published_at: datetime
    projected_at: datetime
    rows: int


@dataclass(frozen=True)
class Publication:
    """One version of the port's dataset."""

    version: int
    at: datetime
    rows: int
    operation: str = "publish"


@dataclass(frozen=True)
class Answered:
    """Answers of a port over some time.

    Attributes:
        total: How many, synthetic probes included where they count.
        good: How many of them were good.
        since: When the first of them was given.
        buckets: How many took at most so many seconds (and more than the bucket before).
        probes: How many of the total were probes.
    """

    total: int = 0
    good: int = 0
    since: datetime | None = None
    buckets: tuple[tuple[float, int], ...] = ()
    probes: int = 0

    @property
    def bad_share(self) -> float:
        """Share that was not good."""
        return (self.total - self.good) / self.total if self.total else 0.0


@dataclass(frozen=True)
class PartitionsOnShow:
    """The partitions of the version on show, by key.

    Attributes:
        rows: Of each.
        published_at: When each was last published.
        set_aside: How many rows of each were set aside, as far as that is known: of the newest.
        came: When partitions were published for the first time, as far as that was looked for; also of such that are
            not on show any more.
    """

    rows: Mapping[str, int]
    published_at: Mapping[str, datetime] = field(default_factory=dict)
    set_aside: Mapping[str, int] = field(default_factory=dict)
    came: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Partitions:
    """Where the partitions of a port's dataset stand, as the port shows them.

    Attributes:
        calendar: Which there are, and when each is due.
        due: Which are due, and which of them are missing.
        late_at: By when the missing one that is waited for has to be there, by the earliest that the port's objectives
            say of it; ``None`` where none is missing.
        on_show: What the version on show says of them.
    """

    calendar: Calendar
    due: Due
    late_at: datetime | None = None
    on_show: PartitionsOnShow | Unknown = Unknown("no partition was looked at")

    @property
    def newest(self) -> str | None:
        """The newest that is due and on show: the one that objectives are judged by."""
        return self.due.published if self.due.newest is not None else None


@dataclass(frozen=True)
class Incident:
    """A version that was held.

    Attributes:
        held_at: When.
        arrived_at: When what it was made from had arrived; ``None`` where that is not known.
        repaired_at: When the next version was published; ``None`` while none was.
    """

    held_at: datetime
    arrived_at: datetime | None = None
    repaired_at: datetime | None = None


@dataclass(frozen=True)
class Readable:
    """How far back versions can be read.

    Attributes:
        since: When the oldest version that was looked for was published; ``None`` where there is none yet.
        missing: What is wrong with it; empty where it can be read.
    """

    since: datetime | None
    missing: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known of one port.

    Attributes:
        watched_since: First evaluation ever. What was never published is late from here on, not before.
        first_due: When the first version is due at the latest; ``None`` where nothing says so.
        shown: What consumers see; ``None`` before the first version.
        history: Publications of the dataset up to the version on show, newest first, as far back as asked for.
        rows_in: Rows that came in with the version on show, and those of them that were accepted.
        newest: The newest value by column.
        lag: How far the port is behind what it is made from, and what that is.
        answers: By length of time up to now.
        incidents: Versions that were held.
        breaches: Of other objectives of the port: when each began, and when it was noticed.
        readable: How far back versions can be read.
        support: Whether the product says where to ask.
        partitions: Where the partitions stand, of a dataset that has any.
    """

    watched_since: datetime
    first_due: datetime | None = None
    shown: Shown | None = None
    history: tuple[Publication, ...] | Unknown = ()
    rows_in: tuple[int, int] | Unknown = Unknown("nothing was judged")
    newest: Mapping[str, datetime | Unknown] = field(default_factory=dict)
    lag: tuple[timedelta, str] | Unknown = Unknown("nothing was compared")
    answers: Mapping[tuple[timedelta, bool], Answered] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()
    breaches: tuple[tuple[datetime, datetime], ...] = ()
    readable: Readable | Unknown = Readable(None)
    support: bool = False
    partitions: Partitions | None = None


@dataclass(frozen=True)
class Measured:
    """What evaluating an objective came to, and the partition that it is about if it is about one."""

    state: State
    reason: str
    value: float | None = None
    target: float | None = None
    unit: Unit = ""
    onset: datetime | None = None
    budget: Budget | None = None
    partition: str | None = None


def not_evaluated(reason: str, target: float | None = None, unit: Unit = "") -> Measured:
    """What could not be measured."""
    return Measured("not_evaluated", reason, target=target, unit=unit)
