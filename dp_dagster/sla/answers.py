"""Answers of served ports, as whoever counts them adds them up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dp_dagster.sla.facts import Answered

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from dp_dagster.sla.probes import PortKey


class Answers(Protocol):
    """Where the answers of served ports are counted."""

    def totals(
        self, ports: Collection[PortKey], since: datetime, until: datetime
    ) -> Mapping[PortKey, Answered]:
        """What ports answered between two times, in a number of queries that does not grow with what they answered.

        Ports that answered nothing may be left out.

        Raises:
            StoreError: the counts cannot be read.
        """


class NoAnswers:
    """Where nothing is served."""

    def totals(
        self,
        ports: Collection[PortKey],  # noqa: ARG002 as the protocol has it
        since: datetime,  # noqa: ARG002
        until: datetime,  # noqa: ARG002
    ) -> Mapping[PortKey, Answered]:
        """Nothing."""
        return {}


def together(answers: Answered | None, probes: Answered | None) -> Answered:
    """Answers and probes of the same time."""
    parts = [one for one in (answers, probes) if one is not None and one.total]
    if len(parts) < 2:
        return parts[0] if parts else Answered()
    first, second = parts
    begun = [one.since for one in parts if one.since is not None]
    return Answered(
        total=first.total + second.total,
        good=first.good + second.good,
        since=min(begun, default=None),
        buckets=first.buckets,
        probes=first.probes + second.probes,
    )
