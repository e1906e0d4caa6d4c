"""How ports answered over the windows of their objectives: answers and probes, each asked for once a round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dp_dagster.sla.answers import together
from dp_dagster.sla.facts import Answered
from dp_dagster.sla.measures.answers import recent
from dp_dagster.sla.probes import probe_totals

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime, timedelta

    from dp_dagster.sla.answers import Answers
    from dp_dagster.sla.gather import Wanted
    from dp_dagster.sla.probes import PortKey, Probe
    from dp_dagster.sla.store import Readings

_OF_ANSWERS = frozenset({"availability", "error_rate", "latency"})


@dataclass(frozen=True)
class Counts:
    """What ports answered, and how their probes went, by the length of time up to now.

    Attributes:
        answers: Of consumers.
        probes: Of the ports whose probes count, by the lengths for which they do.
        probed: The ports of these lengths, whether they were probed or not.
    """

    answers: Mapping[timedelta, Mapping[PortKey, Answered]]
    probes: Mapping[timedelta, Mapping[PortKey, Answered]]
    probed: Mapping[timedelta, Collection[PortKey]]

    def quiet(self, key: PortKey, length: timedelta) -> bool:
        """Whether nobody called a port for so long."""
        return not self.answers.get(length, {}).get(key, Answered()).total

    def of(self, key: PortKey) -> dict[tuple[timedelta, bool], Answered]:
        """Of one port: by length, and whether its probes are among them."""
        found = {(length, False): some[key] for length, some in self.answers.items() if key in some}
        for length, ports in self.probed.items():
            if key in ports:
                answers, probes = self.answers.get(length, {}).get(key), self.probes.get(length, {}).get(key)
                found[length, True] = together(answers, probes)
        return found

    def and_probes(self, probes: Iterable[Probe]) -> Counts:
        """These with probes that were made just now."""
        found = {length: dict(some) for length, some in self.probes.items()}
        for one in probes:
            key = (one.product, one.port)
            new = Answered(1, int(one.good), one.at, probes=1)
            for length, ports in self.probed.items():
                if key in ports:
                    some = found.setdefault(length, {})
                    some[key] = together(some.get(key), new)
        return Counts(self.answers, found, self.probed)


def count(
    readings: Readings,
    answers: Answers,
    wanted: Sequence[Wanted],
    to_probe: Mapping[PortKey, timedelta],
    now: datetime,
) -> Counts:
    """Ask for everything that the objectives of a round need: one question for answers, one for probes.

    Args:
        readings: The store.
        answers: Where answers are counted.
        wanted: Ports with the objectives that are to be evaluated.
        to_probe: Ports that will be probed unless somebody called them lately, and what is lately.
        now: The time.

    Raises:
        StoreError: a database cannot be read.
    """
    called: dict[timedelta, set[PortKey]] = {}
    probed: dict[timedelta, set[PortKey]] = {}
    for product, port, objectives in wanted:
        key = (product.id, port.label)
        for one in objectives:
            if one.name in _OF_ANSWERS:
                window: timedelta = one.window  # type: ignore[attr-defined]
                for length in (window, recent(window)):
                    called.setdefault(length, set()).add(key)
                    if one.name == "availability":
                        probed.setdefault(length, set()).add(key)
    for key, length in to_probe.items():
        called.setdefault(length, set()).add(key)
    answered = (
        answers.totals({now - length: ports for length, ports in called.items()}, now) if called else {}
    )
    tried = probe_totals(readings, {now - length: ports for length, ports in probed.items()})
    return Counts(
        {length: answered.get(now - length, {}) for length in called},
        {length: tried.get(now - length, {}) for length in probed},
        probed,
    )
