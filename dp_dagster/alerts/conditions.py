"""From what is known of a product to observations: records, failing channels. Dagster's part is with Dagster."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from dp_dagster.alerts.links import consumers_see, links, quarantine_links
from dp_dagster.alerts.model import Observation
from dp_dagster.alerts.refusals import refusal
from dp_dagster.alerts.routing import channel_subject

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from dp_dagster.alerts.kept import Delivery, Happened
    from dp_dagster.alerts.model import Alert, Key
    from dp_dagster.descriptor.alerting import Condition
    from dp_dagster.resolve import ResolvedProduct
    from dp_dagster.sla.model import ObjectiveState

RECORDS = ("audited", "held", "published", "refused")
"""Kinds of records that say whether a contract holds, and whether it may."""
_OF_DATASETS = frozenset({"contract_violation", "quarantine"})


def from_records(
    product: ResolvedProduct, happened: Iterable[Happened], told_elsewhere: Collection[str] = ()
) -> list[Observation]:
    """Contracts that were broken and kept, what was refused, and shares of rows in quarantine, in order.

    Args:
        product: The product.
        happened: The records, the oldest first.
        told_elsewhere: Conditions of the product that somebody else has told already.
    """
    found: list[Observation] = []
    for one in happened:
        facts = links(product.settings, product.id, one.subject, one.run_id)
        if one.kind == "held":
            facts |= quarantine_links(product, one.subject)
            facts["consumers see"] = consumers_see(product.settings, product.id, one.subject)
            found.append(
                Observation(
                    product.id,
                    one.subject,
                    "contract_violation",
                    bad=True,
                    at=one.at,
                    reason=str(one.payload.get("reason", "")),
                    facts=facts,
                    is_event=True,
                )
            )
        elif one.kind == "refused":
            refused = refusal(product, one, facts)
            if refused is not None and refused.condition not in told_elsewhere:
                found.append(refused)
        elif one.kind == "published":
            version = one.payload.get("version")
            found.append(
                Observation(
                    product.id,
                    one.subject,
                    "contract_violation",
                    bad=False,
                    at=one.at,
                    reason=f"Version {version} keeps the contract and is published.",
                    facts={**facts, "consumers see": f"version {version} of {one.subject}"},
                    is_event=True,
                )
            )
        elif one.kind == "audited":
            found += _share(product, one, facts)
    return found


def of_what_is_gone(product: ResolvedProduct, alerts: Iterable[Alert], now: datetime) -> list[Observation]:
    """The end of what was wrong with datasets that the product no longer makes: no publication will end it."""
    made = {f"v{dataset.major}/dataset/{dataset.name}" for dataset in product.datasets}
    return [
        Observation(
            alert.product,
            alert.subject,
            alert.condition,
            bad=False,
            at=now,
            reason=f"The product makes no {alert.subject} any more.",
            is_event=True,
        )
        for alert in alerts
        if alert.condition in _OF_DATASETS and "/dataset/" in alert.subject and alert.subject not in made
    ]


def _share(product: ResolvedProduct, one: Happened, facts: Mapping[str, str]) -> list[Observation]:
    verdict = one.payload.get("verdict", {})
    rows, rejected = int(verdict.get("rows_in", 0)), int(verdict.get("rows_rejected", 0))
    if verdict.get("decision") == "held" or not rows:
        return []  # A contract that is broken is told already.
    limit = threshold(product, one.subject)
    share = Fraction(rejected, rows)
    is_bad = limit is not None and share > limit
    reason = f"{rejected:,} of {rows:,} rows ({_percent(share)}) are in quarantine"
    if limit is not None:
        reason += f", told above {_percent(limit)}"
    return [
        Observation(
            product.id,
            one.subject,
            "quarantine",
            bad=is_bad,
            at=one.at,
            reason=f"{reason}.",
            facts={**facts, **quarantine_links(product, one.subject), "consumers see": "the other rows"},
            is_event=True,
        )
    ]


def threshold(product: ResolvedProduct, subject: str) -> Fraction | None:
    """The share of a dataset's rows in quarantine that is told; ``None`` where nothing may go there anyway."""
    if product.alerts.quarantine_share is not None:
        return product.alerts.quarantine_share
    for dataset in product.datasets:
        if subject == f"v{dataset.major}/dataset/{dataset.name}" and dataset.max_invalid is not None:
            return dataset.max_invalid / 2
    return None


_STATES: dict[str, Condition] = {"warning": "sla_warning", "breached": "sla_breach"}


def from_objectives(
    product: ResolvedProduct, states: Iterable[ObjectiveState]
) -> tuple[list[Observation], set[Key], set[Key]]:
    """Objectives that are at risk or broken; those of which nothing is known now; and all that were measured.

    Objectives that the product no longer declares are over: they are in none of them.
    """
    declared = {
        (port.label, objective.id): f"v{port.major}/port/{port.name}"
        for port in product.active_ports
        for objective in port.objectives
    }
    found: list[Observation] = []
    unknown: set[Key] = set()
    measured: set[Key] = set()
    for state in states:
        port = declared.get((state.port, state.objective))
        if port is None:
            continue
        subject = f"{port}/{state.objective}"
        if state.state == "not_evaluated":
            unknown.add((product.id, subject, "sla"))
        else:
            measured.add((product.id, subject, "sla"))
        if state.state not in _STATES:
            continue
        facts = {
            **links(product.settings, product.id, port),
            "promised": state.promise,
            "partition": state.partition or "",
            "measured": state.reading_text,
            "budget": state.budget_text,
            "consumers see": consumers_see(product.settings, product.id, port),
        }
        found.append(
            Observation(
                product.id,
                subject,
                _STATES[state.state],
                bad=True,
                at=state.since,
                reason=state.reason,
                facts=facts,
            )
        )
    return found, unknown, measured


def from_channels(owner: str, failing: Mapping[str, Delivery], now: datetime) -> list[Observation]:
    """Channels to which messages do not get through."""
    return [
        Observation(
            owner,
            channel_subject(name),
            "channel_failed",
            bad=True,
            at=now,
            reason=f"Tried {delivery.attempts} times: {delivery.error}",
            facts={"waiting": delivery.title, "next try": f"{delivery.next_at:%Y-%m-%d %H:%M:%S} UTC"},
        )
        for name, delivery in failing.items()
    ]


def _percent(share: Fraction) -> str:
    return f"{float(share * 100):.3g} %"
