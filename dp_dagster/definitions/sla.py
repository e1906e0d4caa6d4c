"""Objectives as asset checks of the output port that they belong to, and the sensor that evaluates them.

A check passes only where the objective was measured and is met. What is not yet due, or cannot be measured, does not
pass: it warns, and says why.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from dp_dagster.definitions import keys
from dp_dagster.definitions.describe import sla_check_name
from dp_dagster.errors import DataProductError
from dp_dagster.sla.evaluator import evaluator_for
from dp_dagster.sla.round import interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dp_dagster.descriptor.objectives import Objective
    from dp_dagster.resolve import ResolvedOutput, ResolvedProduct
    from dp_dagster.sla.model import ObjectiveState

SHORTEST_SECONDS, LONGEST_SECONDS = 10, 60
SHOWN_AGAIN = timedelta(hours=1)
"""How often a check shows a state that did not change; each reading is kept, whether it is shown or not."""


def check_specs(port: ResolvedOutput, key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """One check for each objective of a port. None of them blocks: they say how it went."""
    return [
        dg.AssetCheckSpec(
            sla_check_name(one.id),
            asset=key,
            description=f"{one.promise}, declared by {one.origin}. {type(one).summary}",
            metadata={"evaluated every": f"{interval(one).total_seconds():g} s"},
        )
        for one in port.objectives
    ]


def check_results(
    product: ResolvedProduct, port: ResolvedOutput, key: dg.AssetKey
) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the objectives of a port now, in the run that has just projected it."""
    if not port.objectives:
        return
    evaluator = evaluator_for(product.settings)
    try:
        states = {one.objective: one for one in evaluator.evaluate([product], ports=[port.label])}
    except DataProductError as error:
        # What was published stays published; that nobody knows how it went is said.
        for one in port.objectives:
            yield dg.AssetCheckResult(
                asset_key=key, check_name=sla_check_name(one.id), **_unknown(str(error))
            )
        return
    for one in port.objectives:
        yield dg.AssetCheckResult(asset_key=key, check_name=sla_check_name(one.id), **_shown(states[one.id]))


def sensors(product: ResolvedProduct) -> Sequence[dg.SensorDefinition]:
    """The sensor that evaluates each objective when it is due; none where nothing is promised."""
    objectives = [one for port in product.active_ports for one in port.objectives]
    return [_sensor(product, objectives)] if objectives else []


def _sensor(product: ResolvedProduct, objectives: Iterable[Objective]) -> dg.SensorDefinition:
    evaluator = evaluator_for(product.settings)
    shortest = min(interval(one) for one in objectives).total_seconds()
    port_keys = {
        port.label: keys.port_key(product.id, port.major, port.name) for port in product.active_ports
    }

    @dg.sensor(
        name=f"{product.id}_sla",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=int(min(max(shortest, SHORTEST_SECONDS), LONGEST_SECONDS)),
        description=f"Measures what {product.descriptor.title} promises, each objective when it is due",
        tags={"dp/product": product.id},
    )
    def measure(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = datetime.now(UTC)
        states = evaluator.evaluate([product], now, due_only=True)
        shown: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
        events = []
        for one in states:
            name = f"{one.port}/{one.objective}"
            if one.port not in port_keys or not _is_news(shown.get(name), one.state, now):
                continue
            shown[name] = [one.state, now.timestamp()]
            events.append(
                dg.AssetCheckEvaluation(
                    asset_key=port_keys[one.port], check_name=sla_check_name(one.objective), **_shown(one)
                )
            )
        counted = ", ".join(f"{one.port} {one.objective}: {one.state}" for one in states)
        return dg.SensorResult(
            skip_reason=counted or "nothing is due", asset_events=events, cursor=json.dumps(shown)
        )

    return measure


def _is_news(shown: list[Any] | None, state: str, now: datetime) -> bool:
    """Whether a check should show a state: another one than before, or the same after a while."""
    if shown is None or shown[0] != state:
        return True
    return not 0 <= now.timestamp() - shown[1] < SHOWN_AGAIN.total_seconds()


def _shown(state: ObjectiveState) -> dict[str, Any]:
    """Outcome, severity, sentence and metadata of a check."""
    of_partition = {"partition": state.partition} if state.partition else {}
    if state.state == "not_evaluated":
        return _unknown(state.reason, {"promise": state.promise, **of_partition})
    metadata: dict[str, Any] = {
        "promise": state.promise,
        **of_partition,
        "state": state.state,
        "since": state.since.isoformat(),
    }
    if state.value is not None:
        metadata["reading"] = state.reading_text
        metadata[f"value in {state.unit}" if state.unit else "value"] = float(state.value)
    if state.target is not None:
        metadata["target"] = state.target_text
    if state.budget_text:
        metadata["budget"] = state.budget_text
    if state.burn_rate is not None:
        metadata["burn rate"] = float(state.burn_rate)
    if state.state == "pending":
        metadata["not evaluated"] = state.reason
    return {
        "passed": state.state == "met",
        "severity": dg.AssetCheckSeverity.ERROR if state.state == "breached" else dg.AssetCheckSeverity.WARN,
        "description": state.reason,
        "metadata": metadata,
    }


def _unknown(reason: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "passed": False,
        "severity": dg.AssetCheckSeverity.WARN,
        "description": f"not evaluated: {reason}",
        "metadata": {**(more or {}), "not evaluated": reason},
    }
