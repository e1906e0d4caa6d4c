"""Metrics for Prometheus: freshness, verdicts, publications, requests, objectives.

Names, units and labels follow the conventions of Prometheus (https://prometheus.io/docs/practices/naming/). Labels name
products, datasets, ports, rules and objectives, which are declared, and never consumers, versions or runs, which grow.
"""

from __future__ import annotations

import math
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from dp_dagster.access.access_tables import BOUNDS
from dp_dagster.access.rollups import AccessRollups, Totals
from dp_dagster.control.facts import BOUNDS as RUN_BOUNDS
from dp_dagster.control.facts import RecordFacts
from dp_dagster.control.states import states_by_port
from dp_dagster.errors import DataProductError
from dp_dagster.records import Records
from dp_dagster.sla.model import STATES
from dp_dagster.storage.manifest import read_manifest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from prometheus_client.core import Metric

    from dp_dagster.control.facts import Facts
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.settings import Settings

_DATASET = ("product", "major", "dataset")
_PORT = ("product", "major", "port")
# Accesses are written down a moment later; a minute that is older than this gets no more of them.
_SETTLED = timedelta(minutes=10)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ProductMetrics(Collector):
    """Collects the metrics of products when they are asked for.

    A part whose store cannot be read is left out and counted in ``dp_scrape_errors``; the rest is still there.
    """

    def __init__(self, settings: Settings, products: Sequence[ResolvedProduct]) -> None:
        self._settings = settings
        self._products = products
        records = Records(settings.resolved_records_url, lock_timeout=settings.lock_timeout)
        self._facts = RecordFacts(records)
        self._rollups = AccessRollups(records)
        self._before: dict[tuple[str, str], Totals] = {}
        self._until: dict[tuple[str, str], datetime] = {}
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """All metrics, each family once."""
        started = time.perf_counter()
        errors = GaugeMetricFamily(
            "dp_scrape_errors", "Parts that could not be read for this answer, by part.", labels=("part",)
        )
        for part, families in (
            ("products", self._about),
            ("ports", self._ports),
            ("records", self._records),
            ("objectives", self._objectives),
            ("requests", self._requests),
        ):
            try:
                found = list(families())
            except DataProductError:
                errors.add_metric((part,), 1)
            else:
                errors.add_metric((part,), 0)
                yield from found
        yield errors
        yield GaugeMetricFamily(
            "dp_scrape_duration_seconds",
            "How long it took to put this answer together.",
            value=time.perf_counter() - started,
        )

    def _about(self) -> Iterator[Metric]:
        about = InfoMetricFamily(
            "dp_product", "What the products are.", labels=("product", "version", "domain", "owner", "status")
        )
        for product in self._products:
            descriptor = product.descriptor
            owner = descriptor.owner.team if descriptor.owner else ""
            labels = (product.id, product.version, descriptor.domain or "", owner, descriptor.status)
            about.add_metric(labels, {})
        yield about

    def _ports(self) -> Iterator[Metric]:
        published = GaugeMetricFamily(
            "dp_port_published_timestamp_seconds",
            "When the rows that the port shows were published.",
            labels=_PORT,
        )
        age = GaugeMetricFamily(
            "dp_port_freshness_age_seconds",
            "How long ago the rows that the port shows were published.",
            labels=_PORT,
        )
        rows = GaugeMetricFamily("dp_port_rows", "Rows that the port shows.", labels=_PORT)
        version = GaugeMetricFamily("dp_port_version", "Version that the port shows.", labels=_PORT)
        now = datetime.now(UTC).timestamp()
        for product in self._products:
            manifest = read_manifest(self._settings.storage, product.id)
            for port in product.ports:
                shown = manifest.port(port.major, port.name) if manifest else None
                if shown is None:
                    continue
                labels = (product.id, str(port.major), port.name)
                at = datetime.fromisoformat(shown.published_at).timestamp()
                published.add_metric(labels, at)
                age.add_metric(labels, now - at)
                rows.add_metric(labels, shown.rows)
                version.add_metric(labels, shown.version)
        yield from (published, age, rows, version)

    def _records(self) -> Iterator[Metric]:
        facts = self._facts.now()
        yield from _counters(facts)
        yield from _verdicts(facts)
        yield from _set_aside(facts)
        yield _run_durations(facts)
        duration = GaugeMetricFamily(
            "dp_last_run_duration_seconds",
            "How long the last run took, from its beginning to its last record.",
            labels=("product",),
        )
        ended = GaugeMetricFamily(
            "dp_last_run_ended_timestamp_seconds",
            "When the last run wrote its last record.",
            labels=("product",),
        )
        for product, (seconds, at) in sorted(facts.runs.items()):
            duration.add_metric((product,), seconds)
            ended.add_metric((product,), at.timestamp())
        yield from (duration, ended)

    def _requests(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "dp_port_requests",
            "Requests that served ports answered; good are all but the server's own faults.",
            labels=(*_PORT, "outcome"),
        )
        duration = HistogramMetricFamily(
            "dp_port_request_duration_seconds", "How long answers took.", labels=_PORT
        )
        served = {
            (product.id, port.label): (product.id, str(port.major), port.name)
            for product in self._products
            for port in product.active_ports
            if port.port is not None and port.port.capabilities.served
        }
        for place, total in self._answered(served).items():
            labels = served[place]
            requests.add_metric((*labels, "good"), total.good)
            requests.add_metric((*labels, "bad"), total.answers - total.good)
            # The sum of all durations is not kept, so none is told.
            buckets = _cumulative((bound / 1000 for bound in BOUNDS), total.buckets)
            duration.add_metric(labels, buckets, sum_value=None)
        yield from (requests, duration)

    def _answered(self, ports: Collection[tuple[str, str]]) -> dict[tuple[str, str], Totals]:
        """All answers there ever were: what was added up before, and the minutes since."""
        end = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        settled = end - _SETTLED
        with self._lock:
            since = {place: self._until.get(place, _EPOCH) for place in ports}
            for place, more in self._rollups.totals(since, settled).items():
                self._before[place] = self._before.get(place, Totals()) + more
                self._until[place] = settled
            recent = self._rollups.totals(dict.fromkeys(ports, settled), end)
            return {place: self._before[place] + recent[place] for place in ports}

    def _objectives(self) -> Iterator[Metric]:
        labels = ("product", "port", "objective")
        state = GaugeMetricFamily(
            "dp_objective_state", "1 for the state that the objective is in.", labels=(*labels, "state")
        )
        value = GaugeMetricFamily(
            "dp_objective_reading", "What was measured last, in the unit named.", labels=(*labels, "unit")
        )
        target = GaugeMetricFamily(
            "dp_objective_target", "What it is measured against, in the unit named.", labels=(*labels, "unit")
        )
        left = GaugeMetricFamily(
            "dp_objective_budget_left_ratio",
            "Share of the budget that is left; below 0 it is overspent.",
            labels=labels,
        )
        burn = GaugeMetricFamily(
            "dp_objective_burn_rate_ratio",
            "How many times too fast the budget is being spent.",
            labels=labels,
        )
        evaluated = GaugeMetricFamily(
            "dp_objective_evaluated_timestamp_seconds",
            "When the objective was evaluated last.",
            labels=labels,
        )
        known = {product.id for product in self._products}
        for (product, port), states in sorted(states_by_port(self._settings).items()):
            if product not in known:
                continue
            for one in states:
                place = (product, port, one.objective)
                for name in STATES:
                    state.add_metric((*place, name), 1.0 if one.state == name else 0.0)
                unit = (*place, one.unit or "none")
                if one.value is not None:
                    value.add_metric(unit, one.value)
                if one.target is not None:
                    target.add_metric(unit, one.target)
                if one.budget_left is not None:
                    left.add_metric(place, one.budget_left)
                if one.burn_rate is not None:
                    burn.add_metric(place, one.burn_rate)
                evaluated.add_metric(place, one.at.timestamp())
        yield from (state, value, target, left, burn, evaluated)


def _cumulative(bounds: Iterable[float], numbers: Iterable[int]) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: each holds those below it, too."""
    names = map(floatToGoString, (*bounds, math.inf))
    return list(zip(names, accumulate(numbers), strict=True))


def _set_aside(facts: Facts) -> Iterator[Metric]:
    of_datasets = CounterMetricFamily(
        "dp_quarantined_rows", "Rows of candidates that were set aside, of held ones, too.", labels=_DATASET
    )
    of_inputs = CounterMetricFamily(
        "dp_input_quarantined_rows", "Rows of inputs that were set aside.", labels=("product", "input")
    )
    for (product, subject), rows in sorted(facts.set_aside.items()):
        place = _dataset(product, subject)
        if place is not None:
            of_datasets.add_metric(place, rows)
        elif subject.startswith("input/"):
            of_inputs.add_metric((product, subject.removeprefix("input/")), rows)
    yield from (of_datasets, of_inputs)


def _run_durations(facts: Facts) -> Metric:
    told = HistogramMetricFamily(
        "dp_run_duration_seconds",
        "How long runs took from their beginning until they had published the dataset, or held its candidate.",
        labels=(*_DATASET, "outcome"),
    )
    for (product, subject, kind), durations in sorted(facts.durations.items()):
        place = _dataset(product, subject)
        if place is not None:
            buckets = _cumulative(RUN_BOUNDS, durations.buckets)
            told.add_metric((*place, kind), buckets, sum_value=durations.seconds)
    return told


def _counters(facts: Facts) -> Iterator[Metric]:
    told = {
        "audited": ("dp_audits", "Candidates that were audited."),
        "published": ("dp_publications", "Versions that were published."),
        "held": ("dp_held_candidates", "Candidates that were held because they broke the contract."),
        "rolled_back": ("dp_rollbacks", "Rollbacks to an older version."),
    }
    families = {kind: CounterMetricFamily(name, text, labels=_DATASET) for kind, (name, text) in told.items()}
    for (product, subject, kind), times in sorted(facts.counts.items()):
        place = _dataset(product, subject)
        if place is not None and kind in families:
            families[kind].add_metric(place, times)
    yield from families.values()


def _verdicts(facts: Facts) -> Iterator[Metric]:
    rows = GaugeMetricFamily(
        "dp_candidate_rows",
        "Rows of the last candidate, by what became of them.",
        labels=(*_DATASET, "outcome"),
    )
    held = GaugeMetricFamily(
        "dp_candidate_held",
        "1 where the last candidate was held; consumers see an older version.",
        labels=_DATASET,
    )
    labels = (*_DATASET, "rule", "severity")
    failures = GaugeMetricFamily(
        "dp_rule_failures", "Failing rows (or 1) of each rule in the last audit.", labels=labels
    )
    evaluated = GaugeMetricFamily(
        "dp_rule_evaluated", "0 where a rule could not be evaluated; it has not passed then.", labels=labels
    )
    for (product, subject), verdict in sorted(facts.verdicts.items()):
        place = _dataset(product, subject)
        if place is None:
            continue
        rows.add_metric((*place, "accepted"), verdict.rows_accepted)
        rows.add_metric((*place, "rejected"), verdict.rows_rejected)
        held.add_metric(place, 0.0 if verdict.passed else 1.0)
        for result in verdict.results:
            rule = (*place, result.rule_id, result.severity)
            evaluated.add_metric(rule, 1.0 if result.evaluated else 0.0)
            if result.evaluated:
                failures.add_metric(rule, result.failures)
    yield from (rows, held, failures, evaluated)


def _dataset(product: str, subject: str) -> tuple[str, str, str] | None:
    major, found, name = subject.partition("/dataset/")
    return (product, major.removeprefix("v"), name) if found else None
