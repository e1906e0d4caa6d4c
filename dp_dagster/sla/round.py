"""One round of evaluation: which objectives are due, what they come to, and what is kept of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from dp_dagster.sla.answers import AccessAnswers
from dp_dagster.sla.counts import count
from dp_dagster.sla.gather import Gatherer
from dp_dagster.sla.kept import Kept
from dp_dagster.sla.measures import measure
from dp_dagster.sla.model import Reading
from dp_dagster.sla.probes import keep_probes, probe
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dp_dagster.descriptor.objectives import Objective
    from dp_dagster.resolve import ResolvedOutput, ResolvedProduct
    from dp_dagster.sla.answers import Answers
    from dp_dagster.sla.facts import Facts
    from dp_dagster.sla.gather import Wanted
    from dp_dagster.sla.model import ObjectiveKey, ObjectiveState
    from dp_dagster.sla.store import Readings
    from dp_dagster.storage.manifest import Manifest

SHORTEST, LONGEST = timedelta(seconds=10), timedelta(minutes=5)
_MINUTE = timedelta(minutes=1)


def interval(objective: Objective) -> timedelta:
    """How often an objective is evaluated: its window decides.

    A breach is noticed within a sixtieth of the age or period that is promised, an availability of 30 days is read
    each minute, what only changes with a publication every five minutes.
    """
    wanted: timedelta
    match objective.name:
        case "availability" | "error_rate":
            wanted = objective.window / 43_200  # type: ignore[attr-defined]
        case "latency":
            wanted = objective.window / 1440  # type: ignore[attr-defined]
        case "freshness":
            wanted = objective.target / 60  # type: ignore[attr-defined]
        case "frequency":
            wanted = objective.every.interval / 60  # type: ignore[attr-defined]
        case "time_of_availability" | "time_to_detect" | "time_to_repair":
            wanted = _MINUTE
        case "retention":
            return timedelta(hours=1)
        case _:
            wanted = LONGEST
    return min(max(wanted, SHORTEST), LONGEST)


class Evaluator:
    """Evaluates the objectives of products, round after round.

    Args:
        readings: Where readings are kept.
        answers: Where the answers of served ports are counted; the access log by default.

    Example:
        >>> evaluator = Evaluator(Readings(settings.resolved_records_url))
        >>> breached = [one for one in evaluator.evaluate([product]) if one.state == "breached"]
    """

    def __init__(self, readings: Readings, answers: Answers | None = None) -> None:
        self.readings = readings
        self.answers: Answers = answers or AccessAnswers(readings)
        self._kept = Kept()

    def evaluate(
        self,
        products: Sequence[ResolvedProduct],
        now: datetime | None = None,
        *,
        ports: Collection[str] | None = None,
        due_only: bool = False,
    ) -> list[ObjectiveState]:
        """Evaluate objectives and keep the readings.

        The number of questions to the databases grows neither with the products nor with what was read before.

        Args:
            products: Whose.
            now: The time; the clock's by default.
            ports: Labels of the ports; all by default.
            due_only: Leave out what was evaluated less than its interval ago.

        Returns:
            The states of what was evaluated, by product, port and objective as declared.

        Raises:
            StoreError: a database or a manifest cannot be read or written.
            LockedError: another writer held the database for too long.
        """
        now = now or datetime.now(UTC)
        if not any(port.objectives for product in products for port in product.ports):
            return []
        states = {one.key: one for one in self.readings.states({product.id for product in products})}
        wanted: list[Wanted] = []
        for product in products:
            for port in product.ports:
                some = tuple(
                    one
                    for one in port.objectives
                    if not due_only or is_due(one, states.get((product.id, port.label, one.id)), now)
                )
                if some and (ports is None or port.label in ports):
                    wanted.append((product, port, some))
        if not wanted:
            return []
        manifests = {
            product.id: read_manifest(product.settings.storage, product.id) for product, _, _ in wanted
        }
        to_probe = _to_probe(wanted, states, manifests, now)
        pauses = {(product.id, port.label): pause for product, port, pause in to_probe}
        counts = count(self.readings, self.answers, wanted, pauses, now)
        # Ports are opened as consumers do, unless somebody has called them lately.
        probes = [
            probe(product, port, now)
            for product, port, pause in to_probe
            if counts.quiet((product.id, port.label), pause)
        ]
        gatherer = Gatherer(self.readings, counts.and_probes(probes), self._kept, now)
        gathered = gatherer.facts(wanted, states, manifests)
        readings = [
            _reading(product, port, objective, facts, now)
            for (product, port, objectives), facts in zip(wanted, gathered, strict=True)
            for objective in objectives
        ]
        return self.readings.record(readings, beside=partial(keep_probes, probes))


def _to_probe(
    wanted: Sequence[Wanted],
    states: Mapping[ObjectiveKey, ObjectiveState],
    manifests: Mapping[str, Manifest | None],
    now: datetime,
) -> list[tuple[ResolvedProduct, ResolvedOutput, timedelta]]:
    """Ports that show something and whose availability is due, and how often it is."""
    found = []
    for product, port, objectives in wanted:
        due = [one for one in objectives if one.name == "availability"]
        manifest = manifests[product.id]
        shown = manifest is not None and manifest.port(port.major, port.name) is not None
        if due and shown and port.port is not None and port.port.capabilities.probed:
            last = states.get((product.id, port.label, due[0].id))
            never = last is None or last.value is None
            if due[0].id not in port.promises.unmeasured and (never or is_due(due[0], last, now)):
                found.append((product, port, interval(due[0])))
    return found


def is_due(objective: Objective, state: ObjectiveState | None, now: datetime) -> bool:
    """Whether an objective should be evaluated again; at once where the clock was set back."""
    return state is None or not timedelta(0) <= now - state.at < interval(objective)


def _reading(
    product: ResolvedProduct, port: ResolvedOutput, objective: Objective, facts: Facts, now: datetime
) -> Reading:
    reason = port.promises.unmeasured.get(objective.id)
    measured = measure(objective, facts, now)
    if reason is not None and objective.name != "support_hours":
        # Shown with its reason, never judged.
        return Reading(
            product.id, port.label, objective.id, "not_evaluated", now, reason, promise=objective.promise
        )
    return Reading(
        product=product.id,
        port=port.label,
        objective=objective.id,
        state=measured.state,
        at=now,
        reason=measured.reason,
        promise=objective.promise,
        value=measured.value,
        target=measured.target,
        unit=measured.unit,
        onset=measured.onset,
        budget=measured.budget,
        partition=measured.partition,
    )
